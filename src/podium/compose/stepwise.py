"""StepwiseScorer, the base class of scorers that are written once, as a generator of steps (see podium.steps).

A step scores texts with another scorer, or calls a function. Blocking calls and asynchronous calls run the same generator.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, NamedTuple, TypeAlias

from podium.deadlines import until
from podium.ordering import check_scores
from podium.scorers import BaseScorer, score_queries
from podium.steps import adrive, drive
from podium.threads import to_thread
from podium.types import Progress, Scores

__all__ = ["CallStep", "EitherStep", "ScoreStep", "Step", "Steps", "StepwiseScorer"]


class ScoreStep(NamedTuple):
    """A step that scores the texts of queries; its result is a list with the Scores of each query.

    An asynchronous call has one query. `progress` is called with numbers of texts, in blocking calls. `deadline` is a time of
    `time.perf_counter` after which a scorer need not wait for a server (see `podium.deadlines`).
    """

    scorer: BaseScorer
    queries: Sequence[str]
    texts_per_query: Sequence[Sequence[str]]
    progress: Progress | None = None
    deadline: float | None = None


class CallStep(NamedTuple):
    """A step that calls a function and has its result.

    `is_slow`: whether the function may wait, or takes more than about a millisecond. Then an asynchronous call runs it on
    another thread.
    """

    function: Callable[[], Any]
    is_slow: bool = True


class EitherStep(NamedTuple):
    """A step that a blocking call and an asynchronous call perform differently. Its result is what the function returns."""

    blocking: Callable[[], Any]
    asynchronous: Callable[[], Awaitable[Any]]


Step: TypeAlias = "ScoreStep | CallStep | EitherStep"
Steps: TypeAlias = Generator[Step, Any, list[Scores]]


class StepwiseScorer(BaseScorer):
    """A scorer whose subclass defines `steps`. It has no state of a call, so it can be shared between threads."""

    @abstractmethod
    def steps(
        self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]], progress: Progress | None = None
    ) -> Steps:
        """Return a generator whose result is the Scores of each query. A query may have no texts."""

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        return self.score_many([query], [texts])[0]

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        return (await adrive(self.steps([query], [texts]), _perform_async))[0]

    def score_many(
        self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]], *, progress: Progress | None = None
    ) -> list[Scores]:
        return drive(self.steps(queries, texts_per_query, progress), _perform)


def _perform(step: Step) -> Any:
    """Perform a step of a blocking call. Queries without texts are not passed to the scorer."""
    if isinstance(step, CallStep):
        return step.function()
    if isinstance(step, EitherStep):
        return step.blocking()
    with until(step.deadline):
        scores_per_query = score_queries(step.scorer, step.queries, step.texts_per_query, step.progress)
    for texts, scores in zip(step.texts_per_query, scores_per_query, strict=True):
        check_scores(scores, len(texts), step.scorer.model)
    return scores_per_query


async def _perform_async(step: Step) -> Any:
    """Perform a step of an asynchronous call."""
    if isinstance(step, CallStep):
        return await to_thread(step.function) if step.is_slow else step.function()
    if isinstance(step, EitherStep):
        return await step.asynchronous()
    scores_per_query = []
    for query, texts in zip(step.queries, step.texts_per_query, strict=True):
        with until(step.deadline):
            scores = await step.scorer.ascore(query, texts) if texts else Scores(())
        check_scores(scores, len(texts), step.scorer.model)
        scores_per_query.append(scores)
    return scores_per_query
