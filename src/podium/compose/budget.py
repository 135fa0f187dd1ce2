"""Budget: score as many documents as a time, a number of tokens or a cost allows, in input order."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from podium.compose.budget_meter import Meter, Part
from podium.compose.budget_plan import Plan
from podium.compose.call_limits import CallLimits
from podium.compose.columns import merged_scores, selected_scores
from podium.compose.components import Component
from podium.compose.stepwise import Steps, StepwiseScorer
from podium.compose.wrapped import WrappedScorer
from podium.errors import Argument, InvalidInput
from podium.inputs import refuse_unknown_names, without_none
from podium.options import Option
from podium.prices import find_price, missing_price
from podium.scorers import BaseScorer
from podium.types import Progress, Scorer, Scores

__all__ = ["COMPONENT", "Budget", "within"]


class Budget(StepwiseScorer, WrappedScorer):
    """A scorer that scores documents in input order until a budget is used up. The others are not scored.

    - `budget_ms`: milliseconds, from the beginning of the call.
    - `max_tokens`: tokens that the model reads, or that the provider bills.
    - `max_cost`: US dollars. The cost is an estimate: see `price` and `podium.prices`.
    - `price`: the model's price, such as "0.05/Mtokens" or "2/ksearches", if it is not in podium's list.

    Documents are scored in small steps. A step begins only if the budget probably suffices for it, judged by the speed of the
    steps before, so the budget is exceeded by one step at most. If the first document is so long that it might exceed the
    budget alone, the first step scores at most 250 of its characters, only to measure the speed. A hosted model gets a request
    of up to 100 documents per step, because requests are billed; one that is not answered in time is given up. A listwise
    scorer gets all documents in one step. With several queries, the budget is that of the whole call, and the first documents
    of all queries are scored first.
    """

    @refuse_unknown_names
    def __init__(
        self,
        scorer: Scorer,
        *,
        budget_ms: float | None = None,
        max_tokens: int | None = None,
        max_cost: float | None = None,
        price: str | None = None,
    ) -> None:
        super().__init__(scorer)
        self.limits = CallLimits(budget_ms=budget_ms, max_tokens=max_tokens, max_cost=max_cost, price=price)
        if self.limits.is_unlimited:
            raise InvalidInput(
                "a budget needs a limit; set ",
                *(Argument("budget_ms"), ", ", Argument("max_tokens"), " or ", Argument("max_cost")),
            )
        self._price = None if max_cost is None else find_price(self.model, price)
        if max_cost is not None and self._price is None:
            raise missing_price()
        self._began: float | None = None  # when the call began, if that was before this scorer was called

    @property
    def has_budget(self) -> bool:
        return True

    def limited(self, limit: Callable[[BaseScorer], BaseScorer]) -> BaseScorer:
        return limit(self)

    @property
    def identity(self) -> str:
        return f"budget:{self.limits}:{self.scorer.identity}"

    def settings(self) -> dict[str, Any]:
        return {"use": "Budget", **without_none(asdict(self.limits)), "scorer": self.scorer}

    def steps(
        self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]], progress: Progress | None = None
    ) -> Steps:
        began = time.perf_counter() if self._began is None else self._began
        meter = Meter(self.limits, self._price, self.scorer, began)
        plan = Plan(queries, texts_per_query, self.scorer)
        parts: list[list[Part]] = [[] for _ in queries]
        probe_characters = meter.probe_length(plan.next_texts, plan.next_lengths)
        if probe_characters is not None:
            probe = plan.probe(probe_characters)
            scored = yield from meter.measured(probe.step, [probe.length])
            if scored is not None:
                parts[probe.query_index].append(Part((), scored[0], probe.step.texts_per_query[0]))
        while count := meter.affordable_count(plan.next_texts, plan.next_lengths):
            lengths = plan.next_lengths[:count]
            positions_per_query, step = plan.take(count, progress)
            scored = yield from meter.measured(step, lengths)
            if scored is None:
                break
            for query_index, scores in enumerate(scored):
                part = Part(positions_per_query[query_index], scores, step.texts_per_query[query_index])
                parts[query_index].append(part)
        if progress:
            progress(plan.count_left)
        return [self._merged(query_parts, len(texts)) for query_parts, texts in zip(parts, texts_per_query, strict=True)]

    def _merged(self, parts: Sequence[Part], count: int) -> Scores:
        """Return the scores of a query's texts from those of its parts."""
        columns = [(part.positions, _scores_by_position(part)) for part in parts if part.texts]
        scores = merged_scores(count, columns, self.scorer)
        reached_count = sum(len(part.positions) for part in parts)
        if reached_count < count:
            reason = f"the budget of {self.limits} was used up after {reached_count} of {count} documents"
            scores = replace(scores, reasons=(*scores.reasons, reason))
        if self._price is None:
            return scores
        return replace(
            scores,
            estimated_cost=sum(part.cost(self._price) for part in parts),
            notes=(*scores.notes, f"the cost is an estimate, by the price of {self._price}"),
        )


COMPONENT = Component(
    name="Budget",
    create=Budget,
    scorers=("scorer",),
    options=(
        Option("budget_ms", float, above=0),
        Option("max_tokens", int, minimum=1),
        Option("max_cost", float, above=0),
        Option("price", str),
    ),
)


def within(scorer: BaseScorer, limits: CallLimits, began: float) -> BaseScorer:
    """Return a scorer for a call that began at a time of `time.perf_counter`, with these limits.

    A composition that compares documents with each other needs scores of all of them. There, the limits apply to a scorer
    inside it, for example to the strong one of a Cascade. If the scorer is a Budget, the lower limits apply. Raises
    InvalidInput if `max_cost` is set and the price of the model is not known.
    """
    if limits.is_unlimited:
        return scorer

    def limited(inner: BaseScorer) -> BaseScorer:
        # A Budget inside another one would get the whole of its own budget for each step of the outer one.
        lowest = inner.limits.lowest(limits) if isinstance(inner, Budget) else limits
        budget = Budget(inner.scorer if isinstance(inner, Budget) else inner, **asdict(lowest))
        budget._began = began
        return budget

    return scorer.limited(limited)


def _scores_by_position(part: Part) -> Scores:
    """Return the scores of a part. Those of a probe, which has no positions, only have its tokens and its cost."""
    return part.scores if part.positions else selected_scores(part.scores, ())
