"""RedisIndex: makes an index on a Redis where there is none, and puts documents into it. Finding them is RedisSource's.

Every document is one command, so it is there whole or not at all, and one that is there as it would be written is left
alone: loading that was interrupted goes on where it was. Rewriting costs more than time: the server never takes a
rewritten document's words out of its average length, and with it BM25 drifts.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from podium.errors import InvalidInput, SourceError
from podium.extras import needed
from podium.sources import redis_wire as wire
from podium.sources.embedding import document_vectors
from podium.sources.redis_server import NoSuchIndex, Server
from podium.types import Embed

__all__ = ["RedisIndex"]

HNSW_FROM = 100_000  # documents: up to here the server looks at every vector in milliseconds and finds exactly the nearest
SCAN_SECONDS = 600.0
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")  # what the server takes; Python's float takes more


class RedisIndex:
    """An index of hashes at a URL. `text` are the fields that can be searched, `vector` where `embed`'s vectors go.

    `tags` and `numbers` are fields to filter by. Other fields are kept and come back. Raises InvalidInput or SourceError.
    """

    batch = 500

    def __init__(
        self,
        url: str,
        index: str,
        *,
        text: Sequence[str] = ("content",),
        embed: Embed | None = None,
        vector: str = "embedding",
        tags: Sequence[str] = (),
        numbers: Sequence[str] = (),
        timeout: float = 30.0,
        connection: Mapping[str, Any] | None = None,
    ) -> None:
        self.server = Server.at(url, index, timeout, connection or {})
        self._text = (text,) if isinstance(text, str) else tuple(text)
        self.embed, self._vector = embed, vector
        self._tags, self._numbers = tuple(tags), tuple(numbers)
        named = [*self._text, *self._tags, *self._numbers, *([vector] if embed is not None else [])]
        if twice := next((name for at, name in enumerate(named) if name in named[:at]), None):
            raise InvalidInput(f"the field {twice!r} is named twice; it can be one of text, tag, number and vector")
        self._prefix = f"{index}:"
        self._failures = 0

    def prepare(self, documents: int) -> None:
        """Make the index if it is missing, sized for so many documents; else check that it has the fields.

        Waits until the server has looked through keys that were there before: what is written meanwhile could be counted
        twice.
        """
        info = self._info()
        if info is None:
            self._create(documents)
        else:
            self._check(info)
        ends = time.monotonic() + SCAN_SECONDS
        while (info := self._info()) is None or info.indexing:
            if time.monotonic() > ends:
                raise SourceError(f"{self.server.where} is still scanning for index {self.server.index!r}; try again later")
            time.sleep(0.05)
        self._failures = info.failures  # of long ago: the server never forgets them

    def check(self, documents: Sequence[Any]) -> None:
        """Raise what `add` would raise for these documents; nothing is written."""
        for at, document in enumerate(documents):
            self._hash(document, at)

    def unchanged(self, documents: Sequence[Any], ids: Sequence[str]) -> set[str]:
        """Return the ids of those that are there already, as they would be written."""
        hashes = [self._hash(document, at) for at, document in enumerate(documents)]
        pipeline = self.server.pipeline(together=False)
        for name, fields in zip(ids, hashes, strict=True):
            pipeline.execute_command("HMGET", self._prefix + name, *sorted(fields), NEVER_DECODE=True)
            pipeline.execute_command("HLEN", self._prefix + name)
            pipeline.execute_command("HEXISTS", self._prefix + name, self._vector)
        replies = self.server.attempt(pipeline.execute)
        same = set()
        for at, (name, fields) in enumerate(zip(ids, hashes, strict=True)):
            values, length, has_vector = replies[3 * at : 3 * at + 3]
            with_vector = bool(self.embed is not None and self._text_of(fields))
            whole = length == len(fields) + with_vector and bool(has_vector) == with_vector
            if whole and values == [fields[field] for field in sorted(fields)]:
                same.add(name)
        return same

    def add(self, documents: Sequence[Any], ids: Sequence[str]) -> None:
        """Write documents under their ids, each in place of what has its id, in one round trip."""
        hashes = [self._hash(document, at) for at, document in enumerate(documents)]
        said = [at for at, fields in enumerate(hashes) if self._text_of(fields)] if self.embed is not None else []
        vectors = document_vectors(self.embed, [self._text_of(hashes[at]) for at in said]) if self.embed and said else ()
        for at, row in zip(said, vectors, strict=True):
            hashes[at][self._vector] = row.astype("<f4").tobytes()
        pipeline = self.server.pipeline(together=True)  # the old fields go as the new come
        for name, fields in zip(ids, hashes, strict=True):
            pipeline.delete(self._prefix + name)
            pipeline.hset(self._prefix + name, mapping=fields)
        self.server.attempt(pipeline.execute)

    def finish(self) -> None:
        """Raise SourceError where the server could not index some of what was written since `prepare`."""
        if (info := self._info()) is None:
            raise SourceError(f"index {self.server.index!r} on {self.server.where} was dropped meanwhile; index the file again")
        if (failed := info.failures - self._failures) > 0:
            raise SourceError(
                f"{self.server.where} holds every document, but could not index {failed} of them: {info.last_failure}; "
                "fix these and index the file again"
            )

    def close(self) -> None:
        self.server.close()

    def _info(self) -> wire.IndexInfo | None:
        """Return what the server says of the index, None where there is none."""
        try:
            return wire.index_info(self.server.run(_one("FT.INFO", self.server.index)))
        except NoSuchIndex:
            return None

    def _create(self, documents: int) -> None:
        algorithm = "hnsw" if documents >= HNSW_FROM else "flat"
        fields: list[dict[str, Any]] = [{"name": name, "type": "text"} for name in self._text]
        fields += [{"name": name, "type": "tag"} for name in self._tags]
        fields += [{"name": name, "type": "numeric"} for name in self._numbers]
        if self.embed is not None:
            dimensions = document_vectors(self.embed, ["a"]).shape[1]
            attributes = {"dims": dimensions, "algorithm": algorithm, "distance_metric": "cosine", "datatype": "float32"}
            fields.append({"name": self._vector, "type": "vector", "attrs": attributes})
        described = {
            "index": {"name": self.server.index, "prefix": self._prefix, "storage_type": "hash"},
            "fields": fields,
        }
        made = needed("redisvl.index", "redis").SearchIndex.from_dict(described, redis_client=self.server.client())
        self.server.attempt(made.create)

    def _check(self, info: wire.IndexInfo) -> None:
        if info.storage != "HASH":
            raise SourceError(f"index {info.name!r} on {self.server.where} is over {info.storage}; podium index writes hashes")
        wanted = [(name, "TEXT") for name in self._text] + [(name, "TAG") for name in self._tags]
        wanted += [(name, "NUMERIC") for name in self._numbers]
        wanted += [(self._vector, "VECTOR")] if self.embed is not None else []
        has = {name: field.kind for name, field in info.fields.items()}
        if lacking := [f"{name} ({kind})" for name, kind in wanted if has.get(name) != kind]:
            raise SourceError(
                f"index {info.name!r} on {self.server.where} is there already, without {', '.join(lacking)}; it has "
                f"{', '.join(f'{name} ({kind})' for name, kind in has.items())}. Name another, or drop it first (FT.DROPINDEX)"
            )
        if self.embed is None and (vectors := info.of_kind("VECTOR")):
            raise SourceError(
                f"index {info.name!r} on {self.server.where} has vectors in {vectors[0]!r}; load with its embedder "
                "(--embed), or documents would be without one"
            )
        if self.embed is not None:
            given, there = document_vectors(self.embed, ["a"]).shape[1], info.fields[self._vector].dimensions
            if given != there:
                raise SourceError(f"{self._vector!r} of index {info.name!r} has {there} dimensions, the embedder gives {given}")
        prefix = info.prefixes[0] if info.prefixes else ""
        self._prefix = prefix if prefix.endswith(":") or not prefix else f"{prefix}:"

    def _hash(self, document: Any, at: int) -> dict[str, bytes]:
        """Return a document as the hash that is written. What is None, or no number, is not written."""
        record = {self._text[0]: document} if isinstance(document, str) else document
        if not isinstance(record, Mapping) or not any(name in record for name in self._text):
            has = ", ".join(map(str, record)) if isinstance(record, Mapping) and record else "no fields"
            raise InvalidInput(f"document {at} has no field {', '.join(self._text)}; it has {has}")
        fields = {str(name): self._bytes(value, str(name), at) for name, value in record.items() if not _is_nothing(value)}
        if not fields:
            raise InvalidInput(f"document {at} has nothing in any field; Redis keeps no empty document, so leave it out")
        if self._vector in fields and self.embed is not None:
            raise InvalidInput(f"document {at} has a field {self._vector!r} of its own, where the vector goes; rename it")
        return fields

    def _bytes(self, value: Any, name: str, at: int) -> bytes:
        if name in self._tags and isinstance(value, list | tuple):
            return ",".join(map(str, value)).encode("utf-8", "replace")  # as the server separates tags
        if name in self._numbers and not NUMBER.fullmatch(str(value)):
            raise InvalidInput(f"document {at} has something in {name!r} that is no number; leave it out of --number")
        return _bytes(value, name, at)

    def _text_of(self, fields: Mapping[str, bytes]) -> str:
        return " ".join(fields[name].decode() for name in self._text if name in fields).strip()


def _one(*command: Any) -> Any:
    return (yield command)


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _bytes(value: Any, name: str, at: int) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, list | tuple | dict):
        try:
            value = json.dumps(value, ensure_ascii=False)
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"document {at}: {name!r} cannot be written as JSON ({error})") from None
    return str(value).encode("utf-8", "replace")
