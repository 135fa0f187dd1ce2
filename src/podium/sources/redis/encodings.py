"""Encodings of the documents of an index on Redis. They are strings on the same server, which RediSearch does not index."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from podium.encodings.redis import RedisEncodings
from podium.errors import SourceError
from podium.redis_values import checked_values
from podium.sources.encodings import KeptModel, encoding_keys
from podium.sources.redis import replies
from podium.sources.redis.commands import CommandOptions, documents_command
from podium.sources.redis.connection import is_cluster
from podium.sources.redis.description import encoding_prefix, keys_pattern
from podium.sources.redis.replies import IndexInfo
from podium.sources.redis.server import Deadline, Server
from podium.steps import immediate

__all__ = ["delete_encodings", "encoding_keys_of", "index_encodings", "source_encodings"]

READ_SECONDS = 0.5  # how long a search waits for encodings before it computes them
SCAN_COUNT = 1_000  # how many keys the server looks at for one command


class _ServerValues:
    """Strings on a server. Their keys are names after the prefix of an index's encodings. Methods raise SourceError.

    `key_prefix` returns the prefix of the index's documents, None if it is not known yet. `get` takes at most `seconds`.
    """

    def __init__(self, server: Server, key_prefix: Callable[[], str | None], seconds: float) -> None:
        self._server = server
        self._key_prefix = key_prefix
        self._seconds = seconds

    def get(self, names: Sequence[str]) -> list[Any]:
        keys = self._keys(names)
        return self._server.run(self._values(keys), Deadline(self._seconds)) if keys else []

    def set(self, values: Mapping[str, bytes]) -> None:
        self._server.execute_many([("SET", key, value) for key, value in zip(self._keys(values), values.values(), strict=True)])

    def delete(self, names: Iterable[str]) -> None:
        self._server.execute_many([("DEL", key) for key in self._keys(names)])

    def close(self) -> None:
        """Do nothing: the index closes its server."""

    def _keys(self, names: Iterable[str]) -> list[str]:
        prefix = self._key_prefix()
        if prefix is None:
            raise SourceError("the index was not searched yet")
        return [encoding_prefix(prefix) + name for name in names]

    @immediate
    def _values(self, keys: Sequence[str]) -> list[Any]:
        if is_cluster(self._server.client()):  # in a cluster, MGET accepts only the keys of one shard
            return self._server.execute_many([("GET", key) for key in keys])
        return checked_values(self._server.execute("MGET", *keys), len(keys))


def source_encodings(server: Server, info: Callable[[], IndexInfo | None]) -> RedisEncodings:
    """Return the encodings of an index, for searches. `info` returns the index's description, None before the first search."""

    def key_prefix() -> str | None:
        current = info()
        return None if current is None else current.key_prefix

    return RedisEncodings(_ServerValues(server, key_prefix, READ_SECONDS), prefix="")


def index_encodings(server: Server, key_prefix: str) -> RedisEncodings:
    """Return the encodings of an index, for writing."""
    return RedisEncodings(_ServerValues(server, lambda: key_prefix, server.timeout), prefix="")


def encoding_keys_of(server: Server, info: IndexInfo, keys: Sequence[str], models: Iterable[KeptModel]) -> set[bytes]:
    """Return the keys of all encodings that the documents with the keys `keys` may have. This reads the documents."""
    if not keys:
        return set()
    options = CommandOptions(info.name, {}, len(keys), None, None, None, int(1000 * server.timeout))
    reply = server.execute(*documents_command(options, keys))
    documents = [replies.document_fields(raw.fields, info, None) for raw in replies.search_documents(reply, scored=False)]
    return encoding_keys(models, documents, info.names_of_kind("TEXT"))


def delete_encodings(server: Server, key_prefix: str) -> None:
    """Delete all encodings of an index. This scans all keys of the server. Raises SourceError."""
    pattern = keys_pattern(encoding_prefix(key_prefix))

    def delete() -> None:
        client = server.client()
        for key in client.scan_iter(match=pattern, count=SCAN_COUNT):
            client.delete(key)

    server.attempt(delete)
