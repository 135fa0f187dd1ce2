"""Reranker, the object that users hold, and the functions that order documents by their scores.

Everything that must be correct for every scorer is here: which documents have text, which score belongs to which document,
ties, limits, thresholds. Nothing here depends on a model or a provider.
"""

from __future__ import annotations

import copy
import functools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from podium.documents import TextReader, source_score_and_rank
from podium.errors import InvalidInput, PodiumError
from podium.inputs import (
    checked_batches,
    checked_documents,
    checked_fields,
    checked_limit,
    checked_min_score,
    checked_query,
    checked_return_score,
    fields_to_read,
    refuse_unknown_names,
    without_none,
)
from podium.progress import bar
from podium.scorers import as_scorer
from podium.types import Progress, Ranking, Result, ScoreKind, Scorer, Scores, Usage

__all__ = ["NO_TEXT_SCORES", "Reranker", "order"]

MANY_DOCUMENTS = 300  # ranking this many takes about a millisecond; more of them are ranked on another thread
NO_TEXT_SCORES: dict[ScoreKind, float] = {
    "logit": -3.4028234663852886e38,  # the lowest float32, so no model computes a lower score
    "sigmoid": 0.0,
    "probability": 0.0,
    "similarity": -1.0,
    "similarity_sum": -3.4028234663852886e38,
    "fused": 0.0,
}
"""Kind of score → the score of a document without text, unless another document's score is even lower.

In that case, the document without text gets that lower score, so that scores never increase from one rank to the next.
"""


@dataclass(frozen=True, slots=True, repr=False)
class _Request:
    """A checked query and its documents. `texts[i]` is the text of `documents[text_indices[i]]`.

    Documents whose index is not in `text_indices` have no text.
    """

    query: str
    documents: list[Any]
    texts: list[str]
    text_indices: list[int]


@dataclass(frozen=True, slots=True)
class _Cut:
    """The limits on the results of a call: their number and their score. None means no limit."""

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

    @refuse_unknown_names
    def __init__(
        self,
        scorer: Scorer,
        *,
        limit: int | None = None,
        rank_by: str | list[str] | None = None,
        return_score: bool = True,
    ) -> None:
        self.scorer = scorer  # the caller's object
        self._scorer = as_scorer(scorer)  # the same scorer with all methods of BaseScorer
        self.limit = checked_limit(limit)
        self.rank_by = rank_by
        self._fields = checked_fields(rank_by)
        self.return_score = checked_return_score(return_score)
        self._closed = False
        self._load_again: functools.partial[Any] | None = None  # a call that creates an equal reranker, for pickle

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle the call that loads this reranker and its present defaults, never its weights, connections or keys."""
        if self._load_again is None:
            return super().__reduce_ex__(protocol)
        return _picklable_call(self._load_again), (), self._defaults

    def __copy__(self) -> Reranker:
        """Return a reranker with the same scorer. Without this method, `copy` would load the model again, as pickle does."""
        reranker = object.__new__(type(self))
        reranker.__dict__.update(self.__dict__)
        return reranker

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r})"

    def load_call(self, **options: Any) -> Callable[[], Reranker]:
        """Return a call that another process can use to load an equal reranker, with other `options` of podium.load.

        If the reranker was not loaded, it is a call that returns the reranker itself. Raises InvalidInput if the reranker was
        loaded with a secret.
        """
        if self._load_again is None:
            return functools.partial(_same, self)
        return functools.partial(_picklable_call(self._load_again), **self._defaults, **options)

    @property
    def _defaults(self) -> dict[str, Any]:
        return {"limit": self.limit, "rank_by": self.rank_by, "return_score": self.return_score}

    @property
    def model(self) -> str:
        return self._scorer.model

    def with_scorer(self, scorer: Scorer) -> Reranker:
        """Return a reranker with the same defaults and another scorer."""
        reranker = copy.copy(self)
        reranker.scorer, reranker._scorer = scorer, as_scorer(scorer)
        reranker._load_again = None  # it would load the other scorer
        return reranker

    @refuse_unknown_names
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

        `scores[i]` is the score of `results[i]`. The results are the objects in `docs`, except that HFCrossEncoderReranker
        returns a string as `{"content": text}`. `rerank` returns the same order with more information. Raises InvalidInput,
        and the errors of the scorer.
        """
        with_scores = self.return_score if return_score is None else checked_return_score(return_score)
        return self._as_lists(self.rerank(query, docs, limit=limit, rank_by=rank_by), with_scores)

    @refuse_unknown_names
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
        with_scores = self.return_score if return_score is None else checked_return_score(return_score)
        return self._as_lists(await self.arerank(query, docs, limit=limit, rank_by=rank_by), with_scores)

    @refuse_unknown_names
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

        All documents with a text are scored. Then `min_score` removes results with a lower score and documents without
        text, and `limit` keeps the best of the others. If no result is left, a note says so. `progress` shows a bar on
        stderr if the call takes longer than a second. Raises InvalidInput, also for `rank_by` if every document is a
        string, and the errors of the scorer.
        """
        return self.rerank_many([query], [docs], limit=limit, rank_by=rank_by, min_score=min_score, progress=progress)[0]

    @refuse_unknown_names
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
        # These modules import asyncio, which is half of podium's import time. So they are imported only for async callers.
        from podium.preparation import read_texts
        from podium.schedule import off_loop

        began = time.perf_counter()
        cut = self._cut(limit, min_score)
        is_in_memory = isinstance(docs, list | tuple)  # any other iterable may compute or load its documents
        documents = await off_loop(not is_in_memory, self._documents, docs)
        is_large = len(documents) > MANY_DOCUMENTS
        reader = await off_loop(is_large, self._text_reader, documents, rank_by)
        await read_texts(reader)
        request = await off_loop(is_large, _request, query, reader)
        scores = await self._scorer.ascore(request.query, request.texts) if request.texts else Scores(())
        return await off_loop(is_large, self._ranking, request, scores, cut, began)

    def score(self, query: str, docs: Iterable[Any], *, rank_by: str | list[str] | None = None) -> list[float]:
        """Return one score per document, in the order of the documents. A document without text gets the lowest score."""
        documents = checked_documents(docs)
        scores = [0.0] * len(documents)
        all_documents = max(1, len(documents))  # the reranker's default limit must not apply, and a limit is at least 1
        for result in self.rerank(query, documents, rank_by=rank_by, limit=all_documents):
            scores[result.index] = result.score
        return scores

    @refuse_unknown_names
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
        """Return one Ranking per query. The (query, text) pairs of all queries are scheduled together.

        The other arguments are those of `rerank`. In every Ranking, `usage.seconds` is the time of the whole call. Raises the
        errors of `rerank`, and InvalidInput if there are more or fewer lists of documents than queries.
        """
        began = time.perf_counter()
        cut = self._cut(limit, min_score)
        pairs = checked_batches(queries, docs_per_query)
        requests = []
        for query, docs in pairs:
            reader = self._text_reader(self._documents(docs), rank_by)
            reader.read(range(len(reader.documents)))
            requests.append(_request(query, reader))
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
        """Return a ranking as `rank` does: (documents, scores), or only the documents."""
        documents = [self._returned_document(result.document) for result in ranking]
        return (documents, [result.score for result in ranking]) if with_scores else documents

    def _returned_document(self, document: Any) -> Any:
        """Return a document as `rank` returns it. A subclass may return another object."""
        return document

    def _cut(self, limit: int | None, min_score: float | None) -> _Cut:
        return _Cut(self.limit if limit is None else checked_limit(limit), checked_min_score(min_score))

    def _documents(self, docs: Iterable[Any]) -> list[Any]:
        if self._closed:
            raise PodiumError("this reranker was closed; load it again")
        return checked_documents(docs)

    def _text_reader(self, documents: list[Any], rank_by: str | list[str] | None) -> TextReader:
        return TextReader(documents, self._fields if rank_by is None else fields_to_read(documents, rank_by))

    def _scores(self, requests: Sequence[_Request], advance: Progress) -> list[Scores]:
        """Return the scores of each request. Only requests that have texts are passed to the scorer."""
        with_texts = [request for request in requests if request.texts]
        scores_with_texts: Sequence[Scores] = ()
        if with_texts:
            queries = [request.query for request in with_texts]
            texts_per_query = [request.texts for request in with_texts]
            scores_with_texts = self._scorer.score_many(queries, texts_per_query, progress=advance)
        if len(scores_with_texts) != len(with_texts):
            raise PodiumError(
                f"{self.model} returned scores for {len(scores_with_texts)} of {len(with_texts)} queries, so they cannot be "
                "ranked"
            )
        remaining = iter(scores_with_texts)
        return [next(remaining) if request.texts else Scores(()) for request in requests]

    def _ranking(self, request: _Request, scores: Scores, cut: _Cut, began: float) -> Ranking:
        if not isinstance(scores, Scores):
            raise PodiumError(f"{self.model} returned a {type(scores).__name__}, not podium.types.Scores")
        _check_scores(scores, len(request.texts), self.model)
        no_text_score = min([NO_TEXT_SCORES[self._scorer.score_kind], *scores.values])
        results = _results(request, scores, float(no_text_score), cut)
        return Ranking(
            results=tuple(results),
            model=self.model,
            revision=self._scorer.revision,
            score_kind=self._scorer.score_kind,
            usage=_usage(scores, len(request.texts), time.perf_counter() - began),
            notes=(*scores.notes, *_query_notes(scores), *_text_notes(request, scores), *_cut_notes(request, results)),
        )


def _request(query: str, reader: TextReader) -> _Request:
    """Return the request for a query and the documents of a reader, which have been read. Raises InvalidInput."""
    reader.check_fields()
    texts = reader.texts
    text_indices = [index for index, text in enumerate(texts) if text is not None]
    return _Request(checked_query(query), list(reader.documents), [text for text in texts if text is not None], text_indices)


def _same(reranker: Reranker) -> Reranker:
    return reranker


def _picklable_call(load_again: functools.partial[Reranker]) -> functools.partial[Reranker]:
    """Return the call that loads a reranker. Raises InvalidInput if one of its arguments is a secret or a client."""
    options = without_none(load_again.keywords | dict(load_again.keywords.get("api_config") or {}))
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
    return load_again


def order(keys: Sequence[float]) -> list[int]:
    """Return the indices of `keys` from the highest key to the lowest; equal keys stay in input order."""
    return sorted(range(len(keys)), key=keys.__getitem__, reverse=True)  # `reverse` keeps the order of equal keys


def _results(request: _Request, scores: Scores, no_text_score: float, cut: _Cut) -> list[Result]:
    """Return the results that the cut leaves: documents with text by their scores, then those without, in input order.

    Ranks are those before the cut. Only documents with text can have the minimum score.
    """
    ranked_texts = list(enumerate(order(scores.values if scores.raw is None else scores.raw), start=1))
    if cut.min_score is not None:
        ranked_texts = [(rank, position) for rank, position in ranked_texts if scores.values[position] >= cut.min_score]
    results = [_result_with_text(request, scores, rank, position) for rank, position in ranked_texts[: cut.limit]]
    if cut.min_score is not None:
        return results
    with_text = set(request.text_indices)
    without_text = [index for index in range(len(request.documents)) if index not in with_text]
    for rank, index in enumerate(without_text, start=len(with_text) + 1):
        if cut.limit is not None and rank > cut.limit:
            break
        document = request.documents[index]
        tokens = dropped_tokens = 0
        source = source_score_and_rank(document)
        results.append(Result(document, no_text_score, rank, index, tokens, dropped_tokens, True, *source))
    return results


def _result_with_text(request: _Request, scores: Scores, rank: int, position: int) -> Result:
    """Return the result of the text at a position in `request.texts`."""
    index = request.text_indices[position]
    document = request.documents[index]
    tokens = None if scores.tokens is None else scores.tokens[position]
    dropped_tokens = None if scores.dropped_tokens is None else scores.dropped_tokens[position]
    source = source_score_and_rank(document)
    return Result(document, float(scores.values[position]), rank, index, tokens, dropped_tokens, False, *source)


def _check_scores(scores: Scores, count: int, model: str) -> None:
    """Raise PodiumError unless there is a finite score and a valid number of tokens for each of `count` texts.

    This cannot be taken for granted, because users write scorers, too.
    """
    token_counts = (scores.tokens, scores.dropped_tokens, scores.query_tokens, scores.query_dropped_tokens)
    columns = (scores.values, scores.raw, *token_counts)
    try:
        if len(scores.values) != count or any(column is not None and len(column) != count for column in columns):
            raise PodiumError(f"{model} returned {len(scores.values)} scores for {count} texts, so they cannot be ranked")
        is_finite = all(all(map(math.isfinite, column)) for column in columns[:2] if column is not None)
    except (TypeError, ValueError, OverflowError):  # for strings, None, and integers too large for a float
        is_finite = False
    if not is_finite:
        raise PodiumError(f"{model} returned a score that is not a finite number; its weights or its reply are damaged")
    count_types = {count_type for column in token_counts for count_type in map(type, column or ())} - {type(None)}
    if not all(hasattr(count_type, "__index__") for count_type in count_types):
        raise PodiumError(f"{model} returned a number of tokens that is not a whole number; it must be an int or None")


def _usage(scores: Scores, pairs: int, seconds: float) -> Usage:
    """Return the usage of a call. Its tokens are the scorer's total, else the sum over texts if all counts are known."""
    tokens = scores.total_tokens
    if tokens is None and scores.tokens is not None and None not in scores.tokens:
        tokens = sum(count for count in scores.tokens if count)
    return Usage(
        pairs=pairs,
        tokens=tokens,
        truncated=None if scores.dropped_tokens is None else sum(map(bool, scores.dropped_tokens)),
        billed=scores.billed,
        seconds=seconds,
        remembered=scores.remembered,
        encoded=scores.encoded,
    )


def _query_notes(scores: Scores) -> Iterator[str]:
    token_counts = scores.query_tokens or ()
    dropped_counts = scores.query_dropped_tokens or ()
    if 0 in token_counts:
        yield "the query has no token that the model knows; the scores mean little"
    if dropped := max((count or 0 for count in dropped_counts), default=0):  # a count is None if it is unknown
        yield f"the query is longer than the model reads with these documents; up to {dropped} of its tokens were dropped"


def _text_notes(request: _Request, scores: Scores) -> Iterator[str]:
    document_count = len(request.documents)
    if unread := list(scores.tokens or ()).count(0):
        yield f"{unread} of {len(request.texts)} texts have no token that the model knows; their scores mean little"
    if truncated := sum(map(bool, scores.dropped_tokens or ())):
        yield f"{truncated} of {document_count} documents are longer than the model reads; see dropped_tokens"
    if without_text := document_count - len(request.texts):
        yield f"{without_text} of {document_count} documents have no text; they are at the bottom, with the lowest score"


def _cut_notes(request: _Request, results: Sequence[Result]) -> Iterator[str]:
    if request.documents and not results:
        yield f"none of {len(request.documents)} documents reached the minimum score, so there is no result"
