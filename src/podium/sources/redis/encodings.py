"""Encodings of the documents of an index on Redis. They are strings on the same server, which RediSearch does not index."""

from __future__ import annotations

import logging
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

__all__ = ["delete_encodings", "index_encodings", "possible_encoding_keys", "source_encodings"]

_log = logging.getLogger("podium")
READ_SECONDS = 0.5  # how long a search waits for stored encodings; then it computes them
SCAN_COUNT = 1_000  # how many keys the server examines for one SCAN command


class _IndexValues:
    """The ValueStore of an index. It prepends the prefix of the index's encodings to names. Methods raise PodiumError.

    `get_document_prefix` returns the prefix of the documents' keys, None before the first search. `get` takes at most
    `read_seconds`.
    """

    def __init__(self, server: Server, get_document_prefix: Callable[[], str | None], *, read_seconds: float) -> None:
        self._server = server
        self._get_document_prefix = get_document_prefix
        self._read_seconds = read_seconds

    def get(self, names: Sequence[str]) -> list[Any]:
        keys = self._keys(names)
        # `run` has a deadline, which the other methods of Server do not have.
        return self._server.run(self._read_steps(keys), Deadline(self._read_seconds)) if keys else []

    def set(self, values: Mapping[str, bytes]) -> None:
        commands = [("SET", key, value) for key, value in zip(self._keys(values), values.values(), strict=True)]
        try:
            self._server.execute_many(commands)
        except SourceError as error:
            _log.warning("encodings could not be written: %s", error)
            raise

    def delete(self, names: Iterable[str]) -> None:
        self._server.execute_many([("DEL", key) for key in self._keys(names)])

    def close(self) -> None:
        """Do nothing: the index closes its server."""

    def _keys(self, names: Iterable[str]) -> list[str]:
        document_prefix = self._get_document_prefix()
        if document_prefix is None:
            raise SourceError("the index was not searched yet")
        return [encoding_prefix(document_prefix) + name for name in names]

    @immediate
    def _read_steps(self, keys: Sequence[str]) -> list[Any]:
        """Return the values of the keys. The decorator makes this a generator, as `Server.run` takes."""
        if is_cluster(self._server.client()):  # in a cluster, MGET accepts only the keys of one shard
            return self._server.execute_many([("GET", key) for key in keys])
        return checked_values(self._server.execute("MGET", *keys), len(keys))


def source_encodings(server: Server, get_info: Callable[[], IndexInfo | None]) -> RedisEncodings:
    """Return the encodings of an index, for searches. `get_info` returns its description, None before the first search."""

    def document_prefix() -> str | None:
        info = get_info()
        return None if info is None else info.key_prefix

    return _encodings(_IndexValues(server, document_prefix, read_seconds=READ_SECONDS))


def index_encodings(server: Server, document_prefix: str) -> RedisEncodings:
    """Return the encodings of an index, for writing. `document_prefix` is the prefix of its documents' keys."""
    return _encodings(_IndexValues(server, lambda: document_prefix, read_seconds=server.timeout))


def _encodings(values: _IndexValues) -> RedisEncodings:
    return RedisEncodings(values, prefix="")  # no prefix, because _IndexValues prepends that of the index


def possible_encoding_keys(
    server: Server, info: IndexInfo, document_keys: Sequence[str], models: Iterable[KeptModel]
) -> set[bytes]:
    """Read the documents with these keys, and return the keys of all encodings that they may have."""
    if not document_keys:
        return set()
    options = CommandOptions(index=info.name, weights={}, count=len(document_keys), timeout_ms=int(1000 * server.timeout))
    reply = server.execute(*documents_command(options, document_keys))
    documents = [replies.document_fields(raw.fields, info, None) for raw in replies.search_documents(reply, scored=False)]
    return encoding_keys(models, documents, info.names_of_kind("TEXT"))


def delete_encodings(server: Server, document_prefix: str) -> None:
    """Delete all encodings of an index. This scans all keys of the server. Raises SourceError."""
    pattern = keys_pattern(encoding_prefix(document_prefix))

    def delete() -> None:
        client = server.client()
        for key in client.scan_iter(match=pattern, count=SCAN_COUNT):
            client.delete(key)

    server.attempt(delete)
