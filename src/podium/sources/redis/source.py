"""RedisSource: candidates from a Redis with its search module, by full text, by vectors, or by both."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from podium.errors import Argument, InvalidInput, SourceError
from podium.inputs import checked_limit, checked_offset, checked_query
from podium.sources.embedding import PROBE, adocument_vectors, aquery_vector, document_vectors, query_vector
from podium.sources.fusion import HYBRID_DEPTH, TEXT_WEIGHT, Fusion, Hit, Mode, check_fusion, fuse
from podium.sources.redis import replies
from podium.sources.redis.commands import (
    Command,
    Filter,
    Page,
    documents_command,
    hybrid_command,
    text_command,
    vector_command,
)
from podium.sources.redis.failures import UnknownCommand
from podium.sources.redis.filters import checked_filter
from podium.sources.redis.lookup import IndexLookup, RedisRequest
from podium.sources.redis.options import RedisOptions
from podium.sources.redis.replies import RawDocument
from podium.sources.redis.server import Deadline, Server, Steps
from podium.sources.redis.words import words
from podium.types import Candidates, Embed

if TYPE_CHECKING:
    from redisvl.index import AsyncSearchIndex, SearchIndex

__all__ = ["RedisSource"]

MAX_RESULTS = 1_000_000
# A command that took its whole TIMEOUT is incomplete. The clock here may run a little faster than the server's.
TIMEOUT_SHARE = 0.999
Ranked = tuple[list[RawDocument], int | None]


class RedisSource:
    """Searches an index on Redis for candidates.

    - `index`: redisvl's SearchIndex, or its AsyncSearchIndex for `asearch` only. `from_url` needs neither.
    - `text`: the field to search by BM25, several as a list or as {name: weight}, or None for every text field.
    - `vector`: the field of the vectors.
    - `embed`: an Embedder, a redisvl vectorizer, or any function, also async, from a list of texts to vectors.
    - `mode`: "text", "vector" or "hybrid". The default is "hybrid" with an embedder, else "text".
    - `return_fields`: the fields of the documents that are returned, None for all but vectors.
    - `filter`: a redisvl filter expression or a string. RediSearch adds the BM25 scores of its tags and words to those of the
      query; a string such as `(@kind:{book})=>{$weight: 0}` leaves the scores as they are.
    - `fusion`: "rrf", reciprocal rank, or "weighted", a weighted sum in which text has the weight `text_weight`.
    - `ef_runtime`: the number of candidates that a search of an HNSW graph keeps.
    - `timeout`: seconds that all commands of a search may take together.

    A search that ran out of time on the server raises SourceError; it never returns a part of the results. A search with
    another embedder than the index was made with raises SourceError, too.

    If the server has FT.HYBRID (Redis 8.4), it fuses by reciprocal rank: in one round trip with `return_fields`, else in two.
    Otherwise, and for a weighted sum, two searches are fused here.

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
        filter: Filter = None,  # noqa: A002  redisvl's word
        fusion: Fusion = "rrf",
        text_weight: float = TEXT_WEIGHT,
        ef_runtime: int | None = None,
        timeout: float = 10.0,
    ) -> None:
        options = RedisOptions(text, vector, embed, mode, return_fields, filter, fusion, text_weight, ef_runtime, timeout)
        self._set_up(Server.of(index, timeout), options)

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
        filter: Filter = None,  # noqa: A002  redisvl's word
        fusion: Fusion = "rrf",
        text_weight: float = TEXT_WEIGHT,
        ef_runtime: int | None = None,
        timeout: float = 10.0,
        connection: Mapping[str, Any] | None = None,
    ) -> RedisSource:
        """Return the source of an index by its name, on redis://, rediss://, unix:// or redis+sentinel://.

        `?cluster=true` in the URL stands for a cluster. `connection` are further options of redis-py, such as ssl_ca_certs.
        """
        options = RedisOptions(text, vector, embed, mode, return_fields, filter, fusion, text_weight, ef_runtime, timeout)
        source = cls.__new__(cls)
        source._set_up(Server.at(url, index, timeout, connection), options)
        return source

    def _set_up(self, server: Server, options: RedisOptions) -> None:
        check_fusion(options.fusion, options.text_weight)
        self.server, self._options, self._embed = server, options, options.embed
        self.fusion, self.text_weight, self.filter = options.fusion, options.text_weight, options.filter
        self.mode: Mode = self.checked_mode(options.mode or ("text" if options.embed is None else "hybrid"))
        self._lookup = IndexLookup(server, options)
        self._probe: Any = None
        self._has_hybrid: bool | None = None

    def __repr__(self) -> str:
        return f"RedisSource({self.server.index!r} on {self.server.address}, mode={self.mode!r})"

    def search(
        self,
        query: str,
        limit: int,
        *,
        offset: int = 0,
        mode: Mode | None = None,
        filter: Filter = None,  # noqa: A002  redisvl's word
    ) -> Candidates:
        """Return at most `limit` documents after the `offset` best, best first.

        Each is a dict of its fields, `source_key`, `source_score` and `source_rank`. Any text is a query: nothing in it is an
        operator. `filter` replaces the source's own. The result is a list with `total` and `notes`. Raises InvalidInput or
        SourceError.
        """
        request = self._request(query, limit, offset, mode, filter)
        if request.mode != "text" and self._embed is not None:
            vector = query_vector(self._embed, request.query)
            if self._probe is None:
                self._probe = document_vectors(self._embed, [PROBE])[0]
            request = self._with_vector(request, vector)
        return self.server.run(self._steps(request), request.deadline)

    async def asearch(
        self,
        query: str,
        limit: int,
        *,
        offset: int = 0,
        mode: Mode | None = None,
        filter: Filter = None,  # noqa: A002  redisvl's word
    ) -> Candidates:
        """Do what `search` does without blocking the event loop."""
        request = self._request(query, limit, offset, mode, filter)
        if request.mode != "text" and self._embed is not None:
            vector = await aquery_vector(self._embed, request.query)
            if self._probe is None:
                self._probe = (await adocument_vectors(self._embed, [PROBE]))[0]
            request = self._with_vector(request, vector)
        return await self.server.arun(self._steps(request), request.deadline)

    def close(self) -> None:
        """Close the connections that `from_url` made. Those of a redisvl index stay open."""
        self.server.close()

    @property
    def text_fields(self) -> list[str] | None:
        """The fields that are searched by text. If that is every text field, None before the first search."""
        if self._options.weights is None:
            return self._lookup.info.of_kind("TEXT") if self._lookup.info else None
        return list(self._options.weights)

    def explain(self) -> str:
        """Describe how this source searches."""
        if self.mode == "text":
            return self.describe_text()
        if self.mode == "vector":
            return self.describe_vector()
        return f"{self.describe_text()}; {self.describe_vector()}; {self.describe_fusion()}"

    def describe_text(self) -> str:
        weights = self._options.weights
        fields = "every text field" if weights is None else ", ".join(f"{name} × {w:g}" for name, w in weights.items())
        return f"BM25STD over {fields}"

    def describe_vector(self) -> str:
        return f"KNN over {self._options.vector}"

    def describe_fusion(self) -> str:
        """Return a phrase for how a hybrid search fuses. Whether the server has FT.HYBRID is known after the first one."""
        if self.fusion == "weighted":
            return f"fused here by a weighted sum, text {self.text_weight:g}"
        if self._has_hybrid is None:
            return "fused by reciprocal rank, by FT.HYBRID if the server has it, else here"
        if self._has_hybrid:
            return "fused by the server's FT.HYBRID, by reciprocal rank"
        return "fused here by reciprocal rank: this server has no FT.HYBRID"

    def checked_mode(self, mode: Any) -> Mode:
        if mode not in ("text", "vector", "hybrid"):
            raise InvalidInput(f"mode must be text, vector or hybrid, not {mode!r:.40}")
        if mode != "text" and self._embed is None:
            raise InvalidInput(
                Argument("mode", mode), " needs vectors of queries; pass an embedder as ", Argument("embed", ...)
            )
        return mode  # type: ignore[no-any-return]  # one of the three

    def candidates(self, request: RedisRequest) -> Steps[Candidates]:
        hits = {"text": self.text_hits, "vector": self.vector_hits}
        if request.mode == "hybrid":
            documents, total = yield from self.hybrid_hits(request)
        else:
            documents, total = yield from hits[request.mode](request, request.offset, request.count)
        return Candidates(
            (
                replies.document(raw, request.info, self._options.return_fields)
                | {"source_key": raw.key, "source_score": raw.score, "source_rank": rank}
                for rank, raw in enumerate(documents, start=request.offset + 1)
            ),
            total=total,
            notes=self._lookup.notes(request.info),
        )

    def text_hits(self, request: RedisRequest, offset: int, count: int) -> Steps[Ranked]:
        terms = words(request.query)
        if not terms:  # punctuation only
            return [], 0
        page = self._page(request, offset, count)
        reply = yield from complete_reply(text_command(page, terms), page)
        return replies.search_documents(reply, scored=True), replies.total(reply)

    def vector_hits(self, request: RedisRequest, offset: int, count: int) -> Steps[Ranked]:
        field = request.info.fields[self._options.vector]
        page = self._page(request, offset, count)
        reply = yield from complete_reply(vector_command(page, field, request.vector), page)
        return replies.nearest_documents(reply, field.metric), _vector_total(request)

    def hybrid_hits(self, request: RedisRequest) -> Steps[Ranked]:
        if self.fusion == "rrf" and self._has_hybrid is not False and words(request.query):
            try:
                return (yield from self._hits_of_ft_hybrid(request)), _vector_total(request)
            except UnknownCommand:
                self._has_hybrid = False
        end = request.offset + request.count
        text, _ = yield from self.text_hits(request, 0, max(end, HYBRID_DEPTH))
        vector, total = yield from self.vector_hits(request, 0, max(end, HYBRID_DEPTH))
        documents = {raw.key: raw for raw in (*vector, *text)}
        fused = fuse(self.fusion, _as_hits(text), _as_hits(vector), self.text_weight)[request.offset : end]
        return [replace(documents[hit.key], score=hit.score) for hit in fused], total

    def _hits_of_ft_hybrid(self, request: RedisRequest) -> Steps[list[RawDocument]]:
        """Return the hits of FT.HYBRID, which the server fuses. Raises UnknownCommand if it does not have the command."""
        page = self._page(request, request.offset, request.count)
        depth = max(request.offset + request.count, HYBRID_DEPTH)
        field = request.info.fields[self._options.vector]
        command = hybrid_command(page, words(request.query), field, request.vector, depth)
        documents = replies.hybrid_documents((yield from complete_reply(command, page)))
        self._has_hybrid = True
        if self._options.return_fields is not None or not documents:
            return documents
        # FT.HYBRID returns only fields that are named.
        page = self._page(request, 0, len(documents))
        reply = yield from complete_reply(documents_command(page, [raw.key for raw in documents]), page)
        fields = {raw.key: raw.fields for raw in replies.search_documents(reply, scored=False)}
        return [replace(raw, fields=fields[raw.key]) for raw in documents if raw.key in fields]

    def _request(self, query: Any, limit: Any, offset: Any, mode: Any, conditions: Any) -> RedisRequest:
        """Return the request with these arguments. Raises InvalidInput if one is not valid."""
        query, mode = checked_query(query), self.checked_mode(mode or self.mode)
        count, offset = checked_limit(limit), checked_offset(offset)
        if count is None or count + offset > MAX_RESULTS:
            raise InvalidInput(
                f"limit must be a positive whole number, and limit and offset together at most {MAX_RESULTS:,}, which is "
                "RediSearch's maximum"
            )
        conditions = checked_filter(self.filter if conditions is None else conditions)
        deadline = Deadline(self.server.seconds)
        return RedisRequest(query=query, mode=mode, offset=offset, count=count, filter=conditions, deadline=deadline)

    def _with_vector(self, request: RedisRequest, vector: Any) -> RedisRequest:
        """Return the request with the query's vector. The timeout does not include the time that embedding took."""
        return replace(request, vector=vector, probe=self._probe, deadline=Deadline(self.server.seconds))

    def _steps(self, request: RedisRequest) -> Steps[Candidates]:
        try:
            info, is_new = yield from self._lookup.read_info(request)
            candidates = yield from self.candidates(replace(request, info=info))
            if len(candidates) < request.count and not is_new:  # the index may have been replaced by one with other fields
                self._lookup.info = None
                yield from self._lookup.read_info(request)
        except SourceError:
            self._lookup.info = None
            raise
        return candidates

    def _page(self, request: RedisRequest, offset: int, count: int) -> Page:
        options = self._options
        return Page(
            index=self.server.index,
            weights=self._lookup.weights(request.info),
            count=count,
            filter=request.filter,
            return_fields=None if options.return_fields is None else tuple(options.return_fields),
            ef_runtime=options.ef_runtime,
            milliseconds=request.deadline.milliseconds_left(),
            offset=offset,
        )


def complete_reply(command: Command, page: Page) -> Steps[Any]:
    """Return the reply to a command. Raises SourceError if it took as long as its TIMEOUT, the only sign in RESP2."""
    began = time.monotonic()
    reply = yield command
    if 1000 * (time.monotonic() - began) >= TIMEOUT_SHARE * page.milliseconds:
        raise SourceError("the server ran out of time and returned only a part of the results; allow more time with timeout=")
    return reply


def _vector_total(request: RedisRequest) -> int | None:
    """Return how many documents a vector search ranks: all. How many of them pass a filter is unknown."""
    return request.info.documents if request.filter is None else None


def _as_hits(documents: Sequence[RawDocument]) -> list[Hit]:
    return [Hit(raw.key, raw.score or 0.0) for raw in documents]
