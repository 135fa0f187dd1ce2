"""Reranker, the object that users hold: it reads the texts of documents, calls its scorer, and returns a Ranking.

Nothing here depends on a model or a provider. `podium.ordering` turns scores into results.
"""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from podium.documents import TextReader
from podium.errors import InvalidInput, PodiumError
from podium.inputs import (
    checked_batches,
    checked_documents,
    checked_fields,
    checked_instruction,
    checked_limit,
    checked_min_score,
    checked_query,
    checked_return_score,
    fields_to_read,
    refuse_unknown_names,
    without_none,
)
from podium.ordering import Cut, Request, check_scores, make_ranking
from podium.progress import bar
from podium.scorers import BaseScorer, as_scorer, score_queries
from podium.texts import Texts
from podium.types import Progress, Ranking, Scorer, Scores

# Compositions, explanations and TOML are half of podium's import time, and most calls need none of them. So they are imported
# when they are used.
if TYPE_CHECKING:
    from podium.compose.call_limits import CallLimits
    from podium.explanations import Explanation

__all__ = ["Reranker", "limits_of"]

MANY_DOCUMENTS = 300  # ranking this many takes about a millisecond; more of them are ranked on another thread


class Reranker:
    """Orders documents by relevance to a query.

    Usually created by `podium.load(name)`. `limit` (number of results, None for all), `rank_by` (the fields of a document
    that are read) and `return_score` are defaults that each call can override. Safe to share between threads and event
    loops. `candidates` is the number of documents that a search requests, if the reranker is from a configuration file that has
    it. To release its threads and connections early, use it as a context manager or call `close`.

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
        self.candidates: int | None = None  # that of a configuration file
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

    def describe(self) -> str:
        """Return the stack of scorers and their options, as a configuration file that `podium.load` reads.

        A scorer that such a file cannot have, because it is an object in Python, is described by its class and model.
        """
        from podium.toml_files import toml_text

        rank_by = list(self._fields) if self._fields else None
        defaults = without_none({"candidates": self.candidates, "limit": self.limit, "rank_by": rank_by})
        return toml_text({**defaults, "reranker": _settings(self._scorer)})

    def with_scorer(self, scorer: Scorer) -> Reranker:
        """Return a reranker with the same defaults and another scorer."""
        reranker = copy.copy(self)
        reranker.scorer = scorer
        reranker._scorer = as_scorer(scorer)
        reranker._load_again = None  # it would load the other scorer
        return reranker

    def with_instruction(self, instruction: str | None) -> Reranker:
        """Return a reranker with the same defaults whose model also reads an instruction. If it is None, return itself.

        An instruction describes relevant documents, such as "Prefer recent medical research". Language models were trained
        with instructions in English. The two rerankers share a model, so close only one of them. Raises InvalidInput if the
        model does not read instructions.
        """
        if instruction is None:
            return self
        reranker = copy.copy(self)
        reranker.scorer = reranker._scorer = self._scorer.with_instruction(checked_instruction(instruction))
        if self._load_again is not None:
            reranker._load_again = functools.partial(self._load_again, instruction=instruction)
        return reranker

    async def _awith_instruction(self, instruction: str | None) -> Reranker:
        """Do what `with_instruction` does without blocking the event loop."""
        if instruction is None:
            return self
        from podium.threads import to_thread

        return await to_thread(self.with_instruction, instruction)

    @refuse_unknown_names
    def rank(
        self,
        query: str,
        docs: Iterable[Any],
        *,
        limit: int | None = None,
        rank_by: str | list[str] | None = None,
        return_score: bool | None = None,
        budget_ms: float | None = None,
        max_tokens: int | None = None,
        max_cost: float | None = None,
        price: str | None = None,
        instruction: str | None = None,
    ) -> Any:
        """Return `(results, scores)`, best first, or only `results` with `return_score=False`.

        `scores[i]` is the score of `results[i]`, NaN if it was not scored. The results are the objects in `docs`, except that
        HFCrossEncoderReranker returns a string as `{"content": text}`. `rerank` returns the same order with more information.
        Raises InvalidInput, and the errors of the scorer.
        """
        with_scores = self.return_score if return_score is None else checked_return_score(return_score)
        limits = limits_of(budget_ms, max_tokens, max_cost, price)
        reranker = self.with_instruction(instruction)
        ranking = reranker._rerank_many([query], [docs], self._cut(limit, None), rank_by, limits)[0]
        return self._as_lists(ranking, with_scores)

    @refuse_unknown_names
    async def arank(
        self,
        query: str,
        docs: Iterable[Any],
        *,
        limit: int | None = None,
        rank_by: str | list[str] | None = None,
        return_score: bool | None = None,
        budget_ms: float | None = None,
        max_tokens: int | None = None,
        max_cost: float | None = None,
        price: str | None = None,
        instruction: str | None = None,
    ) -> Any:
        """Do what `rank` does without blocking the event loop. Cancelling it stops work that has not started."""
        with_scores = self.return_score if return_score is None else checked_return_score(return_score)
        limits = limits_of(budget_ms, max_tokens, max_cost, price)
        reranker = await self._awith_instruction(instruction)
        return self._as_lists(await reranker._arerank(query, docs, self._cut(limit, None), rank_by, limits), with_scores)

    @refuse_unknown_names
    def rerank(
        self,
        query: str,
        docs: Iterable[Any],
        *,
        limit: int | None = None,
        rank_by: str | list[str] | None = None,
        min_score: float | None = None,
        budget_ms: float | None = None,
        max_tokens: int | None = None,
        max_cost: float | None = None,
        price: str | None = None,
        instruction: str | None = None,
        progress: bool = False,
    ) -> Ranking:
        """Return a Ranking: every result with its document, score, rank and index, and what the call cost.

        All documents with a text are scored. Then `min_score` removes results with a lower score, documents without text or
        without a score, and those that are not in tier 0 (see Scores). `limit` keeps the best of the others. If no result is
        left, a note says so. `progress` shows a bar on stderr if the call takes longer than a second.

        With a budget, documents are scored in their order until it is used up, and the others stay below, in their order:
        `budget_ms` are milliseconds, `max_tokens` tokens that the model reads, and `max_cost` US dollars for a hosted model, an
        estimate by `price` ("0.05/Mtokens" or "2/ksearches") or podium's list of prices. See podium.Budget.

        `instruction` is for models that read one: see `with_instruction`.

        Raises InvalidInput, also for `rank_by` if every document is a string, and the errors of the scorer.
        """
        limits = limits_of(budget_ms, max_tokens, max_cost, price)
        reranker = self.with_instruction(instruction)
        return reranker._rerank_many([query], [docs], self._cut(limit, min_score), rank_by, limits, progress=progress)[0]

    @refuse_unknown_names
    async def arerank(
        self,
        query: str,
        docs: Iterable[Any],
        *,
        limit: int | None = None,
        rank_by: str | list[str] | None = None,
        min_score: float | None = None,
        budget_ms: float | None = None,
        max_tokens: int | None = None,
        max_cost: float | None = None,
        price: str | None = None,
        instruction: str | None = None,
    ) -> Ranking:
        """Do what `rerank` does without blocking the event loop. Cancelling it stops work that has not started."""
        limits = limits_of(budget_ms, max_tokens, max_cost, price)
        reranker = await self._awith_instruction(instruction)
        return await reranker._arerank(query, docs, self._cut(limit, min_score), rank_by, limits)

    async def _arerank(
        self, query: str, docs: Iterable[Any], cut: Cut, rank_by: str | list[str] | None, limits: CallLimits | None
    ) -> Ranking:
        # These modules import asyncio, which is half of podium's import time. So they are imported only for async callers.
        from podium.preparation import read_texts
        from podium.schedule import off_loop

        began = time.perf_counter()
        scorer = self._limited_scorer(limits, began)
        is_in_memory = isinstance(docs, list | tuple)  # any other iterable may compute or load its documents
        documents = await off_loop(not is_in_memory, self._documents, docs)
        is_large = len(documents) > MANY_DOCUMENTS
        reader = await off_loop(is_large, self._text_reader, documents, rank_by)
        await read_texts(reader)
        request = await off_loop(is_large, _request, query, reader)
        scores = await scorer.ascore(request.query, request.texts) if request.texts else Scores(())
        return await off_loop(is_large, self._ranking, request, scores, cut, began)

    @refuse_unknown_names
    def score(self, query: str, docs: Iterable[Any], *, rank_by: str | list[str] | None = None) -> list[float]:
        """Return one score per document, in the order of the documents. A document without text gets the lowest score.

        It has no budget and no limit, because every document gets a score. If the scorer leaves some unscored, as a Fallback or
        a Budget may, their scores are NaN; `rerank` says why.
        """
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
        budget_ms: float | None = None,
        max_tokens: int | None = None,
        max_cost: float | None = None,
        price: str | None = None,
        instruction: str | None = None,
        progress: bool = False,
    ) -> list[Ranking]:
        """Return one Ranking per query. The (query, text) pairs of all queries are scheduled together.

        The other arguments are those of `rerank`. In every Ranking, `usage.seconds` is the time of the whole call. Raises the
        errors of `rerank`, and InvalidInput if there are more or fewer lists of documents than queries. A budget is that of
        the whole call, and the first documents of all queries are scored first.
        """
        limits = limits_of(budget_ms, max_tokens, max_cost, price)
        reranker = self.with_instruction(instruction)
        return reranker._rerank_many(queries, docs_per_query, self._cut(limit, min_score), rank_by, limits, progress=progress)

    def _rerank_many(
        self,
        queries: Iterable[str],
        docs_per_query: Iterable[Iterable[Any]],
        cut: Cut,
        rank_by: str | list[str] | None,
        limits: CallLimits | None,
        *,
        progress: bool = False,
    ) -> list[Ranking]:
        began = time.perf_counter()
        scorer = self._limited_scorer(limits, began)
        pairs = checked_batches(queries, docs_per_query)
        requests = []
        for query, docs in pairs:
            reader = self._text_reader(self._documents(docs), rank_by)
            reader.read(range(len(reader.documents)))
            requests.append(_request(query, reader))
        with bar(sum(len(request.texts) for request in requests), progress) as advance:
            scores_per_request = _scores(scorer, requests, advance)
        return [
            self._ranking(request, scores, cut, began) for request, scores in zip(requests, scores_per_request, strict=True)
        ]

    @refuse_unknown_names
    def explain(self, query: str, document: Any, *, rank_by: str | list[str] | None = None) -> Explanation:
        """Return how much each sentence of a document contributes to its score: by how much the score drops without it.

        All variants of the document are scored in one call, or, if the scorer compares documents with each other, each in a
        call of its own. Raises InvalidInput if the document has no text, and the errors of `rerank`.
        """
        requests = self._explained(query, document, rank_by)
        return _explanation(requests, _scores(self._scorer, requests), self._scorer)

    @refuse_unknown_names
    async def aexplain(self, query: str, document: Any, *, rank_by: str | list[str] | None = None) -> Explanation:
        """Do what `explain` does without blocking the event loop. Cancelling it stops work that has not started."""
        from podium.schedule import off_loop

        requests = await off_loop(True, self._explained, query, document, rank_by)
        scores = [await self._scorer.ascore(request.query, request.texts) for request in requests]
        return await off_loop(True, _explanation, requests, scores, self._scorer)

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

    def _cut(self, limit: int | None, min_score: float | None) -> Cut:
        return Cut(self.limit if limit is None else checked_limit(limit), checked_min_score(min_score))

    def _documents(self, docs: Iterable[Any]) -> list[Any]:
        if self._closed:
            raise PodiumError("this reranker was closed; load it again")
        return checked_documents(docs)

    def _explained(self, query: str, document: Any, rank_by: str | list[str] | None) -> list[Request]:
        """Return requests for a document's text, and then for the text without each of its sentences.

        They are one request, or one for each text if the scorer compares documents with each other.
        """
        from podium.explanations import texts_without_each

        reader = self._text_reader(self._documents([document]), rank_by)
        reader.read(range(1))
        request = _request(query, reader)
        if not request.texts:
            raise InvalidInput("the document has no text, so there is nothing to explain; pass a document with text")
        texts = texts_without_each(request.texts[0])
        calls = [[text] for text in texts] if self._scorer.listwise else [texts]
        return [replace(request, texts=Texts(call, [document] * len(call))) for call in calls]

    def _limited_scorer(self, limits: CallLimits | None, began: float) -> BaseScorer:
        """Return the scorer for a call with these limits that began at a time of `time.perf_counter`."""
        if limits is None:
            return self._scorer
        from podium.compose.budget import within

        return within(self._scorer, limits, began)

    def _text_reader(self, documents: list[Any], rank_by: str | list[str] | None) -> TextReader:
        return TextReader(documents, self._fields if rank_by is None else fields_to_read(documents, rank_by))

    def _ranking(self, request: Request, scores: Scores, cut: Cut, began: float) -> Ranking:
        return make_ranking(request, scores, cut, self._scorer, time.perf_counter() - began)


def _scores(scorer: BaseScorer, requests: Sequence[Request], advance: Progress | None = None) -> list[Scores]:
    return score_queries(scorer, [request.query for request in requests], [request.texts for request in requests], advance)


def _explanation(requests: Sequence[Request], scores: Sequence[Scores], scorer: BaseScorer) -> Explanation:
    """Return the explanation of a text from the scores of requests with the text and its variants."""
    from podium.explanations import Explanation

    for request, request_scores in zip(requests, scores, strict=True):
        check_scores(request_scores, len(request.texts), scorer.model)
    return Explanation.of(requests[0].texts[0], scores, scorer)


def _request(query: str, reader: TextReader) -> Request:
    """Return the request for a query and the documents of a reader, which have been read. Raises InvalidInput."""
    reader.check_fields()
    texts = reader.texts
    text_indices = [index for index, text in enumerate(texts) if text is not None]
    documents = list(reader.documents)
    with_text = Texts((text for text in texts if text is not None), [documents[index] for index in text_indices])
    return Request(checked_query(query), documents, with_text, text_indices)


def limits_of(budget_ms: float | None, max_tokens: int | None, max_cost: float | None, price: str | None) -> CallLimits | None:
    """Return the limits of a call, None if there are none. Raises InvalidInput."""
    if budget_ms is None and max_tokens is None and max_cost is None and price is None:
        return None
    from podium.compose.call_limits import CallLimits

    return CallLimits(budget_ms=budget_ms, max_tokens=max_tokens, max_cost=max_cost, price=price)


def _settings(scorer: BaseScorer) -> dict[str, Any]:
    """Return the settings of a scorer, with those of the scorers in it."""
    settings = scorer.settings()
    if settings is None:
        return {"python_object": scorer.class_name, "model_name": scorer.model}
    return {name: _described(value) for name, value in settings.items()}


def _described(value: Any) -> Any:
    if isinstance(value, BaseScorer):
        return _settings(value)
    return [_described(item) for item in value] if isinstance(value, list) else value


def _same(reranker: Reranker) -> Reranker:
    return reranker


def _picklable_call(load_again: functools.partial[Reranker]) -> functools.partial[Reranker]:
    """Return the call that loads a reranker. Raises InvalidInput if one of its arguments is a secret or a client."""
    options = without_none(load_again.keywords | dict(load_again.keywords.get("api_config") or {}))
    for name in ("client", "async_client"):
        if name in options:
            raise InvalidInput(f"a reranker with a {name} of yours cannot be pickled; load it in each process")
    secrets = [name for name in ("api_key", "token") if isinstance(options.get(name), str)]
    urls = {name: str(options.get(name, "")) for name in ("base_url", "cache", "keep")}
    secrets += [name for name, url in urls.items() if "@" in url or "password=" in url]
    if secrets:
        raise InvalidInput(
            f"a reranker that was loaded with a secret ({', '.join(secrets)}) cannot be pickled; "
            "put the secret into the environment instead, or load the reranker in each process"
        )
    return load_again
