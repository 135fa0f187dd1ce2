"""Search, then rerank, as one call. Where candidates come from and what scores them are the source's and the reranker's."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from podium.documents import has_field
from podium.errors import InvalidInput
from podium.inputs import checked_documents, checked_fields, checked_limit, checked_query, refuse_other_names
from podium.ranking import Reranker
from podium.types import AsyncSource, Ranking, Result, Source

__all__ = ["Search", "cut", "found_by"]


class Search:
    """Ask a source for candidates, rerank them, give back the best.

    `candidates` is how many documents the source is asked for, `limit` how many results come back (None: all), `rank_by`
    the fields that the reranker reads (None: those that the source searches); each call can override them. Safe to share
    between threads and event loops, as far as its source is.

        >>> import podium
        >>> index = podium.EmbeddedIndex.create(None)
        >>> ids = index.add(["a green apple", "the red sea at night", "a ripe red apple"])
        >>> search = podium.Search(index, podium.load("podium-mini"), limit=2)
        >>> [(result.document["text"], result.source_rank) for result in search.search("a red fruit")]
        [('a ripe red apple', 2), ('the red sea at night', 1)]
    """

    def __init__(
        self,
        source: Source,
        reranker: Reranker,
        *,
        candidates: int = 100,
        limit: int | None = 10,
        rank_by: str | list[str] | None = None,
    ) -> None:
        if not callable(getattr(source, "search", None)) and not isinstance(source, AsyncSource):
            raise InvalidInput(f"a source has a search(query, limit) method; {type(source).__name__} has none")
        if not isinstance(reranker, Reranker):
            raise InvalidInput(f"the reranker must be one that podium.load gives, not a {type(reranker).__name__}")
        self.source, self.reranker = source, reranker
        self.candidates, self.limit = _checked_candidates(candidates), checked_limit(limit)
        self.rank_by = rank_by
        checked_fields(rank_by)

    def __repr__(self) -> str:
        return f"Search({self.source!r}, {self.reranker!r}, candidates={self.candidates}, limit={self.limit})"

    @refuse_other_names
    def search(
        self,
        query: str,
        *,
        limit: int | None = None,
        candidates: int | None = None,
        rank_by: str | list[str] | None = None,
        min_score: float | None = None,
        progress: bool = False,
    ) -> Ranking:
        """Return a Ranking whose results carry both stages' ranks and scores; `usage` says what each stage took.

        Its notes say when reranking could not have changed which documents are in the answer. Raises InvalidInput,
        SourceError, and what the reranker raises.
        """
        if not callable(getattr(self.source, "search", None)):
            raise InvalidInput(f"{type(self.source).__name__} can only be awaited; use asearch")
        asked, limit = checked_query(query), self._limit(limit)
        began = time.perf_counter()
        found = checked_documents(self.source.search(asked, self._candidates(candidates)))
        took = time.perf_counter() - began
        rank_by = self.fields(found, rank_by)
        ranking = self.reranker.rerank(
            asked, found, limit=len(found) or None, rank_by=rank_by, min_score=min_score, progress=progress
        )
        return cut(_with_first_stage(ranking, took), limit, len(found))

    @refuse_other_names
    async def asearch(
        self,
        query: str,
        *,
        limit: int | None = None,
        candidates: int | None = None,
        rank_by: str | list[str] | None = None,
        min_score: float | None = None,
    ) -> Ranking:
        """Do what `search` does without blocking the event loop."""
        asked, limit = checked_query(query), self._limit(limit)
        began = time.perf_counter()
        found = checked_documents(await found_by(self.source, asked, self._candidates(candidates)))
        took = time.perf_counter() - began
        rank_by = self.fields(found, rank_by)
        ranking = await self.reranker.arerank(asked, found, limit=len(found) or None, rank_by=rank_by, min_score=min_score)
        return cut(_with_first_stage(ranking, took), limit, len(found))

    def fields(self, found: Sequence[Any], rank_by: str | list[str] | None = None) -> list[str] | None:
        """Return the fields that the reranker reads: what is asked, else as set up, else the reranker's, else the source's.

        Of the source's only those that some document has: nobody asked for the others by name.
        """
        if chosen := rank_by or self.rank_by or self.reranker.rank_by:
            return list(checked_fields(chosen) or ())
        searched = getattr(self.source, "text_fields", None) or ()
        return [name for name in searched if any(isinstance(each, Mapping) and has_field(each, name) for each in found)] or None

    def _limit(self, limit: int | None) -> int | None:
        return self.limit if limit is None else checked_limit(limit)

    def _candidates(self, candidates: int | None) -> int:
        return self.candidates if candidates is None else _checked_candidates(candidates)


async def found_by(source: Source, query: str, candidates: int) -> list[Any]:
    """Return what a source finds, without blocking the event loop."""
    if isinstance(source, AsyncSource):
        return await source.asearch(query, candidates)
    import asyncio  # as in ranking.py: only for those who need it

    return await asyncio.to_thread(source.search, query, candidates)


def _checked_candidates(candidates: Any) -> int:
    if candidates is None:
        raise InvalidInput("candidates must be a positive whole number: it is what the source is asked for")
    try:
        return checked_limit(candidates) or 1
    except InvalidInput:
        raise InvalidInput(f"candidates must be a positive whole number, not {candidates!r:.40}") from None


def cut(ranking: Ranking, limit: int | None, found: int | None = None) -> Ranking:
    """Return the best `limit` results of what a search gave, and say where that cuts nothing off.

    `found` is how many candidates there were, where `ranking` has fewer results than that.
    """
    notes = [note for note in _notes(len(ranking) if found is None else found, limit) if note not in ranking.notes]
    return replace(ranking, results=ranking.results[:limit], notes=(*notes, *ranking.notes))


def _with_first_stage(ranking: Ranking, seconds: float) -> Ranking:
    results = tuple(_with_source_rank(result) for result in ranking)
    return replace(ranking, results=results, usage=replace(ranking.usage, source_seconds=seconds))


def _with_source_rank(result: Result) -> Result:
    """A document that doesn't say its first rank has it by its place in what the source gave."""
    return result if result.source_rank is not None else replace(result, source_rank=result.index + 1)


def _notes(found: int, limit: int | None) -> Iterator[str]:
    if not found:
        yield "the source found nothing for this query; there was nothing to rerank"
    elif limit is not None and found <= limit:
        yield (
            f"the source found {found} and the limit is {limit}: reranking could change their order, but not which documents "
            "are in the answer"
        )
