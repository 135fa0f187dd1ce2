"""RedisSource: candidates from a Redis with its search module, by full text, by vectors, or by both."""
# ruff: noqa: A002  `filter` is redisvl's word

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from podium.embedding import PROBE, adocument_vectors, aquery_vector, document_vectors, query_vector
from podium.encodings import EncodingStore
from podium.encodings.layered import ReadOnlyEncodings
from podium.errors import InvalidInput, SourceError
from podium.inputs import checked_limit, checked_offset, checked_query, refuse_unknown_names
from podium.sources.fields import weights_text
from podium.sources.filters import Filter
from podium.sources.fusion import TEXT_WEIGHT, Fusion, Hit, Mode
from podium.sources.hybrid import HybridSource, Page
from podium.sources.redis import replies
from podium.sources.redis.commands import (
    Command,
    CommandOptions,
    documents_command,
    hybrid_command,
    text_command,
    vector_command,
)
from podium.sources.redis.encodings import source_encodings
from podium.sources.redis.failures import UnknownCommand
from podium.sources.redis.filters import checked_filter
from podium.sources.redis.lookup import IndexLookup, RedisRequest
from podium.sources.redis.options import RedisOptions
from podium.sources.redis.replies import RawDocument
from podium.sources.redis.server import Deadline, Server, Steps
from podium.sources.redis.words import words
from podium.sources.stages import FIRST_STAGE, stage_sizes, staged
from podium.steps import immediate
from podium.types import Candidates, Embed

if TYPE_CHECKING:
    from redisvl.index import AsyncSearchIndex, SearchIndex

    from podium.embedding import Vectors

__all__ = ["RedisSource"]

MAX_RESULTS = 1_000_000
# The reply to a command that took this share of its TIMEOUT counts as incomplete. The share is less than 1, because the clocks
# of client and server differ a little.
TIMEOUT_SHARE = 0.999


class RedisSource(HybridSource[RedisRequest]):
    """Searches an index on Redis for candidates.

    - `index`: a SearchIndex of redisvl, or its AsyncSearchIndex, which allows `asearch` only. `from_url` takes a name instead.
    - `text`: the field to search by BM25, several fields as a list or as {name: weight}, or None for all text fields.
    - `vector`: the field of the vectors.
    - `embed`: an Embedder, a redisvl vectorizer, or any function, also async, from a list of texts to vectors.
    - `mode`: "text", "vector" or "hybrid". The default is "hybrid" with an embedder, else "text".
    - `return_fields`: the fields of documents to return, None for all fields except vectors.
    - `filter`: a redisvl filter expression or a string. RediSearch adds the BM25 scores of the filter's tags and words to those
      of the query; a string such as `(@kind:{book})=>{$weight: 0}` leaves the scores as they are.
    - `fusion`: "rrf" (reciprocal rank) or "weighted" (a weighted sum in which text has the weight `text_weight`).
    - `ef_runtime`: the number of candidates that a search of an HNSW graph keeps.
    - `timeout`: seconds that all commands of a search may take together.

    A search that ran out of time on the server raises SourceError; it never returns a part of the results. A search with
    an embedder other than the one that the index was created with raises SourceError, too.

    If the server has FT.HYBRID (Redis 8.4 or later), it fuses by reciprocal rank itself. That takes one round trip if
    `return_fields` is given, and two if not. Without FT.HYBRID, and for a weighted sum, podium fuses the results of two
    searches.

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
        filter: Filter = None,
        fusion: Fusion = "rrf",
        text_weight: float = TEXT_WEIGHT,
        ef_runtime: int | None = None,
        timeout: float = 10.0,
    ) -> None:
        options = RedisOptions(text, vector, embed, mode, return_fields, filter, fusion, text_weight, ef_runtime, timeout)
        self._set_up(Server.from_index(index, timeout), options)

    @classmethod
    @refuse_unknown_names
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
        filter: Filter = None,
        fusion: Fusion = "rrf",
        text_weight: float = TEXT_WEIGHT,
        ef_runtime: int | None = None,
        timeout: float = 10.0,
        connection: Mapping[str, Any] | None = None,
    ) -> RedisSource:
        """Return a source for the index named `index`. `url` begins with redis://, rediss://, unix:// or redis+sentinel://.

        `?cluster=true` in the URL connects to a cluster. `connection` has further options of redis-py, such as ssl_ca_certs.
        """
        options = RedisOptions(text, vector, embed, mode, return_fields, filter, fusion, text_weight, ef_runtime, timeout)
        source = cls.__new__(cls)  # without __init__, which takes an index of redisvl
        source._set_up(Server.from_url(url, index, timeout, connection), options)
        return source

    def _set_up(self, server: Server, options: RedisOptions) -> None:
        super().__init__(embed=options.embed, mode=options.mode, fusion=options.fusion, text_weight=options.text_weight)
        self.server = server
        self.filter = options.filter
        self._options = options
        self._lookup = IndexLookup(server, options)
        self._probe: Vectors | None = None  # the vector of PROBE, which shows whether the index was made with this embedder
        self._has_hybrid: bool | None = None  # whether the server has FT.HYBRID; None before the first hybrid search

    def __repr__(self) -> str:
        return f"RedisSource({self.server.index!r} on {self.server.address}, mode={self.mode!r})"

    def search(self, query: str, limit: int, *, offset: int = 0, mode: Mode | None = None, filter: Filter = None) -> Candidates:
        """Skip the `offset` best documents and return at most `limit` of those that follow, best first.

        Each document is a dict of its fields, `source_key`, `source_score` and `source_rank`. Any text is a query: no character
        in it is an operator. `filter` replaces the filter of the source. The result is a list with the attributes `total` and
        `notes`. Raises InvalidInput or SourceError.
        """
        request = self._request(query, limit, offset, mode, filter)
        if request.mode != "text" and self.embed is not None:
            vector = query_vector(self.embed, request.query)
            if self._probe is None:
                self._probe = document_vectors(self.embed, [PROBE])[0]
            request = self._with_vector(request, vector)
        return self.server.run(self._search_steps(request), request.deadline)

    async def asearch(
        self, query: str, limit: int, *, offset: int = 0, mode: Mode | None = None, filter: Filter = None
    ) -> Candidates:
        """Do what `search` does without blocking the event loop."""
        request = self._request(query, limit, offset, mode, filter)
        if request.mode != "text" and self.embed is not None:
            vector = await aquery_vector(self.embed, request.query)
            if self._probe is None:
                self._probe = (await adocument_vectors(self.embed, [PROBE]))[0]
            request = self._with_vector(request, vector)
        return await self.server.arun(self._search_steps(request), request.deadline)

    def close(self) -> None:
        """Close the connections that `from_url` made. Those of a redisvl index stay open."""
        self.server.close()

    @property
    def text_fields(self) -> list[str] | None:
        """The fields that are searched by text. If that is all text fields (`text` is None), None before the first search."""
        if self._options.weights is None:
            return self._lookup.info.names_of_kind("TEXT") if self._lookup.info else None
        return list(self._options.weights)

    @property
    def encodings(self) -> EncodingStore:
        """The encodings of documents that are stored beside the index, to be read only."""
        return ReadOnlyEncodings(source_encodings(self.server, lambda: self._lookup.info))

    def describe_text(self) -> str:
        weights = self._options.weights
        return f"BM25STD over {'every text field' if weights is None else weights_text(weights)}"

    def describe_vector(self) -> str:
        return f"KNN over {self._options.vector}"

    def describe_fusion(self) -> str:
        """Return a phrase that describes the fusion, which depends on whether the server has FT.HYBRID.

        The first hybrid search finds that out.
        """
        if self.fusion == "weighted":
            return f"fused here by a weighted sum, text {self.text_weight:g}"
        if self._has_hybrid is None:
            return "fused by reciprocal rank, by FT.HYBRID if the server has it, else here"
        if self._has_hybrid:
            return "fused by the server's FT.HYBRID, by reciprocal rank"
        return "fused here by reciprocal rank: this server has no FT.HYBRID"

    def notes(self, request: RedisRequest) -> Sequence[str]:
        return self._lookup.notes(request.info)

    def document_id(self, source_key: str) -> str:
        info = self._lookup.info
        return source_key.removeprefix(info.key_prefix) if info else source_key

    def text_hits(self, request: RedisRequest, offset: int, count: int) -> Steps[Page]:
        query_words = words(request.query)
        if not query_words:  # the query has only punctuation
            return Page([], 0)
        options = self._command_options(request, offset, min(count, MAX_RESULTS - offset))
        reply = yield from complete_reply(text_command(options, query_words), options)
        return Page(_hits(replies.search_documents(reply, scored=True)), replies.total(reply))

    def vector_hits(self, request: RedisRequest, offset: int, count: int) -> Steps[Page]:
        end = min(offset + count, MAX_RESULTS)
        if end <= FIRST_STAGE:
            hits = yield from self._nearest_hits(self._command_options(request, offset, end - offset), request, FIRST_STAGE)
        else:
            ranking = yield from self._staged_hits(request, end)
            hits = yield from self._hits_with_fields(request, ranking[offset:end])
        return Page(hits, _vector_total(request))

    def hybrid_hits(self, request: RedisRequest) -> Steps[Page]:
        # FT.HYBRID fuses one number of hits of each ranking, so it cannot continue a ranking of 100 documents.
        is_one_stage = request.offset + request.count <= FIRST_STAGE
        if self.fusion == "rrf" and is_one_stage and self._has_hybrid is not False and words(request.query):
            try:
                hits = yield from self._server_fused_hits(request)
                return Page(hits, _vector_total(request))
            except UnknownCommand:
                self._has_hybrid = False
        return (yield from super().hybrid_hits(request))

    @immediate
    def hit_documents(self, request: RedisRequest, hits: Sequence[Hit]) -> list[tuple[str, dict[str, Any]]]:
        names = self._options.return_fields
        return [(replies.readable_key(hit.key), replies.document_fields(hit.fields, request.info, names)) for hit in hits]

    def _server_fused_hits(self, request: RedisRequest) -> Steps[list[Hit]]:
        """Return the hits of FT.HYBRID. Raises UnknownCommand if the server does not have it."""
        options = self._command_options(request, request.offset, request.count)
        field = request.info.fields[self._options.vector]
        command = hybrid_command(options, words(request.query), field, request.vector, FIRST_STAGE)
        hits = _hits(replies.hybrid_documents((yield from complete_reply(command, options))))
        self._has_hybrid = True
        if self._options.return_fields is not None:
            return hits
        return (yield from self._hits_with_fields(request, hits))  # FT.HYBRID returns only fields that are named

    def _nearest_hits(self, options: CommandOptions, request: RedisRequest, depth: int) -> Steps[list[Hit]]:
        """Return the part of the ranking of the `depth` nearest documents that the options name."""
        field = request.info.fields[self._options.vector]
        reply = yield from complete_reply(vector_command(options, field, request.vector, depth), options)
        return _hits(replies.nearest_documents(reply, field.metric))

    def _staged_hits(self, request: RedisRequest, count: int) -> Steps[list[Hit]]:
        """Return at least `count` of the nearest documents, or all, without their fields.

        A graph finds other documents for another depth, and orders equal distances differently. So they are ranked in stages.
        """
        hits_by_size: dict[int, list[Hit]] = {}
        for size in stage_sizes():
            options = replace(self._command_options(request, 0, min(size, MAX_RESULTS)), return_fields=())
            hits_by_size[size] = yield from self._nearest_hits(options, request, options.count)
            if size >= count:
                break

        def stage(size: int) -> tuple[Iterator[tuple[str, Hit]], bool]:
            return ((hit.key, hit) for hit in hits_by_size[size]), size >= count

        return list(staged(stage, count).values())

    def _hits_with_fields(self, request: RedisRequest, hits: Sequence[Hit]) -> Steps[list[Hit]]:
        """Return the hits with the fields to return, which a command reads. Deleted documents are left out."""
        if not hits:
            return []
        options = self._command_options(request, 0, len(hits))
        reply = yield from complete_reply(documents_command(options, [hit.key for hit in hits]), options)
        fields_by_key = {raw.key: raw.fields for raw in replies.search_documents(reply, scored=False)}
        return [hit._replace(fields=fields_by_key[hit.key]) for hit in hits if hit.key in fields_by_key]

    def _request(self, query: Any, limit: Any, offset: Any, mode: Any, filter_value: Any) -> RedisRequest:
        """Return the request for the arguments of a search. Raises InvalidInput if one is not valid."""
        query = checked_query(query)
        mode = self.checked_mode(mode or self.mode)
        count = checked_limit(limit)
        offset = checked_offset(offset)
        if count is None or count + offset > MAX_RESULTS:
            raise InvalidInput(
                f"limit must be a positive whole number, and limit and offset together at most {MAX_RESULTS:,}, which is "
                "RediSearch's maximum"
            )
        filter_text = checked_filter(self.filter if filter_value is None else filter_value)
        deadline = Deadline(self.server.timeout)
        return RedisRequest(query=query, mode=mode, offset=offset, count=count, filter=filter_text, deadline=deadline)

    def _with_vector(self, request: RedisRequest, vector: Vectors) -> RedisRequest:
        """Return the request with the query's vector and a new deadline: the timeout does not include embedding the query."""
        return replace(request, vector=vector, probe=self._probe, deadline=Deadline(self.server.timeout))

    def _search_steps(self, request: RedisRequest) -> Steps[Candidates]:
        """Return the documents of a search, after checking that the index fits it. Raises SourceError."""
        try:
            info, was_just_read = yield from self._lookup.read_info(request)
            candidates = yield from self.candidates(replace(request, info=info))
            if len(candidates) < request.count and not was_just_read:
                # Too few results may mean that the index was replaced by one with other fields. In that case, reading its
                # description again raises SourceError.
                self._lookup.info = None
                yield from self._lookup.read_info(request)
        except SourceError:
            self._lookup.info = None
            raise
        return candidates

    def _command_options(self, request: RedisRequest, offset: int, count: int) -> CommandOptions:
        return CommandOptions(
            index=self.server.index,
            weights=self._lookup.weights(request.info),
            count=count,
            filter=request.filter,
            return_fields=self._options.return_fields,
            ef_runtime=self._options.ef_runtime,
            timeout_ms=request.deadline.milliseconds_left(),
            offset=offset,
        )


def complete_reply(command: Command, options: CommandOptions) -> Steps[Any]:
    """Return the reply to a command. Raises SourceError if the command took as long as its TIMEOUT.

    Such a reply may have only a part of the results, and in RESP2 a reply does not show whether it has all.
    """
    start = time.monotonic()
    reply = yield command
    if 1000 * (time.monotonic() - start) >= TIMEOUT_SHARE * options.timeout_ms:
        raise SourceError("the server ran out of time and returned only a part of the results; allow more time with timeout=")
    return reply


def _vector_total(request: RedisRequest) -> int | None:
    """Return how many documents a vector search ranks: all of the index. With a filter, the number is unknown (None)."""
    return request.info.document_count if request.filter is None else None


def _hits(documents: Sequence[RawDocument]) -> list[Hit]:
    return [Hit(raw.key, raw.score or 0.0, raw.fields) for raw in documents]
