"""RedisSource: candidates from a Redis with its search module, by full text, by vectors, or by both.

Index, schema and query builders are redisvl's and the connection is redis-py's. What they lack is here: any text is a
safe query, replies of both protocols are read alike, and every failure says which server and what to check.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from podium.errors import Argument, InvalidInput, SourceError
from podium.inputs import checked_limit, checked_offset, checked_query
from podium.sources.embedding import PROBE, adocument_vectors, aquery_vector, document_vectors, query_vector
from podium.sources.fields import checked_weights
from podium.sources.fusion import HYBRID_DEPTH, TEXT_WEIGHT, Fusion, Hit, Mode, check_fusion, fuse
from podium.sources.redis import commands as queries
from podium.sources.redis import description as redis_description
from podium.sources.redis import replies as wire
from podium.sources.redis.commands import Filter
from podium.sources.redis.failures import NotAllowed
from podium.sources.redis.filters import checked_filter, misused_field
from podium.sources.redis.server import Deadline, Server
from podium.types import Candidates, Embed

if TYPE_CHECKING:
    from redisvl.index import AsyncSearchIndex, SearchIndex

__all__ = ["RedisSource"]

Steps = Generator[queries.Command, Any, Any]
"""Commands out, their replies in, a result at the end: the same steps for a blocking and an async client."""

INFO_SECONDS = 1.0  # how long FT.INFO's answer is used again: the index may be made anew with other fields
MOST = 1_000_000  # of RediSearch itself
# A command that took its whole TIMEOUT, by a clock that may run a little faster here than on the server, is incomplete.
TIMEOUT_SHARE = 0.999


@dataclass(frozen=True, slots=True)
class _Call:
    """One search, checked. `vector` and `probe` are the embedder's, of the query and of its fingerprint's sentence."""

    query: str
    count: int
    offset: int
    mode: Mode
    filter: str | None
    vector: Any
    probe: Any
    deadline: Deadline

    @property
    def depth(self) -> int:
        return max(self.offset + self.count, HYBRID_DEPTH)


class RedisSource:
    """Ask a Redis index for candidates.

    `index` is redisvl's SearchIndex, or its AsyncSearchIndex for `asearch` alone; `from_url` needs neither. `text` is the
    field searched by BM25, several as a list or as {name: weight}, or None for every text field; `vector` the field of
    vectors, `embed` an Embedder, a redisvl vectorizer, or any function, also async, from a list of texts to vectors. `mode`
    is "text", "vector" or "hybrid" (the default where there is an embedder). `filter` is a redisvl filter expression,
    `return_fields` the fields that come back (None: all but vectors), `ef_runtime` how widely an HNSW graph is searched,
    `timeout` the seconds that all commands of a search may take together.

    A search that ran out of time on the server raises SourceError and never returns a part. So does one with another
    embedder than the one that `podium index` made the index with.

    A hybrid search asks FT.HYBRID where the server has it (Redis 8.4; in one round trip if `return_fields` are named, since
    it cannot give all), else fuses two searches here by the same rule: `fusion` "rrf", reciprocal rank. "weighted", a sum in
    which text counts `text_weight`, is always fused here.

    Safe to share between threads; `asearch` never blocks the event loop. Needs the package's extra `redis`.
    """

    def __init__(
        self,
        index: SearchIndex | AsyncSearchIndex,
        *,
        text: str | Sequence[str] | Mapping[str, float] | None = "content",
        vector: str = "embedding",
        embed: Embed | None = None,
        mode: Mode | None = None,
        return_fields: Sequence[str] | None = None,
        filter: Filter = None,  # noqa: A002  the word that redisvl uses
        fusion: Fusion = "rrf",
        text_weight: float = TEXT_WEIGHT,
        ef_runtime: int | None = None,
        timeout: float = 10.0,
    ) -> None:
        check_fusion(fusion, text_weight)
        checked_filter(filter)
        self.mode: Mode = _checked_mode(mode or ("hybrid" if embed else "text"), embed)
        self.server = Server.of(index, _checked_timeout(timeout))
        self._weights, self._vector, self._embed = checked_weights(text), vector, embed
        self._return_fields = None if return_fields is None else _checked_fields(return_fields)
        self.filter, self.fusion, self.text_weight = filter, fusion, text_weight
        self._ef_runtime = checked_limit(ef_runtime)
        self._info: wire.IndexInfo | None = None
        self._info_at = 0.0
        self._embedder_note: str | None = None  # "" once the embedder was compared with the index's
        self._probe: Any = None
        self._has_hybrid: bool | None = None

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        index: str,
        text: str | Sequence[str] | Mapping[str, float] | None = "content",
        vector: str = "embedding",
        embed: Embed | None = None,
        mode: Mode | None = None,
        return_fields: Sequence[str] | None = None,
        filter: Filter = None,  # noqa: A002  as above
        fusion: Fusion = "rrf",
        text_weight: float = TEXT_WEIGHT,
        ef_runtime: int | None = None,
        timeout: float = 10.0,
        connection: Mapping[str, Any] | None = None,
    ) -> RedisSource:
        """Return the source of an index by its name, on redis://, rediss://, unix:// or redis+sentinel://.

        `?cluster=true` in the URL makes it a cluster's; `connection` are more of redis-py's options, such as ssl_ca_certs.
        """
        return cls(
            Server.at(url, index, _checked_timeout(timeout), connection or {}),
            text=text,
            vector=vector,
            embed=embed,
            mode=mode,
            return_fields=return_fields,
            filter=filter,
            fusion=fusion,
            text_weight=text_weight,
            ef_runtime=ef_runtime,
            timeout=timeout,
        )

    def __repr__(self) -> str:
        return f"RedisSource({self.server.index!r} on {self.server.where}, mode={self.mode!r})"

    def search(
        self,
        query: str,
        limit: int,
        *,
        offset: int = 0,
        mode: Mode | None = None,
        filter: Filter = None,  # noqa: A002  as above
    ) -> Candidates:
        """Return at most `limit` documents, best first, after the `offset` best: each a dict of its fields, `source_key`,
        `source_score` and `source_rank`.

        Any text is a query: nothing in it is an operator. `filter` replaces the source's own. The result is a list with
        `total` and `notes`. Raises InvalidInput or SourceError.
        """
        query, mode = checked_query(query), _checked_mode(mode or self.mode, self._embed)
        count, conditions = self._checked_page(limit, offset), self._checked_filter(filter)
        vector = None
        if mode != "text" and self._embed is not None:
            vector = query_vector(self._embed, query)
            if self._probe is None:
                self._probe = document_vectors(self._embed, [PROBE])[0]
        call = _Call(query, count, offset, mode, conditions, vector, self._probe, Deadline(self.server.seconds))
        found: Candidates = self.server.run(self._steps(call), call.deadline)
        return found

    async def asearch(
        self,
        query: str,
        limit: int,
        *,
        offset: int = 0,
        mode: Mode | None = None,
        filter: Filter = None,  # noqa: A002  as above
    ) -> Candidates:
        """Do what `search` does without blocking the event loop."""
        query, mode = checked_query(query), _checked_mode(mode or self.mode, self._embed)
        count, conditions = self._checked_page(limit, offset), self._checked_filter(filter)
        vector = None
        if mode != "text" and self._embed is not None:
            vector = await aquery_vector(self._embed, query)
            if self._probe is None:
                self._probe = (await adocument_vectors(self._embed, [PROBE]))[0]
        call = _Call(query, count, offset, mode, conditions, vector, self._probe, Deadline(self.server.seconds))
        found: Candidates = await self.server.arun(self._steps(call), call.deadline)
        return found

    @property
    def text_fields(self) -> list[str] | None:
        """Return the fields that are searched; for every text field, only known after the first search."""
        if self._weights is None:
            return self._info.of_kind("TEXT") if self._info else None
        return list(self._weights)

    def explain(self) -> str:
        """Describe how it searches; for a hybrid search, who fuses, as far as that is known before the first one."""
        fields = "every text field" if self._weights is None else ", ".join(f"{n} × {w:g}" for n, w in self._weights.items())
        text, vector = f"BM25STD over {fields}", f"KNN over {self._vector}"
        return {"text": text, "vector": vector, "hybrid": f"{text}; {vector}; {self._how_fused()}"}[self.mode]

    def close(self) -> None:
        """Close the connections that `from_url` made; those of a given index belong to its owner."""
        self.server.close()

    def _how_fused(self) -> str:
        if self.fusion == "weighted":
            return f"fused here by a weighted sum, text {self.text_weight:g}"
        if self._has_hybrid is None:
            return "fused by reciprocal rank, by FT.HYBRID if the server has it, else here"
        return (
            "fused by the server's FT.HYBRID, by reciprocal rank"
            if self._has_hybrid
            else ("fused here by reciprocal rank: this server has no FT.HYBRID")
        )

    def _checked_page(self, limit: Any, offset: Any) -> int:
        count = checked_limit(limit)
        if count is None or count + checked_offset(offset) > MOST:
            raise InvalidInput(f"limit must be a positive whole number, and with offset at most {MOST:,}, RediSearch's maximum")
        return count

    def _checked_filter(self, conditions: Filter) -> str | None:
        return checked_filter(self.filter if conditions is None else conditions)

    def _steps(self, call: _Call) -> Steps:
        try:
            info, is_fresh = yield from self._looked_up(call)
            rows, total = yield from _STEPS[call.mode](self, info, call)
            if len(rows) < call.count and not is_fresh:  # perhaps of an index that was made anew just now
                self._info = None
                info, _ = yield from self._looked_up(call)
        except SourceError:
            self._info = None  # the index may have been made anew: look again next time
            raise
        return Candidates(self._documents(info, rows, call.offset), total=total, notes=self._notes(info))

    def _looked_up(self, call: _Call) -> Steps:
        """Return what FT.INFO says of the index, and whether it was just asked. Refuse what the index has no fields for."""
        info = self._info  # read once: another thread may set it to None
        is_fresh = info is None or info.indexing or time.monotonic() - self._info_at > INFO_SECONDS
        if is_fresh or info is None:
            info = wire.index_info((yield ("FT.INFO", self.server.index)))
            self._info, self._info_at, self._embedder_note = info, time.monotonic(), None
        self._check_fields(info, call)
        if call.vector is not None and self._embedder_note is None:
            self._embedder_note = yield from self._compared_embedder(info, call)
        return info, is_fresh

    def _compared_embedder(self, info: wire.IndexInfo, call: _Call) -> Steps:
        key = redis_description.description_key(info.prefixes[0] if info.prefixes else "")
        try:
            description = redis_description.read((yield ("GET", key)))
        except NotAllowed:
            return f"whether this is the embedder of the index could not be checked: this user may not GET {key!r}"
        redis_description.check_embedder(description, self._vector, call.probe, info.name)
        return ""

    def _notes(self, info: wire.IndexInfo) -> list[str]:
        building = f"index {info.name!r} is still being built ({info.indexed_share:.0%} done): documents may be missing"
        return [note for note in (building if info.indexing else "", self._embedder_note or "") if note]

    def _by_text(self, info: wire.IndexInfo, call: _Call) -> Steps:
        return (yield from self._text_rows(self._request(info, call, call.offset, call.count), call))

    def _by_vector(self, info: wire.IndexInfo, call: _Call) -> Steps:
        rows = yield from self._vector_rows(self._request(info, call, call.offset, call.count), call)
        return rows, self._all(info, call)

    def _by_both(self, info: wire.IndexInfo, call: _Call) -> Steps:
        total = self._all(info, call)
        if self.fusion == "rrf" and self._has_hybrid is not False and wire.words(call.query):
            request = self._request(info, call, call.offset, call.count)
            reply = yield from _complete(queries.hybrid_command(request, call.query, call.vector, call.depth), request)
            self._has_hybrid = reply is not None
            if reply is not None:
                return (yield from self._whole(info, call, wire.hybrid_rows(reply))), total
        text, _ = yield from self._text_rows(self._request(info, call, 0, call.depth), call)
        near = yield from self._vector_rows(self._request(info, call, 0, call.depth), call)
        rows = {row.key: row for row in (*near, *text)}
        ranked = fuse(self.fusion, _hits(text), _hits(near), self.text_weight)[call.offset : call.offset + call.count]
        return [wire.Row(hit.key, hit.score, rows[hit.key].fields) for hit in ranked], total

    def _whole(self, info: wire.IndexInfo, call: _Call, rows: list[wire.Row]) -> Steps:
        """Return FT.HYBRID's rows with all their fields: it returns only those that are named."""
        if self._return_fields is not None or not rows:
            return rows
        request = self._request(info, call, 0, len(rows))
        reply = yield from _complete(queries.documents_command(request, [row.key for row in rows]), request)
        fields = {row.key: row.fields for row in wire.search_rows(reply, scored=False)}
        return [wire.Row(row.key, row.score, fields[row.key]) for row in rows if row.key in fields]

    def _text_rows(self, request: queries.Request, call: _Call) -> Steps:
        if not wire.words(call.query):  # punctuation alone has nothing to search for
            return [], 0
        reply = yield from _complete(queries.text_command(request, call.query), request)
        return wire.search_rows(reply, scored=True), wire.total(reply)

    def _vector_rows(self, request: queries.Request, call: _Call) -> Steps:
        reply = yield from _complete(queries.vector_command(request, call.vector), request)
        assert request.vector is not None  # noqa: S101  for the type checker: the field was checked
        return wire.nearest_rows(reply, request.vector.metric)

    def _all(self, info: wire.IndexInfo, call: _Call) -> int | None:
        """Return how many documents a search by vectors ranks: all; how many pass a filter is not known."""
        return info.documents if call.filter is None else None

    def _request(self, info: wire.IndexInfo, call: _Call, offset: int, count: int) -> queries.Request:
        return queries.Request(
            index=self.server.index,
            weights=self._weights or dict.fromkeys(info.of_kind("TEXT"), 1.0),
            vector=info.fields.get(self._vector),
            count=count,
            filter=call.filter,
            return_fields=self._return_fields,
            ef_runtime=self._ef_runtime,
            milliseconds=call.deadline.milliseconds_left(),
            offset=offset,
        )

    def _check_fields(self, info: wire.IndexInfo, call: _Call) -> None:
        """Refuse what the server would answer with an empty list instead of an error."""
        if call.mode != "vector":
            names = list(self._weights or info.of_kind("TEXT"))
            if not names:
                raise self._no_field("a text field", info)
            for name in names:
                if name not in info.of_kind("TEXT"):
                    raise self._no_field(f"the text field {name!r}", info)
        if call.mode != "text":
            if self._vector not in info.of_kind("VECTOR"):
                raise self._no_field(f"the vector field {self._vector!r}", info)
            if (dimensions := info.fields[self._vector].dimensions) != len(call.vector):
                raise SourceError(
                    f"{self._vector!r} of index {info.name!r} on {self.server.where} has {dimensions} dimensions, the embedder "
                    f"gives {len(call.vector)}; use the embedder that the index was made with"
                )
        if call.filter is not None and (misused := misused_field(call.filter, info.fields)):
            raise self._no_field(misused, info)

    def _no_field(self, what: str, info: wire.IndexInfo) -> SourceError:
        has = ", ".join(f"{field.name} ({field.kind})" for field in info.fields.values())
        return SourceError(f"index {info.name!r} on {self.server.where} does not have {what}; it has {has or 'no fields'}")

    def _documents(self, info: wire.IndexInfo, rows: Sequence[wire.Row], offset: int) -> list[dict[str, Any]]:
        return [
            wire.document(row, info, self._return_fields)
            | {"source_key": row.key, "source_score": row.score, "source_rank": rank}
            for rank, row in enumerate(rows, start=offset + 1)
        ]


_STEPS: dict[str, Callable[[RedisSource, wire.IndexInfo, _Call], Steps]] = {
    "text": RedisSource._by_text,
    "vector": RedisSource._by_vector,
    "hybrid": RedisSource._by_both,
}


def _complete(command: queries.Command, request: queries.Request) -> Steps:
    """Return the reply to a command. Raises SourceError where it took as long as its TIMEOUT: RESP2 has no other sign."""
    began = time.monotonic()
    reply = yield command
    if 1000 * (time.monotonic() - began) >= TIMEOUT_SHARE * request.milliseconds:
        raise SourceError("the server ran out of time and gave only a part of the answer; allow it more time with timeout=")
    return reply


def _hits(rows: Sequence[wire.Row]) -> list[Hit]:
    return [Hit(row.key, row.score or 0.0) for row in rows]


def _checked_fields(names: Any) -> tuple[str, ...]:
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) and name for name in names):
        raise InvalidInput("return_fields must be a list of field names, or None for all but vectors")
    return tuple(names)


def _checked_mode(mode: Any, embed: Embed | None) -> Mode:
    if mode not in ("text", "vector", "hybrid"):
        raise InvalidInput(f"mode must be text, vector or hybrid, not {mode!r:.40}")
    if mode != "text" and embed is None:
        raise InvalidInput(Argument("mode", mode), " needs vectors of the query; give an embedder as ", Argument("embed", ...))
    return mode  # type: ignore[no-any-return]  # one of the three


def _checked_timeout(timeout: Any) -> float:
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < 1e6:
        raise InvalidInput(f"timeout must be a positive number of seconds, not {timeout!r:.40}")
    return float(timeout)
