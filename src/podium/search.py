"""Search: get candidates from a source, then rerank them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from podium.documents import has_field
from podium.encodings import EncodingSource
from podium.encodings.layered import LayeredEncodings
from podium.errors import InvalidInput
from podium.inputs import (
    checked_documents,
    checked_fields,
    checked_limit,
    checked_offset,
    checked_query,
    refuse_unknown_names,
    without_none,
)
from podium.ranking import Reranker, limits_of
from podium.scorers import as_scorer
from podium.threads import to_thread
from podium.types import AsyncSource, Candidates, Ranking, Result, Scorer, Source

if TYPE_CHECKING:
    from podium.compose.call_limits import CallLimits

__all__ = ["Search", "cut", "search_source"]

DEFAULT_CANDIDATES = 100
LEAST_BUDGET_MS = 1e-6  # no step of scoring begins in this time


class Search:
    """A search with reranking: requests candidates from a source, reranks them and returns the best.

    If the reranker's model has late interaction and the source stores encodings of its documents, the encodings are used.
    `candidates` is the number of documents requested from the source (by default that of the reranker's configuration file, or
    100), `limit` the number of results (None for all), and `rank_by` the fields that the reranker reads (None for those that
    the source searches). Each call can override them. Safe to share between threads and event loops if the source is.

        >>> import podium
        >>> index = podium.EmbeddedIndex.create(None)
        >>> ids = index.add(["a green apple", "the red sea at night", "a ripe red apple"])
        >>> search = podium.Search(index, podium.load("podium-mini"), limit=2)
        >>> [(result.document["text"], result.source_rank) for result in search.search("a red fruit")]
        [('a ripe red apple', 2), ('the red sea at night', 1)]
    """

    @refuse_unknown_names
    def __init__(
        self,
        source: Source,
        reranker: Reranker,
        *,
        candidates: int | None = None,
        limit: int | None = 10,
        rank_by: str | list[str] | None = None,
    ) -> None:
        if not callable(getattr(source, "search", None)) and not isinstance(source, AsyncSource):
            raise InvalidInput(f"a source has a search(query, limit) method; {type(source).__name__} has none")
        if not isinstance(reranker, Reranker):
            raise InvalidInput(f"reranker must be a Reranker, as podium.load returns, not a {type(reranker).__name__}")
        self.source = source
        self.reranker = reranker
        self._scorer = _scorer_with_encodings(reranker, source)
        if candidates is None:
            candidates = reranker.candidates or DEFAULT_CANDIDATES
        self.candidates = _checked_candidates(candidates)
        self.limit = checked_limit(limit)
        self.rank_by = rank_by
        checked_fields(rank_by)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, threads: int | None = None) -> Search:
        """Return the search in a configuration file, which has a source, a reranker and their options (see podium.load).

        Raises InvalidInput, also if the file has no source, and the errors of the source and of podium.load.
        """
        from podium.places import load_source
        from podium.stacks import read_stack

        stack = read_stack(path)
        if stack.place is None:
            raise InvalidInput(f"{os.fspath(path)} has no source; add a table [source] with a place")
        source = load_source(stack.place, stack.source)
        reranker = stack.reranker(stack.scorer(threads=threads))
        options = without_none({"limit": stack.limit})
        return cls(source, reranker, rank_by=stack.rank_by, **options)

    def __repr__(self) -> str:
        return f"Search({self.source!r}, {self.reranker!r}, candidates={self.candidates}, limit={self.limit})"

    @refuse_unknown_names
    def search(
        self,
        query: str,
        *,
        limit: int | None = None,
        offset: int = 0,
        candidates: int | None = None,
        rank_by: str | list[str] | None = None,
        min_score: float | None = None,
        budget_ms: float | None = None,
        max_tokens: int | None = None,
        max_cost: float | None = None,
        price: str | None = None,
        progress: bool = False,
    ) -> Ranking:
        """Return a Ranking whose results have the ranks and scores of both stages; `usage` has the time of each stage.

        `offset` skips that many of the best results, for later pages of the same ranking. `total` is the number of documents
        that match, if the source knows it. A note says if reranking could not have changed which documents are returned.
        `budget_ms` is the time of the whole search: what the source leaves of it is for reranking. `max_tokens`, `max_cost` and
        `price` are those of `Reranker.rerank`. Raises InvalidInput, SourceError, and what the reranker raises.
        """
        if not callable(getattr(self.source, "search", None)):
            raise InvalidInput(f"{type(self.source).__name__} has only asynchronous methods; use asearch")
        query = checked_query(query)
        limit = self._limit(limit)
        candidate_count = self._candidate_count(candidates, offset)
        limits = limits_of(budget_ms, max_tokens, max_cost, price)
        began = time.perf_counter()
        candidate_list = self.source.search(query, candidate_count)
        documents = checked_documents(candidate_list)
        source_seconds = time.perf_counter() - began
        arguments = self._rerank_arguments(documents, rank_by, min_score, limits, began)
        ranking = self.reranker.with_scorer(self._scorer).rerank(query, documents, progress=progress, **arguments)
        return cut(_with_source(ranking, candidate_list, source_seconds), limit, len(documents), offset=offset)

    @refuse_unknown_names
    async def asearch(
        self,
        query: str,
        *,
        limit: int | None = None,
        offset: int = 0,
        candidates: int | None = None,
        rank_by: str | list[str] | None = None,
        min_score: float | None = None,
        budget_ms: float | None = None,
        max_tokens: int | None = None,
        max_cost: float | None = None,
        price: str | None = None,
    ) -> Ranking:
        """Do what `search` does without blocking the event loop."""
        query = checked_query(query)
        limit = self._limit(limit)
        candidate_count = self._candidate_count(candidates, offset)
        limits = limits_of(budget_ms, max_tokens, max_cost, price)
        began = time.perf_counter()
        candidate_list = await search_source(self.source, query, candidate_count)
        documents = checked_documents(candidate_list)
        source_seconds = time.perf_counter() - began
        arguments = self._rerank_arguments(documents, rank_by, min_score, limits, began)
        ranking = await self.reranker.with_scorer(self._scorer).arerank(query, documents, **arguments)
        return cut(_with_source(ranking, candidate_list, source_seconds), limit, len(documents), offset=offset)

    def fields(self, documents: Sequence[Any], rank_by: str | list[str] | None = None) -> list[str] | None:
        """Return the fields that the reranker reads, None for each document's own text.

        The argument `rank_by` comes first, then this search's `rank_by`, then the reranker's. If none of these is set, the
        fields are those that the source searches, without fields that no document has.
        """
        if named_fields := rank_by or self.rank_by or self.reranker.rank_by:
            return list(checked_fields(named_fields) or ())
        searched_fields = getattr(self.source, "text_fields", None) or ()
        records = [document for document in documents if isinstance(document, Mapping)]
        present_fields = [name for name in searched_fields if any(has_field(record, name) for record in records)]
        return present_fields or None

    def _rerank_arguments(
        self,
        documents: Sequence[Any],
        rank_by: str | list[str] | None,
        min_score: float | None,
        limits: CallLimits | None,
        began: float,
    ) -> dict[str, Any]:
        """Return the arguments for the reranker. All documents are ranked, within what is left of the search's limits."""
        arguments: dict[str, Any] = {
            "limit": len(documents) or None,
            "rank_by": self.fields(documents, rank_by),
            "min_score": min_score,
        }
        if limits is None:
            return arguments
        arguments |= asdict(limits)
        if limits.budget_ms is not None:  # a budget must be above 0
            arguments["budget_ms"] = max(LEAST_BUDGET_MS, limits.budget_ms - 1000 * (time.perf_counter() - began))
        return arguments

    def _limit(self, limit: int | None) -> int | None:
        return self.limit if limit is None else checked_limit(limit)

    def _candidate_count(self, candidates: int | None, offset: int) -> int:
        """Return the number of candidates to request. Raises InvalidInput if it is not above `offset`."""
        candidate_count = self.candidates if candidates is None else _checked_candidates(candidates)
        if checked_offset(offset) >= candidate_count:
            raise InvalidInput(f"offset={offset} skips all {candidate_count} candidates; request more with candidates=")
        return candidate_count


def _scorer_with_encodings(reranker: Reranker, source: Source) -> Scorer:
    """Return the reranker's scorer. If the source has encodings, return a copy of the scorer that also reads those.

    The copy writes the encodings that it computes to the scorer's own store, because a search must not write to an index.
    """
    scorer = as_scorer(reranker.scorer)
    if scorer.encoder is None or not isinstance(source, EncodingSource) or source.encodings is None:
        return reranker.scorer
    return scorer.with_store(LayeredEncodings(scorer.encoder.store, source.encodings))


async def search_source(source: Source, query: str, candidates: int, offset: int = 0) -> list[Any]:
    """Return the documents that a source finds, without blocking the event loop. Only podium's own sources accept an offset."""
    options: dict[str, Any] = {"offset": offset} if offset else {}
    if isinstance(source, AsyncSource):
        return await source.asearch(query, candidates, **options)

    def counted_documents() -> list[Any]:
        documents = source.search(query, candidates, **options)
        return documents.counted() if isinstance(documents, Candidates) else documents

    return await to_thread(counted_documents)


def _checked_candidates(candidates: Any) -> int:
    if candidates is None:
        raise InvalidInput("candidates must be a positive whole number, not None")
    try:
        return checked_limit(candidates) or 1  # checked_limit returns None only for None, which was refused above
    except InvalidInput:
        raise InvalidInput(f"candidates must be a positive whole number, not {candidates!r:.40}") from None


def cut(ranking: Ranking, limit: int | None, candidates: int | None = None, *, offset: int = 0) -> Ranking:
    """Return a ranking with its `limit` results after the first `offset`, all of them if `limit` is None.

    `candidates` is the number of candidates that were reranked, by default the number of results. The ranking gets a note if
    there were no candidates. Without an offset, it also gets a note if the limit leaves none of them out.
    """
    end = None if limit is None else offset + limit
    candidate_count = len(ranking) if candidates is None else candidates
    candidate_notes = _notes(candidate_count, None if offset else limit)
    notes = [note for note in candidate_notes if note not in ranking.notes]
    return replace(ranking, results=ranking.results[offset:end], notes=(*notes, *ranking.notes))


def _with_source(ranking: Ranking, candidate_list: list[Any], seconds: float) -> Ranking:
    """Return the ranking with the source's ranks and time. If the source returned Candidates, add their total and notes."""
    results = tuple(_with_source_rank(result) for result in ranking)
    usage = replace(ranking.usage, source_seconds=seconds)
    if isinstance(candidate_list, Candidates):
        ranking = replace(ranking, total=candidate_list.total, notes=(*candidate_list.notes, *ranking.notes))
    return replace(ranking, results=results, usage=usage)


def _with_source_rank(result: Result) -> Result:
    """Return the result. If its document has no `source_rank`, the result gets its position among the candidates, from 1."""
    return result if result.source_rank is not None else replace(result, source_rank=result.index + 1)


def _notes(candidate_count: int, limit: int | None) -> Iterator[str]:
    """Yield the notes of `cut`."""
    if not candidate_count:
        yield "the source found no documents for this query, so nothing was reranked"
    elif limit is not None and candidate_count <= limit:
        yield (
            f"the source found {candidate_count} documents and the limit is {limit}: reranking could change their order, but "
            "not which documents are returned"
        )
