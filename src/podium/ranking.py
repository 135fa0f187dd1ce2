"""Scores → order (pure functions), and Reranker, the object that users hold.

Everything that must be correct for every scorer is here, once: which documents have text, which score belongs to which
document, ties, limits, thresholds. Nothing here knows a model or a provider.
"""

from __future__ import annotations

import copy
import functools
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from podium.documents import source_score_and_rank, texts_of
from podium.errors import InvalidInput, PodiumError
from podium.inputs import (
    checked_batches,
    checked_documents,
    checked_fields,
    checked_flag,
    checked_limit,
    checked_min_score,
    checked_query,
    refuse_foreign_names,
    without_none,
)
from podium.progress import bar
from podium.scorers import as_scorer
from podium.types import Progress, Ranking, Result, ScoreKind, Scorer, Scores, Usage

__all__ = ["NO_TEXT_SCORES", "Reranker", "order"]

NO_TEXT_SCORES: dict[ScoreKind, float] = {
    "logit": -3.4028234663852886e38,  # the lowest float32: no model computes less
    "sigmoid": 0.0,
    "probability": 0.0,
    "similarity": -1.0,
    "fused": 0.0,
}
"""The score of a document without text, by kind. If another document's score is lower, that one is used instead."""


@dataclass(frozen=True, slots=True, repr=False)
class _Request:
    """One query and its documents, checked. `texts` are those of the documents at `text_indices`; the others have none."""

    query: str
    documents: list[Any]
    texts: list[str]
    text_indices: list[int]


@dataclass(frozen=True, slots=True)
class _Cut:
    limit: int | None
    min_score: float | None


class Reranker:
    """Orders documents by relevance to a query.

    Usually created by `podium.load(name)`. `limit` (number of results, None for all), `rank_by` (the fields of a document
    that are read) and `return_score` are defaults that each call can override. Safe to share between threads and event
    loops. To release its threads and connections early, use it as a context manager or call `close`.

        >>> import podium
        >>> reranker = podium.load("podium-mini")
        >>> [result.index for result in reranker.rerank("a red fruit", ["the sea at night", "a ripe red apple"])]
        [1, 0]
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        limit: int | None = None,
        rank_by: str | list[str] | None = None,
        return_score: bool = True,
    ) -> None:
        self.scorer = scorer
        self._scorer = as_scorer(scorer)
        self.limit = checked_limit(limit)
        self.rank_by = rank_by
        self._fields = checked_fields(rank_by)
        self.return_score = checked_flag(return_score)
        self._closed = False
        self._load_again: functools.partial[Any] | None = None  # the call that made this reranker, for pickle

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle the call that loads this reranker, never its weights, connections or keys."""
        return super().__reduce_ex__(protocol) if self._load_again is None else (_checked_call(self._load_again), ())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r})"

    @property
    def model(self) -> str:
        return self._scorer.model

    def with_scorer(self, scorer: Scorer) -> Reranker:
        """Return a reranker with the same defaults and another scorer."""
        reranker = copy.copy(self)
        reranker.scorer, reranker._scorer = scorer, as_scorer(scorer)
        return reranker

    @refuse_foreign_names
    def rank(
        self,
        query: str,
        docs: Iterable[Any],
        *,
        limit: int | None = None,
        rank_by: str | list[str] | None = None,
        return_score: bool | None = None,
    ) -> Any:
        """Return `(results, scores)`, best first, or only `results` with `return_score=False`.

        `scores[i]` is the score of `results[i]`. Mappings and objects are returned as the same objects. `rerank` returns the
        same order with more information. Raises InvalidInput, and what the scorer raises.
        """
        with_scores = self.return_score if return_score is None else checked_flag(return_score)
        return self._as_lists(self.rerank(query, docs, limit=limit, rank_by=rank_by), with_scores)

    @refuse_foreign_names
    async def arank(
        self,
        query: str,
        docs: Iterable[Any],
        *,
        limit: int | None = None,
        rank_by: str | list[str] | None = None,
        return_score: bool | None = None,
    ) -> Any:
        """Do what `rank` does without blocking the event loop. Cancelling it stops work that has not started."""
        with_scores = self.return_score if return_score is None else checked_flag(return_score)
        return self._as_lists(await self.arerank(query, docs, limit=limit, rank_by=rank_by), with_scores)

    @refuse_foreign_names
    def rerank(
        self,
        query: str,
        docs: Iterable[Any],
        *,
        limit: int | None = None,
        rank_by: str | list[str] | None = None,
        min_score: float | None = None,
        progress: bool = False,
    ) -> Ranking:
        """Return a Ranking: every result with its document, score, rank and index, and what the call cost.

        All documents are scored; then `min_score` removes results with a lower score (and documents without text), and
        `limit` keeps the best. `progress` shows a bar on stderr if the call takes longer than a second. Raises InvalidInput,
        and what the scorer raises.
        """
        return self.rerank_many([query], [docs], limit=limit, rank_by=rank_by, min_score=min_score, progress=progress)[0]

    @refuse_foreign_names
    async def arerank(
        self,
        query: str,
        docs: Iterable[Any],
        *,
        limit: int | None = None,
        rank_by: str | list[str] | None = None,
        min_score: float | None = None,
    ) -> Ranking:
        """Do what `rerank` does without blocking the event loop. Cancelling it stops work that has not started."""
        import asyncio  # half of podium's import time, so only for async callers

        began = time.perf_counter()
        cut = self._cut(limit, min_score)
        request = await asyncio.to_thread(self._request, query, docs, rank_by)
        scores = await self._scorer.ascore(request.query, request.texts) if request.texts else Scores(())
        return await asyncio.to_thread(self._ranking, request, scores, cut, began)

    def score(self, query: str, docs: Iterable[Any], *, rank_by: str | list[str] | None = None) -> list[float]:
        """Return one score per document, in the order of the documents."""
        documents = checked_documents(docs)
        scores = [0.0] * len(documents)
        for result in self.rerank_many([query], [documents], rank_by=rank_by, limit=max(1, len(documents)))[0]:
            scores[result.index] = result.score
        return scores

    @refuse_foreign_names
    def rerank_many(
        self,
        queries: Iterable[str],
        docs_per_query: Iterable[Iterable[Any]],
        *,
        limit: int | None = None,
        rank_by: str | list[str] | None = None,
        min_score: float | None = None,
        progress: bool = False,
    ) -> list[Ranking]:
        """Return one Ranking per query. The pairs of all queries are scheduled together.

        `usage.seconds` of each Ranking is the time of the whole call. Raises InvalidInput also if the numbers of queries
        and of document lists differ.
        """
        began = time.perf_counter()
        cut = self._cut(limit, min_score)
        pairs = checked_batches(queries, docs_per_query)
        requests = [self._request(query, docs, rank_by) for query, docs in pairs]
        with bar(sum(len(request.texts) for request in requests), progress) as advance:
            scores_per_request = self._scores(requests, advance)
        return [
            self._ranking(request, scores, cut, began) for request, scores in zip(requests, scores_per_request, strict=True)
        ]

    def close(self) -> None:
        """Release threads and connections. The reranker must not be used afterwards."""
        self._closed = True
        self._scorer.close()

    async def aclose(self) -> None:
        """Do what `close` does, and close connections that belong to the running event loop."""
        self._closed = True
        await self._scorer.aclose()

    def __enter__(self) -> Reranker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Reranker:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _as_lists(self, ranking: Ranking, with_scores: bool) -> Any:
        documents = [self._returned(result.document) for result in ranking]
        return (documents, [result.score for result in ranking]) if with_scores else documents

    def _returned(self, document: Any) -> Any:
        """Return the form in which `rank` gives a document back."""
        return document

    def _cut(self, limit: int | None, min_score: float | None) -> _Cut:
        return _Cut(self.limit if limit is None else checked_limit(limit), checked_min_score(min_score))

    def _request(self, query: str, docs: Iterable[Any], rank_by: str | list[str] | None) -> _Request:
        if self._closed:
            raise PodiumError("this reranker was closed; load it again")
        documents = checked_documents(docs)
        texts = texts_of(documents, self._fields if rank_by is None else checked_fields(rank_by))
        text_indices = [index for index, text in enumerate(texts) if text is not None]
        return _Request(checked_query(query), documents, [text for text in texts if text is not None], text_indices)

    def _scores(self, requests: Sequence[_Request], advance: Progress) -> list[Scores]:
        """Return the scores of each request. Only requests that have texts are given to the scorer."""
        with_texts = [request for request in requests if request.texts]
        scored: Sequence[Scores] = ()
        if with_texts:
            queries = [request.query for request in with_texts]
            scored = self._scorer.score_many(queries, [request.texts for request in with_texts], progress=advance)
        if len(scored) != len(with_texts):
            raise PodiumError(
                f"{self.model} returned scores for {len(scored)} of {len(with_texts)} queries, so they cannot be ranked"
            )
        remaining = iter(scored)
        return [next(remaining) if request.texts else Scores(()) for request in requests]

    def _ranking(self, request: _Request, scores: Scores, cut: _Cut, began: float) -> Ranking:
        if not isinstance(scores, Scores):
            raise PodiumError(f"{self.model} returned a {type(scores).__name__}, not podium.types.Scores")
        _check_alignment(scores, len(request.texts), self.model)
        _check_counts(scores, self.model)
        results = _results(request, scores, min(NO_TEXT_SCORES[self._scorer.score_kind], *scores.values, math.inf))
        if cut.min_score is not None:
            results = [result for result in results if result.score >= cut.min_score and not result.no_text]
        return Ranking(
            results=tuple(results[: cut.limit]),
            model=self.model,
            revision=self._scorer.revision,
            score_kind=self._scorer.score_kind,
            usage=_usage(scores, len(request.texts), time.perf_counter() - began),
            notes=_notes(request, scores),
        )


def _checked_call(load: functools.partial[Reranker]) -> functools.partial[Reranker]:
    """Return a call that can be pickled. Raises InvalidInput if it has a secret or a client in it."""
    options = without_none(load.keywords | dict(load.keywords.get("api_config") or {}))
    for name in ("client", "async_client"):
        if name in options:
            raise InvalidInput(f"a reranker with a {name} of yours cannot be pickled; load it in each process")
    secrets = [name for name in ("api_key", "token") if isinstance(options.get(name), str)]
    secrets += [name for name in ("base_url", "cache", "keep") if "@" in str(options.get(name, ""))]
    if secrets:
        raise InvalidInput(
            f"a reranker that was loaded with a secret ({', '.join(secrets)}) cannot be pickled; "
            "put the secret into the environment instead, or load the reranker in each process"
        )
    return load


def order(keys: Sequence[float]) -> list[int]:
    """Return the indices of `keys` from the highest key to the lowest; equal keys stay in input order."""
    return sorted(range(len(keys)), key=lambda index: -keys[index])


def _results(request: _Request, scores: Scores, no_text_score: float) -> list[Result]:
    """Return one Result per document: those with text by their scores, then those without, in input order."""
    keys = scores.values if scores.raw is None else scores.raw
    results = []
    for rank, position in enumerate(order(keys), start=1):
        index = request.text_indices[position]
        tokens = None if scores.tokens is None else scores.tokens[position]
        dropped = None if scores.dropped_tokens is None else scores.dropped_tokens[position]
        document = request.documents[index]
        score = float(scores.values[position])
        results.append(Result(document, score, rank, index, tokens, dropped, False, *source_score_and_rank(document)))
    with_text = set(request.text_indices)
    without_text = [index for index in range(len(request.documents)) if index not in with_text]
    for rank, index in enumerate(without_text, start=len(results) + 1):
        document = request.documents[index]
        results.append(Result(document, no_text_score, rank, index, 0, 0, True, *source_score_and_rank(document)))
    return results


def _check_alignment(scores: Scores, count: int, model: str) -> None:
    """Raise PodiumError unless there is a finite score for each of `count` texts. A scorer may be a user's code."""
    counts = (scores.tokens, scores.dropped_tokens, scores.query_tokens, scores.query_dropped_tokens)
    columns = (scores.values, scores.raw, *counts)
    try:
        if len(scores.values) != count or any(column is not None and len(column) != count for column in columns):
            raise PodiumError(f"{model} returned {len(scores.values)} scores for {count} texts, so they cannot be ranked")
        is_finite = all(math.isfinite(value) for column in columns[:2] if column is not None for value in column)
    except (TypeError, ValueError, OverflowError):  # strings, None, an integer of a thousand digits
        is_finite = False
    if not is_finite:
        raise PodiumError(f"{model} returned a score that is not a finite number; its weights or its reply are damaged")


def _check_counts(scores: Scores, model: str) -> None:
    """Raise PodiumError unless token counts are whole numbers or None."""
    for column in (scores.tokens, scores.dropped_tokens, scores.query_tokens, scores.query_dropped_tokens):
        if not all(count is None or hasattr(count, "__index__") for count in column or ()):
            raise PodiumError(f"{model} returned a number of tokens that is not a whole number; it must be an int or None")


def _usage(scores: Scores, pairs: int, seconds: float) -> Usage:
    tokens = scores.total_tokens
    if tokens is None and scores.tokens is not None and None not in scores.tokens:
        tokens = sum(count for count in scores.tokens if count)
    truncated = None if scores.dropped_tokens is None else sum(1 for dropped in scores.dropped_tokens if dropped)
    return Usage(pairs, tokens, truncated, scores.billed, seconds, remembered=scores.remembered, encoded=scores.encoded)


def _notes(request: _Request, scores: Scores) -> tuple[str, ...]:
    return (*scores.notes, *_query_notes(scores), *_text_notes(request, scores))


def _query_notes(scores: Scores) -> Iterator[str]:
    if 0 in (scores.query_tokens or ()):
        yield "the query has no token that the model knows; the scores mean little"
    if dropped := max((count or 0 for count in scores.query_dropped_tokens or ()), default=0):
        yield f"the query is longer than the model reads with these documents; up to {dropped} of its tokens were dropped"


def _text_notes(request: _Request, scores: Scores) -> Iterator[str]:
    count = len(request.documents)
    if unread := sum(1 for tokens in scores.tokens or () if tokens == 0):
        yield f"{unread} of {len(request.texts)} texts have no token that the model knows; their scores mean little"
    if truncated := sum(1 for dropped in scores.dropped_tokens or () if dropped):
        yield f"{truncated} of {count} documents are longer than the model reads; see dropped_tokens"
    if without_text := count - len(request.texts):
        yield f"{without_text} of {count} documents have no text; they are at the bottom, without a score"
