"""Scores → order (pure), and Reranker, what users hold.

Everything that must be right whatever does the scoring is here, once: which documents have text, how scores find their
documents again, ties, cuts, thresholds. Nothing here knows a model or a provider.
"""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from podium.documents import first_stage, texts_of
from podium.errors import InvalidInput, PodiumError
from podium.inputs import (
    checked_batches,
    checked_documents,
    checked_fields,
    checked_flag,
    checked_limit,
    checked_min_score,
    checked_query,
    given,
    refuse_other_names,
)
from podium.progress import bar
from podium.types import AsyncScorer, ManyScorer, Progress, Ranking, Result, ScoreKind, Scorer, Scores, Usage

__all__ = ["NO_TEXT_SCORES", "Reranker", "order"]

NO_TEXT_SCORES: dict[ScoreKind, float] = {
    "logit": -3.4028234663852886e38,  # the lowest float32: no model computes less
    "sigmoid": 0.0,
    "probability": 0.0,
    "similarity": -1.0,
    "fused": 0.0,
}
"""The score of a document without text: as low as its kind goes, or as the lowest beside it where a provider goes lower."""


@dataclass(frozen=True, slots=True, repr=False)
class _Request:
    """One query with its documents, read and checked. `places` are the indices of the documents that have text."""

    query: str
    documents: list[Any]
    texts: list[str]
    places: list[int]


@dataclass(frozen=True, slots=True)
class _Cut:
    limit: int | None
    min_score: float | None


class Reranker:
    """Put documents in order of relevance to a query.

    Usually made by `podium.load(name)`. `limit` (how many results come back; None: all), `rank_by` (the fields of a
    document that are read) and `return_score` are defaults that each call can override. Safe to share between threads
    and event loops. Use it as a context manager, or call `close`, to give up its connections or threads early.

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
        self.scorer = _checked_scorer(scorer)
        self.limit = checked_limit(limit)
        self.rank_by = rank_by
        self._fields = checked_fields(rank_by)
        self.return_score = checked_flag(return_score)
        self._closed = False
        self._load_again: functools.partial[Any] | None = None

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle the call that loads this reranker again, never its weights, connections or keys."""
        return super().__reduce_ex__(protocol) if self._load_again is None else (_checked_call(self._load_again), ())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r})"

    @property
    def model(self) -> str:
        return self.scorer.model

    @refuse_other_names
    def rank(
        self,
        query: str,
        docs: Iterable[Any],
        *,
        limit: int | None = None,
        rank_by: str | list[str] | None = None,
        return_score: bool | None = None,
    ) -> Any:
        """Return `(results, scores)`, best first, or `results` alone with `return_score=False`.

        Scores belong to their results and fall. Mappings and objects come back as the very objects given. `rerank`
        gives the same order and tells more. Raises InvalidInput, and what the scorer raises.
        """
        with_scores = self.return_score if return_score is None else checked_flag(return_score)
        return self._as_lists(self.rerank(query, docs, limit=limit, rank_by=rank_by), with_scores)

    @refuse_other_names
    async def arank(
        self,
        query: str,
        docs: Iterable[Any],
        *,
        limit: int | None = None,
        rank_by: str | list[str] | None = None,
        return_score: bool | None = None,
    ) -> Any:
        """Do what `rank` does without blocking the event loop; cancelling it stops the work that has not started."""
        with_scores = self.return_score if return_score is None else checked_flag(return_score)
        return self._as_lists(await self.arerank(query, docs, limit=limit, rank_by=rank_by), with_scores)

    @refuse_other_names
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
        """Return a Ranking: every result with its document, score, rank and index, and what the call took.

        `limit` and `min_score` (results that score at least this; documents without text never do) cut the list, never
        the scoring. `progress` shows a bar on stderr when it takes longer than a second. Raises InvalidInput, and what
        the scorer raises.
        """
        return self.rerank_many([query], [docs], limit=limit, rank_by=rank_by, min_score=min_score, progress=progress)[0]

    @refuse_other_names
    async def arerank(
        self,
        query: str,
        docs: Iterable[Any],
        *,
        limit: int | None = None,
        rank_by: str | list[str] | None = None,
        min_score: float | None = None,
    ) -> Ranking:
        """Do what `rerank` does without blocking the event loop; cancelling it stops the work that has not started."""
        import asyncio  # half of podium's import time, for those who need it

        began = time.perf_counter()
        cut = self._cut(limit, min_score)
        request = await asyncio.to_thread(self._request, query, docs, rank_by)
        if not request.texts:
            scores = Scores(())
        elif isinstance(self.scorer, AsyncScorer):
            scores = await self.scorer.ascore(request.query, request.texts)
        else:
            scores = await asyncio.to_thread(self.scorer.score, request.query, request.texts)
        return await asyncio.to_thread(self._ranking, request, scores, cut, began)

    def score(self, query: str, docs: Iterable[Any], *, rank_by: str | list[str] | None = None) -> list[float]:
        """Return one score per document, in the order of the documents."""
        scores = [0.0] * len(documents := checked_documents(docs))
        for result in self.rerank_many([query], [documents], rank_by=rank_by, limit=max(1, len(documents)))[0]:
            scores[result.index] = result.score
        return scores

    @refuse_other_names
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
        """Return one Ranking per query, with the pairs of all queries scheduled together.

        `usage.seconds` is the time of the whole call on each. Raises InvalidInput where the two lengths differ, too.
        """
        began = time.perf_counter()
        cut = self._cut(limit, min_score)
        pairs = checked_batches(queries, docs_per_query)
        requests = [self._request(query, docs, rank_by) for query, docs in pairs]
        with bar(sum(len(request.texts) for request in requests), progress) as advance:
            scores = self._scores(requests, advance)
        return [self._ranking(request, each, cut, began) for request, each in zip(requests, scores, strict=True)]

    def close(self) -> None:
        """Give up threads and connections. The reranker must not be used afterwards."""
        self._closed = True
        if callable(close := getattr(self.scorer, "close", None)):
            close()

    async def aclose(self) -> None:
        """Do what `close` does from inside an event loop, where connections made in it need to be closed."""
        if callable(aclose := getattr(self.scorer, "aclose", None)):
            self._closed = True
            await aclose()
        else:
            self.close()

    def __enter__(self) -> Reranker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Reranker:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _as_lists(self, ranking: Ranking, with_scores: bool) -> Any:
        documents = [self._as_returned(result.document) for result in ranking]
        return (documents, [result.score for result in ranking]) if with_scores else documents

    def _as_returned(self, document: Any) -> Any:
        return document

    def _cut(self, limit: int | None, min_score: float | None) -> _Cut:
        return _Cut(self.limit if limit is None else checked_limit(limit), checked_min_score(min_score))

    def _request(self, query: str, docs: Iterable[Any], rank_by: str | list[str] | None) -> _Request:
        if self._closed:
            raise PodiumError("this reranker was closed; load it again")
        documents = checked_documents(docs)
        texts = texts_of(documents, self._fields if rank_by is None else checked_fields(rank_by))
        places = [place for place, text in enumerate(texts) if text is not None]
        return _Request(checked_query(query), documents, [text for text in texts if text is not None], places)

    def _scores(self, requests: Sequence[_Request], advance: Progress) -> list[Scores]:
        """Score only the requests that have texts; the others get none."""
        asked = [request for request in requests if request.texts]
        if isinstance(self.scorer, ManyScorer) and asked:
            scored = self.scorer.score_many([r.query for r in asked], [r.texts for r in asked], progress=advance)
        else:
            scored = [self._score_one(request, advance) for request in asked]
        if len(scored) != len(asked):
            raise PodiumError(
                f"{self.model} gave scores for {len(scored)} of {len(asked)} queries; nothing can be ranked by that"
            )
        left = iter(scored)
        return [next(left) if request.texts else Scores(()) for request in requests]

    def _score_one(self, request: _Request, advance: Progress) -> Scores:
        scores = self.scorer.score(request.query, request.texts)
        advance(len(request.texts))
        return scores

    def _ranking(self, request: _Request, scores: Scores, cut: _Cut, began: float) -> Ranking:
        if not isinstance(scores, Scores):
            raise PodiumError(f"{self.model} gave a {type(scores).__name__} as its scores, not podium.types.Scores")
        _check_alignment(scores, len(request.texts), self.model)
        _check_counts(scores, self.model)
        results = _results(request, scores, min(NO_TEXT_SCORES[self.scorer.score_kind], *scores.values, math.inf))
        if cut.min_score is not None:
            results = [result for result in results if result.score >= cut.min_score and not result.no_text]
        return Ranking(
            results=tuple(results[: cut.limit]),
            model=self.model,
            revision=self.scorer.revision,
            score_kind=self.scorer.score_kind,
            usage=_usage(scores, len(request.texts), time.perf_counter() - began),
            notes=_notes(request, scores),
        )


def _checked_scorer(scorer: Any) -> Scorer:
    if isinstance(scorer, str | os.PathLike):
        raise InvalidInput(f"Reranker takes a scorer, not a name; use podium.load({os.fspath(scorer)!r})")
    if not callable(getattr(scorer, "score", None)) and not isinstance(scorer, AsyncScorer | ManyScorer):
        raise InvalidInput(f"a scorer has a score(query, texts) method; {type(scorer).__name__} has none")
    return scorer  # type: ignore[no-any-return]  # the rest of the protocol is read when it is used


def _checked_call(load: functools.partial[Reranker]) -> functools.partial[Reranker]:
    """Return a call that can be pickled: without secrets, and without connections."""
    options = given(load.keywords | dict(load.keywords.get("api_config") or {}))
    for name in ("client", "async_client"):
        if name in options:
            raise InvalidInput(f"a reranker with a {name} of yours cannot be pickled; load it in each process")
    secrets = [name for name in ("api_key", "token") if isinstance(options.get(name), str)]
    secrets += [name for name in ("base_url", "cache") if "@" in str(options.get(name, ""))]
    if secrets:
        raise InvalidInput(
            f"a reranker that was given a secret ({', '.join(secrets)}) cannot be pickled; "
            "put the secret into the environment instead, or load the reranker in each process"
        )
    return load


def order(keys: Sequence[float]) -> list[int]:
    """Return the places of `keys`, highest first; equal ones stay in input order."""
    return sorted(range(len(keys)), key=lambda place: -keys[place])


def _results(request: _Request, scores: Scores, no_text_score: float) -> list[Result]:
    """Return one Result per document: those with text by their scores, then those without, in input order."""
    keys = scores.values if scores.raw is None else scores.raw
    results = []
    for rank, at in enumerate(order(keys), start=1):
        place = request.places[at]
        tokens = None if scores.tokens is None else scores.tokens[at]
        dropped = None if scores.dropped_tokens is None else scores.dropped_tokens[at]
        document = request.documents[place]
        score = float(scores.values[at])
        results.append(Result(document, score, rank, place, tokens, dropped, False, *first_stage(document)))
    scored = set(request.places)
    silent = (place for place in range(len(request.documents)) if place not in scored)
    for rank, place in enumerate(silent, start=len(results) + 1):
        document = request.documents[place]
        results.append(Result(document, no_text_score, rank, place, 0, 0, True, *first_stage(document)))
    return results


def _check_alignment(scores: Scores, count: int, model: str) -> None:
    """Raise PodiumError unless there is a finite score for each of `count` texts. A scorer may be anybody's code."""
    lists = (scores.values, scores.raw, scores.tokens, scores.dropped_tokens, scores.query_tokens, scores.query_dropped_tokens)
    try:
        if len(scores.values) != count or any(each is not None and len(each) != count for each in lists):
            raise PodiumError(f"{model} gave {len(scores.values)} scores for {count} texts; nothing can be ranked by that")
        finite = all(math.isfinite(value) for each in lists[:2] if each is not None for value in each)
    except (TypeError, ValueError, OverflowError):  # text, None, a whole number of a thousand digits
        finite = False
    if not finite:
        raise PodiumError(f"{model} gave a score that is not a finite number; its weights or its reply are damaged")


def _check_counts(scores: Scores, model: str) -> None:
    for each in (scores.tokens, scores.dropped_tokens, scores.query_tokens, scores.query_dropped_tokens):
        if not all(count is None or hasattr(count, "__index__") for count in each or ()):
            raise PodiumError(f"{model} gave a number of tokens that is not a whole number; tokens are counts, or None")


def _usage(scores: Scores, pairs: int, seconds: float) -> Usage:
    tokens = scores.total_tokens
    if tokens is None and scores.tokens is not None and None not in scores.tokens:
        tokens = sum(count for count in scores.tokens if count)
    truncated = None if scores.dropped_tokens is None else sum(1 for dropped in scores.dropped_tokens if dropped)
    return Usage(pairs, tokens, truncated, scores.billed, seconds)


def _notes(request: _Request, scores: Scores) -> tuple[str, ...]:
    return (*scores.notes, *_query_notes(scores), *_text_notes(request, scores))


def _query_notes(scores: Scores) -> Iterator[str]:
    if 0 in (scores.query_tokens or ()):
        yield "the query has nothing that the model's tokenizer knows; the scores mean little"
    if dropped := max((count or 0 for count in scores.query_dropped_tokens or ()), default=0):
        yield f"the query is longer than the model reads with these documents; up to {dropped} of its tokens were dropped"


def _text_notes(request: _Request, scores: Scores) -> Iterator[str]:
    count = len(request.documents)
    if unread := sum(1 for tokens in scores.tokens or () if tokens == 0):
        yield f"{unread} of {len(request.texts)} texts have nothing that the model's tokenizer knows; their scores mean little"
    if cut := sum(1 for dropped in scores.dropped_tokens or () if dropped):
        yield f"{cut} of {count} documents are longer than the model reads; see dropped_tokens"
    if silent := count - len(request.texts):
        yield f"{silent} of {count} documents have no text; they stand at the bottom, unscored"
