"""Fallback: if a scorer cannot be reached, the next one scores the documents."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from podium.compose.circuit import Circuit
from podium.compose.combined import CombinedScorer
from podium.compose.components import Component
from podium.compose.stepwise import ScoreStep, Steps
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
    """A scorer that calls the first of `scorers`, and after a failure of that the next one.

    Failures are timeouts, 429 after all retries, 5xx and refused connections. All other errors are raised: another scorer would
    not accept wrong arguments either, and a rejected key must be noticed. If all scorers fail, the documents keep their order
    and have no scores (`or_keep_order`), or the last error is raised. `ranking.model`, `ranking.degraded` and `ranking.reasons`
    say what happened.

    Each scorer has a circuit breaker: after `failures` failures in a row, it is not called for `seconds`, and then one call
    tries it again. `clock` is that of `time`. Safe to share between threads and event loops.

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
        results: list[Scores | None] = [None if texts else Scores(()) for texts in texts_per_query]
        reasons: list[list[str]] = [[] for _ in queries]
        error: Exception | None = None
        for number, (scorer, circuit) in enumerate(zip(self.scorers, self._circuits, strict=True)):
            missing = [index for index, scores in enumerate(results) if scores is None]
            for group in _groups(scorer, missing):
                if not circuit.may_begin():
                    for index in group:
                        reasons[index].append(_open_reason(scorer, circuit))
                    continue
                try:
                    group_scores = yield ScoreStep(
                        scorer,
                        [queries[index] for index in group],
                        [texts_per_query[index] for index in group],
                        progress if scorer.schedules_together else None,
                    )
                except FAILURES as failure:
                    if is_over():  # the call's budget was too short, which says nothing about the scorer
                        circuit.abandon()
                        raise _late_error(scorer) from failure
                    circuit.record_failure()
                    error = failure
                    for index in group:
                        reasons[index].append(_failure_reason(scorer, failure))
                except BaseException:  # also GeneratorExit, which is raised here if the call is cancelled
                    circuit.abandon()
                    raise
                else:
                    circuit.record_success()
                    for index, scores in zip(group, group_scores, strict=True):
                        results[index] = _with_reasons(scores, scorer, reasons[index]) if number else scores
                    if progress and not scorer.schedules_together:
                        progress(sum(len(texts_per_query[index]) for index in group))
        if not self.or_keep_order and None in results:
            if isinstance(error, PodiumError):
                raise error
            raise _unavailable(reasons) from error
        return [
            _unscored(len(texts), query_reasons) if scores is None else scores
            for scores, texts, query_reasons in zip(results, texts_per_query, reasons, strict=True)
        ]


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
    """Return the scores of a scorer that is not the first one."""
    has_model = scores.model is not None
    return replace(
        scores,
        model=scores.model if has_model else scorer.model,
        revision=scores.revision if has_model else scorer.revision,
        score_kind=scores.score_kind or scorer.score_kind,
        reasons=(*reasons, *scores.reasons),
    )


def _unscored(count: int, reasons: Sequence[str]) -> Scores:
    """Return the scores of texts that were not scored."""
    return Scores(values=[math.nan] * count, scored_by=[None] * count, total_tokens=0, reasons=(*reasons,))


def _failure_reason(scorer: BaseScorer, error: Exception) -> str:
    """Return the reason for a failure. The message of another package's error is left out, because it may quote documents."""
    detail = f": {error}" if isinstance(error, PodiumError) else ""
    return f"{scorer.model} failed ({type(error).__name__}{detail})"


def _open_reason(scorer: BaseScorer, circuit: Circuit) -> str:
    return f"{scorer.model} was not called because it had failed repeatedly; it is tried again in {circuit.seconds_left:.0f} s"


def _late_error(scorer: BaseScorer) -> DeadlineExceeded:
    """Return the error of a call whose budget was over before a scorer answered."""
    problem = f"{scorer.model} did not answer within the time budget of the call; allow more with "
    return DeadlineExceeded(problem, Argument("budget_ms"))


def _unavailable(reasons: Sequence[Sequence[str]]) -> ProviderUnavailable:
    """Return the error of a call in which a user's scorer failed, or in which no scorer was called."""
    problem = "; ".join(next(filter(None, reasons)))
    return ProviderUnavailable(f"{problem}; try again later, or use ", Argument("or_keep_order", True))
