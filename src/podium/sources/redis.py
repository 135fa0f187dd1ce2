"""RedisSource: candidates from a Redis with its search module, by full text, by vectors, or by both.

Index, schema and query builders are redisvl's and the connection is redis-py's. What they lack is here: any text is a
safe query, replies of both protocols are read alike, and every failure says which server and what to check.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from podium.errors import Argument, InvalidInput, SourceError
from podium.inputs import checked_limit, checked_query
from podium.sources import redis_queries as queries
from podium.sources import redis_wire as wire
from podium.sources.embedding import aquery_vector, query_vector
from podium.sources.fields import checked_weights
from podium.sources.fusion import HYBRID_DEPTH, TEXT_WEIGHT, Fusion, Hit, Mode, checked_fusion, fuse
from podium.sources.redis_queries import Filter
from podium.sources.redis_server import Server
from podium.types import Embed

if TYPE_CHECKING:
    from redisvl.index import AsyncSearchIndex, SearchIndex

__all__ = ["RedisSource"]

Exchange = Generator[queries.Command, Any, list[dict[str, Any]]]
"""Commands out, their replies in, documents at the end: the same steps for a client that waits and for one that is awaited."""
Rows = Generator[queries.Command, Any, list[wire.Row]]

INFO_SECONDS = 10.0  # how long a description of the index is believed: it may be made anew with other fields
MOST = 1_000_000  # of RediSearch itself


class RedisSource:
    """Ask a Redis index for candidates.

    `index` is redisvl's SearchIndex, or its AsyncSearchIndex for `asearch` alone; `from_url` needs neither. `text` is the
    field searched by BM25, several as a list or as {name: weight}, or None for every text field; `vector` the field of
    vectors, `embed` an Embedder or any callable from a list of texts to vectors. `mode` is "text", "vector" or "hybrid"
    (the default where there is an embedder). `filter` is a redisvl filter expression, `return_fields` the fields that come
    back (None: all but vectors), `ef_runtime` how widely an HNSW graph is searched, `timeout` the seconds a search may take.

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
        filter: Filter = None,  # noqa: A002  redisvl's and everyone's word for it
        fusion: Fusion = "rrf",
        text_weight: float = TEXT_WEIGHT,
        ef_runtime: int | None = None,
        timeout: float = 10.0,
    ) -> None:
        checked_fusion(fusion, text_weight)
        _check_filter(filter)
        self.mode: Mode = _checked_mode(mode or ("hybrid" if embed else "text"), embed)
        self.server = Server.of(index, _checked_timeout(timeout))
        self._weights, self._vector, self._embed = checked_weights(text), vector, embed
        self._return_fields = None if return_fields is None else _checked_fields(return_fields)
        self.filter, self.fusion, self.text_weight = filter, fusion, text_weight
        self._ef_runtime = checked_limit(ef_runtime)
        self._info: wire.IndexInfo | None = None
        self._info_at = 0.0
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

    def search(self, query: str, limit: int, *, mode: Mode | None = None, filter: Filter = None) -> list[dict[str, Any]]:  # noqa: A002
        """Return at most `limit` documents, best first: each a dict of its fields, `source_key`, `source_score` and
        `source_rank`.

        Any text is a query: nothing in it is an operator. `filter` replaces the source's own. Raises InvalidInput or
        SourceError.
        """
        _check_filter(filter)
        asked, count, chosen = self._checked(query, limit, mode)
        vector = None if chosen == "text" or self._embed is None else query_vector(self._embed, asked)
        return self.server.run(self._exchange(asked, vector, count, chosen, self.filter if filter is None else filter))

    async def asearch(self, query: str, limit: int, *, mode: Mode | None = None, filter: Filter = None) -> list[dict[str, Any]]:  # noqa: A002
        """Do what `search` does without blocking the event loop."""
        _check_filter(filter)
        asked, count, chosen = self._checked(query, limit, mode)
        vector = None if chosen == "text" or self._embed is None else await aquery_vector(self._embed, asked)
        return await self.server.arun(self._exchange(asked, vector, count, chosen, self.filter if filter is None else filter))

    @property
    def text_fields(self) -> list[str] | None:
        """Return the fields that are searched; of every text field, once the server has been asked which these are."""
        if self._weights is None:
            return self._info.of_kind("TEXT") if self._info else None
        return list(self._weights)

    def explain(self) -> str:
        """Say how it searches; for a hybrid search, who fuses, as far as that is known before the first one."""
        fields = "every text field" if self._weights is None else ", ".join(f"{n} × {w:g}" for n, w in self._weights.items())
        text, vector = f"BM25STD over {fields}", f"KNN over {self._vector}"
        return {"text": text, "vector": vector, "hybrid": f"{text}; {vector}; {self._how_fused()}"}[self.mode]

    def close(self) -> None:
        """Close the connections that `from_url` made; those of an index that was given are its owner's."""
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

    def _checked(self, query: str, limit: int, mode: Mode | None) -> tuple[str, int, Mode]:
        count = checked_limit(limit)
        if count is None or count > MOST:
            raise InvalidInput(f"limit must be a positive whole number up to {MOST:,}: a server is not asked for everything")
        return checked_query(query), count, _checked_mode(mode or self.mode, self._embed)

    def _exchange(self, query: str, vector: Any, count: int, mode: Mode, chosen: Filter) -> Exchange:
        try:
            info = self._info  # one look: another thread may forget it
            if info is None or time.monotonic() - self._info_at > INFO_SECONDS:
                info = self._info = wire.index_info((yield ("FT.INFO", self.server.index)))
                self._info_at = time.monotonic()
            self._check_fields(info, mode, vector)
            found = yield from _STEPS[mode](self, info, query, vector, count, chosen)
        except SourceError:
            self._info = None  # the index may have been made anew: look again next time
            raise
        return found

    def _by_text(self, info: wire.IndexInfo, query: str, vector: Any, count: int, chosen: Filter) -> Exchange:
        return self._documents(info, (yield from self._text_rows(info, query, count, chosen)))

    def _by_vector(self, info: wire.IndexInfo, query: str, vector: Any, count: int, chosen: Filter) -> Exchange:
        return self._documents(info, (yield from self._vector_rows(info, vector, count, chosen)))

    def _by_both(self, info: wire.IndexInfo, query: str, vector: Any, count: int, chosen: Filter) -> Exchange:
        depth = max(count, HYBRID_DEPTH)
        if self.fusion == "rrf" and self._has_hybrid is not False and wire.words(query):
            asked = self._asked(info, count, chosen)
            reply = yield queries.hybrid_command(asked, query, vector, depth)
            self._has_hybrid = reply is not None
            if reply is not None:
                return self._documents(info, (yield from self._whole(asked, wire.hybrid_rows(reply))))
        text = yield from self._text_rows(info, query, depth, chosen)
        near = yield from self._vector_rows(info, vector, depth, chosen)
        rows = {row.key: row for row in (*near, *text)}
        ranked = fuse(self.fusion, _hits(text), _hits(near), self.text_weight)[:count]
        return self._documents(info, [wire.Row(hit.key, hit.score, rows[hit.key].fields) for hit in ranked])

    def _whole(self, asked: queries.Asked, rows: list[wire.Row]) -> Rows:
        """Return FT.HYBRID's rows with the fields that are wanted: it gives those that are named, and cannot give all."""
        if self._return_fields is not None or not rows:
            return rows
        reply = yield queries.documents_command(asked, [row.key for row in rows])
        fields = {row.key: row.fields for row in wire.search_rows(reply, scored=False)}
        return [wire.Row(row.key, row.score, fields[row.key]) for row in rows if row.key in fields]

    def _text_rows(self, info: wire.IndexInfo, query: str, count: int, chosen: Filter) -> Rows:
        if not wire.words(query):  # punctuation alone asks for nothing
            return []
        reply = yield queries.text_command(self._asked(info, count, chosen), query)
        return wire.search_rows(reply, scored=True)

    def _vector_rows(self, info: wire.IndexInfo, vector: Any, count: int, chosen: Filter) -> Rows:
        reply = yield queries.vector_command(self._asked(info, count, chosen), vector)
        return wire.nearest_rows(reply, info.fields[self._vector].metric)

    def _asked(self, info: wire.IndexInfo, count: int, chosen: Filter) -> queries.Asked:
        return queries.Asked(
            index=self.server.index,
            weights=self._weights or dict.fromkeys(info.of_kind("TEXT"), 1.0),
            vector=info.fields.get(self._vector),
            count=count,
            filter=chosen,
            return_fields=self._return_fields,
            ef_runtime=self._ef_runtime,
            milliseconds=self.server.milliseconds,
        )

    def _check_fields(self, info: wire.IndexInfo, mode: Mode, vector: Any) -> None:
        """Refuse what the server would answer with an empty list instead of an error."""
        if mode != "vector":
            asked = list(self._weights or info.of_kind("TEXT"))
            if not asked:
                raise self._no_field("a text field", info)
            for name in asked:
                if name not in info.of_kind("TEXT"):
                    raise self._no_field(f"the text field {name!r}", info)
        if mode != "text":
            if self._vector not in info.of_kind("VECTOR"):
                raise self._no_field(f"the vector field {self._vector!r}", info)
            if (dimensions := info.fields[self._vector].dimensions) != len(vector):
                raise SourceError(
                    f"{self._vector!r} of index {info.name!r} on {self.server.where} has {dimensions} dimensions, the embedder "
                    f"gives {len(vector)}; use the embedder that the index was made with"
                )

    def _no_field(self, what: str, info: wire.IndexInfo) -> SourceError:
        has = ", ".join(f"{field.name} ({field.kind})" for field in info.fields.values())
        return SourceError(f"index {info.name!r} on {self.server.where} does not have {what}; it has {has or 'no fields'}")

    def _documents(self, info: wire.IndexInfo, rows: Sequence[wire.Row]) -> list[dict[str, Any]]:
        return [
            wire.document(row, info, self._return_fields)
            | {"source_key": row.key, "source_score": row.score, "source_rank": rank}
            for rank, row in enumerate(rows, start=1)
        ]


_STEPS: dict[str, Callable[..., Exchange]] = {
    "text": RedisSource._by_text,
    "vector": RedisSource._by_vector,
    "hybrid": RedisSource._by_both,
}


def _hits(rows: Sequence[wire.Row]) -> list[Hit]:
    return [Hit(row.key, row.score or 0.0) for row in rows]


def _checked_fields(names: Any) -> tuple[str, ...]:
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) and name for name in names):
        raise InvalidInput("return_fields must be a list of field names, or None for all but vectors")
    return tuple(names)


def _check_filter(filter: Any) -> None:  # noqa: A002  as above
    if filter is not None and not isinstance(filter, str) and type(filter).__name__ != "FilterExpression":
        raise InvalidInput(f"filter must be a redisvl filter expression or a string, not a {type(filter).__name__}")


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
