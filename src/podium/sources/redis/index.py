"""RedisIndex: makes an index on a Redis where there is none, and puts documents into it. RedisSource searches it.

Every document is written whole or not at all, and one that is there as it would be written is left alone: loading that was
interrupted goes on where it was. Rewriting costs more than time: the server never takes a rewritten document's words out of
its average length, and with it BM25 drifts.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from podium.errors import InvalidInput, SourceError
from podium.sources.embedding import document_vectors, embedder_name, probe_vector
from podium.sources.loading import check_ids_from
from podium.sources.redis import description as redis_description
from podium.sources.redis import replies as wire
from podium.sources.redis.description import Description, default_prefix, description_key, lease_key, separated
from podium.sources.redis.failures import NoSuchIndex
from podium.sources.redis.lease import Lease
from podium.sources.redis.schema import Storage, checked_schema, create_command
from podium.sources.redis.server import Server
from podium.sources.redis.storage import storage_for
from podium.types import Embed, Progress

__all__ = ["RedisIndex"]

SCAN_SECONDS = 600.0


class RedisIndex:
    """An index at a URL. `text` are the fields that can be searched, with weights if given as {name: weight}.

    `vector` is the field for `embed`'s vectors; `tags` and `numbers` are fields to filter by. Other fields are kept and come
    back. `storage` is "hash" or "json", `prefix` how the documents' keys begin, `m` and `ef_construction` are HNSW's.
    `ids_from` is the field that ids are taken from, "" for digests: it is kept, and another one refused. `notes` is what a
    reader should know after `finish`. Raises InvalidInput or SourceError.
    """

    batch = 500

    def __init__(
        self,
        url: str,
        index: str,
        *,
        text: str | Sequence[str] | Mapping[str, float] = ("content",),
        embed: Embed | None = None,
        vector: str = "embedding",
        tags: Sequence[str] = (),
        numbers: Sequence[str] = (),
        storage: Storage = "hash",
        prefix: str | None = None,
        tag_separator: str = ",",
        m: int | None = None,
        ef_construction: int | None = None,
        ids_from: str | None = None,
        timeout: float = 30.0,
        connection: Mapping[str, Any] | None = None,
    ) -> None:
        self.server = Server.at(url, index, timeout, connection or {})
        self.embed = embed
        self.notes: list[str] = []
        self._schema = checked_schema(
            text=text,
            vector=vector if embed is not None else None,
            tags=tags,
            numbers=numbers,
            storage=storage,
            tag_separator=tag_separator,
            m=m,
            ef_construction=ef_construction,
        )
        self._storage = storage_for(self._schema)
        self._chosen_prefix = None if prefix is None else separated(prefix)
        self._prefix = self._chosen_prefix or default_prefix(index)
        self._ids_from = ids_from
        self._lease: Lease | None = None
        self._failures = self._expected = 0

    def prepare(self, count: int, progress: Progress = lambda percent: None) -> None:
        """Make the index if it is missing, sized for so many documents; else check that it fits.

        Waits until the server has scanned the keys that were there before, which `progress` is told in percent: what is
        written meanwhile could be counted twice. Raises SourceError where another process is loading.
        """
        info = self._info()
        if info is not None:
            self._prefix = self._prefix_of(info)
        self._lease = Lease(self.server, lease_key(self._prefix))
        self._lease.acquire()
        info = info or self._info()  # another loader may have made it meanwhile
        if info is None:
            self._create(count)
        else:
            self._check(info)
        info = self._scanned(progress)
        self._failures, self._expected = info.failures, info.documents  # the server never forgets old failures

    def check(self, document: Any, document_id: str, number: int) -> None:
        """Raise what `add` would raise for this document; nothing is written."""
        self._key(document_id)
        self._storage.encoded(document, number)

    def unchanged(self, documents: Sequence[Any], ids: Sequence[str]) -> set[str]:
        """Return the ids of those that are there already, as they would be written."""
        encoded = [self._storage.encoded(document, number) for number, document in enumerate(documents)]
        reading = [self._storage.reading(self._key(name), fields) for name, fields in zip(ids, encoded, strict=True)]
        replies = iter(self._sent([command for commands in reading for command in commands], together=False))
        same = set()
        for name, fields, commands in zip(ids, encoded, reading, strict=True):
            with_vector = bool(self.embed is not None and self._storage.text(fields))
            if self._storage.is_same([next(replies) for _ in commands], fields, with_vector):
                same.add(name)
        return same

    def add(self, documents: Sequence[Any], ids: Sequence[str]) -> None:
        """Write documents under their ids, each in place of what has its id, in one round trip."""
        encoded = [self._storage.encoded(document, number) for number, document in enumerate(documents)]
        vectors: list[Any] = [None] * len(encoded)
        if self.embed is not None and (texts := {i: text for i, fields in enumerate(encoded) if (text := self._text(fields))}):
            for i, row in zip(texts, document_vectors(self.embed, list(texts.values())), strict=True):
                vectors[i] = row
        if self._lease is not None:
            self._lease.check()
        writing = [
            self._storage.writing(self._key(name), fields, vector)
            for name, fields, vector in zip(ids, encoded, vectors, strict=True)
        ]
        # Together: the old fields go as the new ones come.
        replies = iter(self._sent([command for commands in writing for command in commands], together=True))
        for commands in writing:
            deleted, *_ = [next(replies) for _ in commands]
            self._expected += 0 if deleted else 1

    def finish(self) -> None:
        """Raise SourceError where documents that were written since `prepare`, or were there before, cannot be found."""
        if (info := self._info()) is None:
            raise SourceError(f"index {self.server.index!r} on {self.server.where} was dropped meanwhile; index the file again")
        if (failed := info.failures - self._failures) > 0:
            raise SourceError(
                f"{self.server.where} holds every document, but could not index {failed} of them: {info.last_failure}; "
                "fix these and index the file again"
            )
        missing, policy = self._expected - info.documents, self._eviction_policy()
        if missing > 0 and info.filter:
            self.notes.append(f"{missing} documents do not pass the index's FILTER ({info.filter}), so no search finds them")
        elif missing > 0:
            raise SourceError(
                f"{missing} of {self._expected} documents are missing from index {info.name!r} on {self.server.where}: they "
                f"were deleted meanwhile, or evicted (maxmemory-policy {policy or 'unknown'}); give it more memory, set "
                "maxmemory-policy noeviction, and index the file again"
            )
        if policy.startswith("allkeys-"):
            self.notes.append(
                f"maxmemory-policy is {policy}: when its memory is full, {self.server.where} deletes documents without a word; "
                "set it to noeviction"
            )

    def close(self) -> None:
        if self._lease is not None:
            try:
                self._lease.release()
            except SourceError:  # of a server that is gone; the lease expires by itself
                pass
            self._lease = None
        self.server.close()

    def _key(self, name: str) -> str:
        if name in redis_description.RESERVED:
            raise InvalidInput(f"a document cannot have the id {name!r}: podium keeps a key of its own there")
        return self._prefix + name

    def _text(self, fields: Any) -> str:
        return self._storage.text(fields)

    def _sent(self, commands: Sequence[tuple[Any, ...]], *, together: bool) -> list[Any]:
        """Send commands in one round trip and return their replies."""

        def send() -> Any:
            pipeline = self.server.pipeline(together=together)  # anew each time: a pipeline that failed forgets its commands
            for command in commands:
                pipeline.execute_command(*command, NEVER_DECODE=True)
            return pipeline.execute()

        return list(self.server.attempt(send))

    def _info(self) -> wire.IndexInfo | None:
        """Return what the server says of the index, None where there is none."""
        try:
            return wire.index_info(self.server.execute("FT.INFO", self.server.index))
        except NoSuchIndex:
            return None

    def _scanned(self, waited: Progress) -> wire.IndexInfo:
        ends, percent = time.monotonic() + SCAN_SECONDS, 0
        while (info := self._info()) is None or info.indexing:
            if time.monotonic() > ends:
                raise SourceError(f"{self.server.where} is still scanning for index {self.server.index!r}; try again later")
            done = int(100 * info.indexed_share) if info else 0
            waited(max(0, done - percent))
            percent = max(done, percent)
            time.sleep(0.05)
        return info

    def _create(self, documents: int) -> None:
        self._check_prefix()
        fingerprint = () if self.embed is None else probe_vector(self.embed)
        self._describe(fingerprint)
        command = create_command(
            self.server.index, self._prefix, self._schema, dimensions=len(fingerprint), documents=documents
        )
        self.server.execute(*command)

    def _describe(self, fingerprint: tuple[float, ...]) -> None:
        vector = self._schema.vector or ""
        description = Description(vector, embedder_name(self.embed), fingerprint, self._ids_from)
        self.server.execute("SET", description_key(self._prefix), description.to_json())

    def _check_prefix(self) -> None:
        """Refuse a prefix that keys of others have: they would be overwritten, and found."""
        own = {self._prefix + name for name in redis_description.RESERVED}
        pattern = re.sub(r"([*?\[\]^\\])", r"\\\1", self._prefix) + "*"

        def first() -> str | None:
            found = (_decoded(key) for key in self.server.client().scan_iter(match=pattern, count=1000))
            return next((key for key in found if key not in own), None)

        remedy = "name another prefix with --prefix (prefix=), or another index"
        if (key := self.server.attempt(first)) is not None:
            raise SourceError(
                f"{self.server.where} has keys that begin with {self._prefix!r} already, such as {key[:80]!r}; index "
                f"{self.server.index!r} would overwrite or find them: {remedy}"
            )
        for name in map(_decoded, self.server.execute("FT._LIST")):
            for prefix in wire.index_info(self.server.execute("FT.INFO", name)).prefixes:
                # An index without a prefix is over all keys on purpose.
                if prefix and (prefix.startswith(self._prefix) or self._prefix.startswith(prefix)):
                    raise SourceError(
                        f"the prefix {self._prefix!r} overlaps with {prefix!r} of index {name!r} on {self.server.where}: one "
                        f"would find the other's documents: {remedy}"
                    )

    def _prefix_of(self, info: wire.IndexInfo) -> str:
        prefix = separated(info.prefixes[0] if info.prefixes else "")
        if self._chosen_prefix not in (None, prefix):
            raise InvalidInput(f"index {info.name!r} keeps its documents under {prefix!r}; leave --prefix (prefix=) out")
        return prefix

    def _check(self, info: wire.IndexInfo) -> None:
        where = f"index {info.name!r} on {self.server.where}"
        if info.storage != self._schema.storage.upper():
            raise SourceError(
                f"{where} is over {info.storage}; load with --storage {info.storage.lower()} (storage=), or name another"
            )
        has = {name: field.kind for name, field in info.fields.items()}
        if lacking := [f"{name} ({kind})" for name, kind in self._schema.kinds() if has.get(name) != kind]:
            raise SourceError(
                f"{where} is there already, without {', '.join(lacking)}; it has "
                f"{', '.join(f'{name} ({kind})' for name, kind in has.items())}. Name another, or drop it first (--drop)"
            )
        if self.embed is None and (vectors := info.of_kind("VECTOR")):
            raise SourceError(
                f"{where} has vectors in {vectors[0]!r}; load with its embedder (--embed), or documents would be without one"
            )
        fingerprint = () if self.embed is None else probe_vector(self.embed)
        if self._schema.vector and len(fingerprint) != (there := info.fields[self._schema.vector].dimensions):
            raise SourceError(
                f"{self._schema.vector!r} of index {info.name!r} has {there} dimensions, the embedder gives {len(fingerprint)}"
            )
        self._check_description(info, fingerprint)

    def _check_description(self, info: wire.IndexInfo, fingerprint: tuple[float, ...]) -> None:
        """Compare embedder and --id with those that the index was made with, as far as that is known."""
        description = redis_description.read(self.server.execute("GET", description_key(self._prefix)))
        if description is None and not info.documents:
            return self._describe(fingerprint)
        redis_description.check_embedder(description, self._schema.vector or "", fingerprint, info.name)
        if description is not None:
            check_ids_from(f"index {info.name!r}", description.ids_from, self._ids_from)
        return None

    def _eviction_policy(self) -> str:
        """Return the server's maxmemory-policy, "" where it does not tell."""
        try:
            memory = self.server.attempt(lambda: self.server.client().info("memory"))
        except SourceError:
            return ""
        nodes = [memory, *(node for node in memory.values() if isinstance(node, dict))]  # a cluster's answer is by node
        return next((str(node["maxmemory_policy"]) for node in nodes if "maxmemory_policy" in node), "")


def _decoded(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
