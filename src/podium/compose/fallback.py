"""Fallback: if a scorer cannot be reached, the next one scores the documents."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from podium.compose.circuit import Circuit
from podium.compose.columns import attributed
from podium.compose.combined import CombinedScorer
from podium.compose.components import Component
from podium.compose.stepwise import ScoreStep, Step, Steps
from podium.deadlines import is_over
from podium.errors import (
    Argument,
    DeadlineExceeded,
    InvalidInput,
    PodiumError,
    ProviderUnavailable,
    RateLimited,
)
from podium.inputs import refuse_unknown_names
from podium.options import Option
from podium.scorers import BaseScorer, HasScorer
from podium.types import Progress, ScoreKind, Scorer, Scores

__all__ = ["COMPONENT", "FAILURES", "Fallback"]

FAILURES = (DeadlineExceeded, RateLimited, ProviderUnavailable, TimeoutError, ConnectionError)
"""The errors after which the next scorer is called. The last two are those of Python, which a user's scorer may raise."""


class Fallback(CombinedScorer):
    """A scorer that calls the first of `scorers`, and after a failure the next one.

    Failures are timeouts, 429 after all retries, 5xx and refused connections. All other errors are raised: another scorer would
    not accept wrong arguments either, and a rejected key must be noticed. If no scorer succeeds, the documents keep their order
    and have no scores. With `or_keep_order=False`, that is an error instead: the last failure, or ProviderUnavailable if that
    is an error of Python or no scorer was called. `ranking.model`, `ranking.degraded` and `ranking.reasons` say what happened.

    Each scorer has a circuit breaker: after `failures` failures in a row, it is not called for `seconds`. Then one call tries
    it again. `clock` returns the time in seconds. Safe to share between threads and event loops.

    A scorer's own timeout and retries decide how long a failure takes. So give all scorers but the last a short timeout.
    """

    @refuse_unknown_names
    def __init__(
        self,
        *scorers: Scorer | HasScorer,
        or_keep_order: bool = True,
        failures: int = 3,
        seconds: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not scorers:
            raise InvalidInput("Fallback needs at least one scorer; pass them in the order in which they are tried")
        if not isinstance(or_keep_order, bool):
            raise InvalidInput(Argument("or_keep_order"), f" must be True or False, not {or_keep_order!r:.40}")
        super().__init__(scorers)
        self.or_keep_order = or_keep_order
        self._failures = failures
        self._seconds = seconds
        self._circuits = [Circuit(failures=failures, seconds=seconds, clock=clock) for _ in scorers]

    def __repr__(self) -> str:
        return f"Fallback({', '.join(map(repr, self.scorers))}, or_keep_order={self.or_keep_order})"

    @property
    def model(self) -> str:
        return self.scorers[0].model

    @property
    def revision(self) -> str | None:
        return self.scorers[0].revision

    @property
    def score_kind(self) -> ScoreKind:
        return self.scorers[0].score_kind

    @property
    def identity(self) -> str:
        return f"fallback:{self.or_keep_order}:{super().identity}"

    @property
    def precision(self) -> str | None:
        return self.scorers[0].precision

    @property
    def max_length(self) -> int | None:
        return self.scorers[0].max_length

    def settings(self) -> dict[str, Any]:
        return {
            "use": "Fallback",
            "or_keep_order": self.or_keep_order,
            "failures": self._failures,
            "seconds": self._seconds,
            "scorers": list(self.scorers),
        }

    def steps(
        self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]], progress: Progress | None = None
    ) -> Steps:
        results: list[Scores | None] = [None if texts else Scores(()) for texts in texts_per_query]  # None: not scored yet
        reasons: list[list[str]] = [[] for _ in queries]
        last_error: Exception | None = None
        for scorer, circuit in zip(self.scorers, self._circuits, strict=True):
            unscored_indices = [index for index, scores in enumerate(results) if scores is None]
            for indices in _groups(scorer, unscored_indices):
                group_queries = [queries[index] for index in indices]
                group_texts = [texts_per_query[index] for index in indices]
                # Other scorers score one query per step. Its progress is reported after the step, and not if the step fails.
                step_progress = progress if scorer.schedules_together else None
                result = yield from _attempt(circuit, ScoreStep(scorer, group_queries, group_texts, step_progress))
                if isinstance(result, _Failure):
                    last_error = result.error or last_error
                    for index in indices:
                        reasons[index].append(result.reason)
                    continue
                for index, scores in zip(indices, result, strict=True):
                    results[index] = _with_reasons(scores, scorer, reasons[index]) if reasons[index] else scores
                if progress and not scorer.schedules_together:
                    progress(sum(map(len, group_texts)))
        if not self.or_keep_order and None in results:
            if isinstance(last_error, PodiumError):
                raise last_error
            raise _unavailable(reasons) from last_error
        return [
            _unscored(len(texts), query_reasons) if scores is None else scores
            for scores, texts, query_reasons in zip(results, texts_per_query, reasons, strict=True)
        ]


class _Failure(NamedTuple):
    """Why a scorer did not score. `error` is None if it was not called."""

    reason: str
    error: Exception | None = None


def _attempt(circuit: Circuit, step: ScoreStep) -> Generator[Step, Any, list[Scores] | _Failure]:
    """Score with the scorer of a step if its circuit allows it. The result is the scores of each query, or a failure.

    Raises the errors that are not failures, and DeadlineExceeded if the budget of the call is over.
    """
    call = circuit.begin()
    if call is None:
        return _Failure(_open_reason(step.scorer, circuit))
    try:
        scores_per_query: list[Scores] = yield step
    except FAILURES as error:
        if is_over():  # the call's budget was too short, which says nothing about the scorer
            circuit.abandon(call)
            raise _late_error(step.scorer) from error
        circuit.record_failure(call)
        return _Failure(_failure_reason(step.scorer, error), error)
    except BaseException:  # also GeneratorExit, which is raised here if the call is cancelled
        circuit.abandon(call)
        raise
    circuit.record_success(call)
    return scores_per_query


def _fallback(scorers: Sequence[Scorer], **options: Any) -> Fallback:
    return Fallback(*scorers, **options)


COMPONENT = Component(
    name="Fallback",
    create=_fallback,
    scorer_lists=("scorers",),
    options=(Option("or_keep_order", bool), Option("failures", int, minimum=1), Option("seconds", float, above=0)),
)


def _groups(scorer: BaseScorer, indices: list[int]) -> list[list[int]]:
    """Return the indices of the queries that a scorer scores in each call.

    A scorer that scores one query after another is called for each query, so that a failure concerns only that one.
    """
    if scorer.schedules_together:
        return [indices] if indices else []
    return [[index] for index in indices]


def _with_reasons(scores: Scores, scorer: BaseScorer, reasons: Sequence[str]) -> Scores:
    """Return scores that name the model that computed them, and the reasons why the scorers before it did not."""
    return replace(attributed(scores, scorer), reasons=(*reasons, *scores.reasons))


def _unscored(count: int, reasons: Sequence[str]) -> Scores:
    """Return the scores of texts that were not scored."""
    return Scores(values=[math.nan] * count, scored_by=[None] * count, total_tokens=0, reasons=(*reasons,))


def _failure_reason(scorer: BaseScorer, error: Exception) -> str:
    """Return the reason for a failure. The message of another package's error is left out, because it may quote documents."""
    detail = f": {error}" if isinstance(error, PodiumError) else ""
    return f"{scorer.model} failed ({type(error).__name__}{detail})"


def _open_reason(scorer: BaseScorer, circuit: Circuit) -> str:
    seconds = math.ceil(circuit.seconds_left)
    next_trial = f"it is tried again in {seconds} s" if seconds else "another call is trying it again"
    return f"{scorer.model} was not called because it had failed repeatedly; {next_trial}"


def _late_error(scorer: BaseScorer) -> DeadlineExceeded:
    """Return the error of a call whose budget was over before a scorer answered."""
    problem = f"{scorer.model} did not answer within the time budget of the call; allow more with "
    return DeadlineExceeded(problem, Argument("budget_ms"))


def _unavailable(reasons: Sequence[Sequence[str]]) -> ProviderUnavailable:
    """Return the error of a call in which a user's scorer failed, or in which no scorer was called.

    `reasons` are those of each query. The message has the reasons of the first query that has some.
    """
    problem = "; ".join(next(query_reasons for query_reasons in reasons if query_reasons))
    return ProviderUnavailable(f"{problem}; try again later, or use ", Argument("or_keep_order", True))
