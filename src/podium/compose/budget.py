"""Budget: score as many documents as a time, a number of tokens or a cost allows, in input order."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from podium.compose.columns import cost_of, models_of, placed_columns
from podium.compose.components import Component
from podium.compose.stepwise import ScoreStep, Step, Steps, StepwiseScorer
from podium.compose.wrapped import WrappedScorer
from podium.errors import Argument, DeadlineExceeded, InvalidInput
from podium.inputs import check_positive, check_positive_number, without_none
from podium.options import Option
from podium.prices import (
    CHARACTERS_PER_SEARCH_DOCUMENT,
    CHARACTERS_PER_TOKEN,
    DOCUMENTS_PER_SEARCH,
    Price,
    find_price,
    missing_price,
    search_count,
)
from podium.scorers import BaseScorer
from podium.texts import selected_texts
from podium.types import Progress, Scorer, Scores

__all__ = ["COMPONENT", "Budget", "Limits", "within"]

STEP_SHARE = 1 / 4  # of what is left of the budget, a step takes this share
LEAST_SECONDS = 0.005  # or this time,
LEAST_TOKENS = 500  # or this number of tokens, if it is more
CLOCK_TOLERANCE = 0.001
NEW_WEIGHT = 0.5  # the weight of the last step in the measured speed
FIXED_CHARACTERS = 40  # a text takes about as long as if it had so many more characters
CHARACTERS_READ_PER_TOKEN = 6  # at most about so many characters of a text are read per token of the model's maximum length


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a call may use: milliseconds, tokens, and US dollars. None means no limit. Raises InvalidInput.

    `price` is the model's price, such as "0.05/Mtokens" or "2/ksearches", if it is not in podium's list.
    """

    budget_ms: float | None = None
    max_tokens: int | None = None
    max_cost: float | None = None
    price: str | None = None

    def __post_init__(self) -> None:
        if self.budget_ms is not None:
            check_positive_number("budget_ms", self.budget_ms)
        if self.max_tokens is not None:
            check_positive("max_tokens", self.max_tokens)
        if self.max_cost is not None:
            check_positive_number("max_cost", self.max_cost)

    @property
    def is_unlimited(self) -> bool:
        return self.budget_ms is None and self.max_tokens is None and self.max_cost is None

    def __str__(self) -> str:
        amounts = {"ms": self.budget_ms, "tokens": self.max_tokens, "US dollars": self.max_cost}
        return ", ".join(f"{amount:g} {unit}" for unit, amount in amounts.items() if amount is not None)


class Budget(StepwiseScorer, WrappedScorer):
    """A scorer that scores documents in input order until a budget is used up. The others are not scored.

    - `budget_ms`: milliseconds, from the beginning of the call.
    - `max_tokens`: tokens that the model reads, or that the provider bills.
    - `max_cost`: US dollars. The cost is an estimate: see `price` and `podium.prices`.
    - `price`: the model's price, such as "0.05/Mtokens" or "2/ksearches", if it is not in podium's list.

    Documents are scored in small steps. A step begins only if the budget probably suffices for it, judged by the speed of the
    steps before, so the budget is exceeded by one step at most. A hosted model gets a request of up to 100 documents per step,
    because requests are billed; one that is not answered in time is given up. A listwise scorer gets all documents in one step.
    With several queries, the budget is that of the whole call, and the first documents of all queries are scored first.
    """

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
        self.limits = Limits(budget_ms=budget_ms, max_tokens=max_tokens, max_cost=max_cost, price=price)
        if self.limits.is_unlimited:
            raise InvalidInput(
                "a budget has ", Argument("budget_ms"), ", ", Argument("max_tokens"), " or ", Argument("max_cost")
            )
        self._price = None if max_cost is None else find_price(self.model, price)
        if max_cost is not None and self._price is None:
            raise missing_price()
        self._began: float | None = None  # when the call began, if that was before this scorer was called

    @property
    def identity(self) -> str:
        return f"budget:{self.limits}:{self.scorer.identity}"

    def settings(self) -> dict[str, Any]:
        return {"use": "Budget", **without_none(asdict(self.limits)), "scorer": self.scorer}

    def steps(
        self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]], progress: Progress | None = None
    ) -> Steps:
        began = time.perf_counter() if self._began is None else self._began
        meter = _Meter(self.limits, self._price, self.scorer, began)
        plan = _Plan(queries, texts_per_query, self.scorer)
        parts: list[list[_Part]] = [[] for _ in queries]
        while count := meter.affordable_count(plan.next_texts, plan.next_lengths):
            length = sum(plan.next_lengths[:count])
            positions_per_query = plan.take(count)
            step_texts = [
                selected_texts(texts, positions) for texts, positions in zip(texts_per_query, positions_per_query, strict=True)
            ]
            scored = yield from meter.measured(ScoreStep(self.scorer, queries, step_texts, progress), length)
            if scored is None:
                break
            for query_parts, part in zip(parts, map(_Part, positions_per_query, scored, step_texts), strict=True):
                query_parts.append(part)
        if progress:
            progress(plan.count_left)
        return [self._merged(query_parts, len(texts)) for query_parts, texts in zip(parts, texts_per_query, strict=True)]

    def _merged(self, parts: Sequence[_Part], count: int) -> Scores:
        """Return the scores of a query's texts from those of its parts."""
        parts = [part for part in parts if part.positions]
        calls = [part.scores for part in parts]
        costs: dict[str, Any] = cost_of(calls)
        models = list(dict.fromkeys(scores.model for scores in calls))
        models.sort(key=lambda model: model is not None)  # None is the scorer's own model, whose scores are in the first tier
        scored_by: list[str | None] = [None] * count
        tiers = [0] * count
        first_tier = 0
        for model in models:  # the scores of different models, for example in a Fallback, cannot be compared
            for part in parts:
                if part.scores.model == model:
                    part_tiers = [0] * len(part.positions) if part.scores.tiers is None else part.scores.tiers
                    names = models_of(part.scores, self.scorer)
                    for position, tier, name in zip(part.positions, part_tiers, names, strict=True):
                        tiers[position] = first_tier + tier
                        scored_by[position] = name
            first_tier = max(tiers) + 1
        reached_count = sum(len(part.positions) for part in parts)
        if reached_count < count:
            costs["reasons"] = (
                *costs["reasons"],
                f"the budget of {self.limits} was used up after {reached_count} of {count} documents",
            )
        if self._price is not None:
            costs["estimated_cost"] = sum(part.cost(self._price) for part in parts)
            costs["notes"] = (*costs["notes"], f"the cost is an estimate, by the price of {self._price}")
        is_mixed = len(models) > 1 or any(scores.tiers is not None or scores.scored_by is not None for scores in calls)
        is_one_other_model = len(models) == 1 and models[0] is not None
        columns: dict[str, Any] = {"values": [math.nan] * count}
        columns |= placed_columns(count, [(part.positions, part.scores) for part in parts])
        return Scores(
            **columns,
            **costs,
            tiers=tiers if is_mixed else None,
            scored_by=scored_by if is_mixed or reached_count < count else None,
            model=models[0] if is_one_other_model else None,
            revision=calls[0].revision if is_one_other_model else None,
            score_kind=next((scores.score_kind for scores in calls if scores.model == models[0]), None),
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


def within(scorer: BaseScorer, limits: Limits, began: float) -> BaseScorer:
    """Return a scorer for a call that began at a time of `time.perf_counter`, with these limits.

    A composition that compares documents with each other needs scores of all of them. There, the limits apply to a scorer
    inside it, for example to the strong one of a Cascade. Raises InvalidInput.
    """
    if limits.is_unlimited:
        return scorer

    def limited(inner: BaseScorer) -> BaseScorer:
        budget = Budget(
            inner,
            budget_ms=limits.budget_ms,
            max_tokens=limits.max_tokens,
            max_cost=limits.max_cost,
            price=limits.price,
        )
        budget._began = began
        return budget

    return scorer.limited(limited)


class _Part(NamedTuple):
    """Some texts of a query that were scored in one step, and their positions among all texts of the query."""

    positions: Sequence[int]
    scores: Scores
    texts: Sequence[str]

    @property
    def tokens(self) -> float:
        """The number of tokens that were computed or billed. If the scorer does not report it, this is an estimate."""
        if self.scores.total_tokens is not None:
            return self.scores.total_tokens
        if self.scores.tokens is not None and None not in self.scores.tokens:
            return sum(count for count in self.scores.tokens if count)
        return sum(map(len, self.texts)) / CHARACTERS_PER_TOKEN

    @property
    def searches(self) -> float:
        return self.scores.billed.get("search_units", search_count(self.texts)) if self.texts else 0

    def cost(self, price: Price) -> float:
        return price.cost(self.tokens, self.searches)


class _Plan:
    """The order in which the texts of all queries are scored: all first texts, then all second ones, and so on.

    A hosted model gets a request per query, and a listwise scorer all texts of a query, so these get one query after the other.
    A text's length is a number of characters that is proportional to the time that the text probably takes.
    """

    def __init__(self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]], scorer: BaseScorer) -> None:
        self._has_one_query_per_step = scorer.is_remote or scorer.listwise
        pairs = [(query, position) for query, texts in enumerate(texts_per_query) for position, _ in enumerate(texts)]
        self._pairs = pairs if self._has_one_query_per_step else sorted(pairs, key=lambda pair: pair[1])
        most = math.inf if scorer.max_length is None else scorer.max_length * CHARACTERS_READ_PER_TOKEN
        self._texts = [texts_per_query[query][position] for query, position in self._pairs]
        fixed_lengths = [len(query) + FIXED_CHARACTERS for query in queries]
        self._lengths = [
            fixed_lengths[query] + min(len(text), most) for (query, _), text in zip(self._pairs, self._texts, strict=True)
        ]
        self._query_count = len(queries)
        self._next = 0

    @property
    def count_left(self) -> int:
        return len(self._pairs) - self._next

    @property
    def next_texts(self) -> Sequence[str]:
        """The texts that a step can have, which are not all that are left if a step can have only one query."""
        return self._texts[self._next : self._end]

    @property
    def next_lengths(self) -> Sequence[float]:
        return self._lengths[self._next : self._end]

    def take(self, count: int) -> list[list[int]]:
        """Return the positions of the next texts, in a list per query."""
        positions: list[list[int]] = [[] for _ in range(self._query_count)]
        for query, position in self._pairs[self._next : self._next + count]:
            positions[query].append(position)
        self._next += count
        return positions

    @property
    def _end(self) -> int:
        if not (self._has_one_query_per_step and self.count_left):
            return len(self._pairs)
        query = self._pairs[self._next][0]
        return next((i for i in range(self._next, len(self._pairs)) if self._pairs[i][0] != query), len(self._pairs))


class _Meter:
    """What is left of a budget, and how many texts it probably suffices for."""

    def __init__(self, limits: Limits, price: Price | None, scorer: BaseScorer, began: float) -> None:
        self._scorer = scorer
        self._deadline = None if limits.budget_ms is None else began + limits.budget_ms / 1000
        self._tokens_left = math.inf if limits.max_tokens is None else float(limits.max_tokens)
        self._searches_left = math.inf
        if price is not None and limits.max_cost is not None:
            self._tokens_left = min(self._tokens_left, price.most_tokens(limits.max_cost))
            self._searches_left = price.most_searches(limits.max_cost)
        self._seconds_per_character: float | None = None  # unknown before the first step
        self._tokens_per_character = 1 / CHARACTERS_PER_TOKEN

    def affordable_count(self, texts: Sequence[str], lengths: Sequence[float]) -> int:
        """Return how many of the next texts the next step should have; 0 if there are none, or if the budget is used up."""
        seconds_left = math.inf if self._deadline is None else self._deadline - time.perf_counter()
        if seconds_left <= 0 or self._tokens_left <= 0:
            return 0
        share_of_tokens = max(self._tokens_left * STEP_SHARE, LEAST_TOKENS)
        length_left = self._tokens_left / self._tokens_per_character
        length_share = share_of_tokens / self._tokens_per_character
        if self._seconds_per_character is not None:
            length_left = min(length_left, seconds_left / self._seconds_per_character)
            share_of_seconds = max(seconds_left * STEP_SHARE, LEAST_SECONDS)
            length_share = min(length_share, share_of_seconds / self._seconds_per_character)
        elif self._deadline is not None:
            length_share = 0.0  # the first step has one text per thread
        most = min(_count_within(lengths, length_left), self._count_within_searches(texts))
        if self._scorer.listwise:
            return most
        if self._scorer.is_remote:
            return min(most, DOCUMENTS_PER_SEARCH)
        return min(most, max(self._scorer.threads or 1, _count_within(lengths, length_share)))

    def measured(self, step: ScoreStep, length: float) -> Generator[Step, Any, list[Scores] | None]:
        """Perform a step for texts of this length, and return its scores, None if the time was over before there were any."""
        began = time.perf_counter()
        try:
            scored: list[Scores] = yield step._replace(deadline=self._deadline)
        except DeadlineExceeded:
            if self._deadline is None or time.perf_counter() < self._deadline - CLOCK_TOLERANCE:
                raise
            return None
        if not self._scorer.is_remote:  # the time of a request depends little on its length
            self._seconds_per_character = _averaged(self._seconds_per_character, (time.perf_counter() - began) / length)
        parts = [_Part((), scores, texts) for scores, texts in zip(scored, step.texts_per_query, strict=True)]
        tokens = sum(part.tokens for part in parts)
        self._tokens_left -= tokens
        self._searches_left -= sum(part.searches for part in parts)
        self._tokens_per_character = _averaged(self._tokens_per_character, tokens / length)
        return scored

    def _count_within_searches(self, texts: Sequence[str]) -> int:
        if self._searches_left == math.inf:
            return len(texts)
        affordable = math.floor(self._searches_left) * DOCUMENTS_PER_SEARCH
        units = itertools.accumulate(max(1, math.ceil(len(text) / CHARACTERS_PER_SEARCH_DOCUMENT)) for text in texts)
        return sum(1 for _ in itertools.takewhile(lambda total: total <= affordable, units))


def _count_within(lengths: Sequence[float], limit: float) -> int:
    """Return how many of the first lengths have a sum of at most `limit`."""
    return sum(1 for _ in itertools.takewhile(lambda total: total <= limit, itertools.accumulate(lengths)))


def _averaged(before: float | None, last: float) -> float:
    return last if before is None else before + NEW_WEIGHT * (last - before)
