"""Meter, which measures the steps of a call with a budget, and decides how many texts the next step has."""

from __future__ import annotations

import itertools
import math
import time
import weakref
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from podium.compose.call_limits import CallLimits
from podium.compose.stepwise import ScoreStep, Step
from podium.errors import DeadlineExceeded
from podium.prices import (
    CHARACTERS_PER_SEARCH_DOCUMENT,
    CHARACTERS_PER_TOKEN,
    DOCUMENTS_PER_SEARCH,
    Price,
    search_count,
)
from podium.scorers import BaseScorer
from podium.types import Scores

__all__ = ["Meter", "Part"]

# A step takes a share of what is left of the budget, but at least LEAST_SECONDS or LEAST_TOKENS.
STEP_SHARE = 1 / 4
LEAST_SECONDS = 0.005
LEAST_TOKENS = 500
CLOCK_TOLERANCE = 0.001  # seconds by which a scorer may give up before the deadline
NEW_WEIGHT = 0.5  # the weight of the last step in the average speed
SLOW = 0.00025  # seconds per character, a millisecond per token: slower than nearly every model on one thread
FORGOTTEN_SHARE = 0.1  # the remembered slowest speed decreases by this share in each faster step
PROBE_CHARACTERS = 250  # the maximum length of a probe, the beginning of a text that is scored to measure the speed

_slowest_speeds: dict[int, float] = {}
"""`id` of a scorer → the most seconds per character of its last steps in calls with a time budget."""


class Part(NamedTuple):
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
        """The number of searches that were billed. If the scorer does not report it, this is an estimate."""
        if self.scores.remembered == len(self.texts):  # from a cache, for nothing
            return 0
        return self.scores.billed.get("search_units", search_count(self.texts))

    def cost(self, price: Price) -> float:
        return price.cost(self.tokens, self.searches)


class Meter:
    """What is left of a budget, and how many texts it probably suffices for.

    A thread computes one text at a time. So the time of a step is that of its longest text, or that of all its texts divided by
    the number of threads, if that is more.
    """

    def __init__(self, limits: CallLimits, price: Price | None, scorer: BaseScorer, began: float) -> None:
        self._scorer = scorer
        self._threads = scorer.threads or 1
        self._deadline = None if limits.budget_ms is None else began + limits.budget_ms / 1000
        self._tokens_left = math.inf if limits.max_tokens is None else float(limits.max_tokens)
        self._searches_left = math.inf
        if price is not None and limits.max_cost is not None:
            self._tokens_left = min(self._tokens_left, price.most_tokens(limits.max_cost))
            self._searches_left = price.most_searches(limits.max_cost)
        self._seconds_per_character: float | None = None  # of one thread, unknown before the first step
        self._tokens_per_character = 1 / CHARACTERS_PER_TOKEN

    def probe_length(self, texts: Sequence[str], lengths: Sequence[float]) -> int | None:
        """Return how many characters of the first text should be scored to measure the speed, None for no measurement.

        It is measured if a scorer as slow as this one was at its slowest might not finish the first text in time. A hosted
        model is not measured, because its requests are billed and are given up at the deadline. A listwise scorer gets all
        texts at once, so there is nothing to decide.
        """
        if self._deadline is None or self._scorer.is_remote or self._scorer.listwise or not texts:
            return None
        seconds_left = self._deadline - time.perf_counter()
        affordable = seconds_left / _slowest_speeds.get(id(self._scorer), SLOW)
        if seconds_left <= 0 or lengths[0] <= affordable or len(texts[0]) <= PROBE_CHARACTERS:
            return None
        return max(1, min(PROBE_CHARACTERS, int(affordable)))

    def affordable_count(self, texts: Sequence[str], lengths: Sequence[float]) -> int:
        """Return how many of the next texts the next step should have; 0 if there are none, or if the budget is used up."""
        seconds_left = math.inf if self._deadline is None else self._deadline - time.perf_counter()
        if seconds_left <= 0 or self._tokens_left <= 0:
            return 0
        affordable_length = self._tokens_left / self._tokens_per_character
        length_share = max(self._tokens_left * STEP_SHARE, LEAST_TOKENS) / self._tokens_per_character
        count = min(_count_within(itertools.accumulate(lengths), affordable_length), self._count_within_searches(texts))
        share_count = _count_within(itertools.accumulate(lengths), length_share)
        if self._seconds_per_character is not None:
            seconds_share = max(seconds_left * STEP_SHARE, LEAST_SECONDS)
            count = min(count, _count_within(self._thread_lengths(lengths), seconds_left / self._seconds_per_character))
            share_count = min(
                share_count, _count_within(self._thread_lengths(lengths), seconds_share / self._seconds_per_character)
            )
        elif self._deadline is not None:
            share_count = 0  # the first step has one text per thread
        if self._scorer.listwise:
            return count
        if self._scorer.is_remote:
            return min(count, DOCUMENTS_PER_SEARCH)
        return min(count, max(self._threads, share_count))

    def measured(self, step: ScoreStep, lengths: Sequence[float]) -> Generator[Step, Any, list[Scores] | None]:
        """Perform a step for texts of these lengths. Its result is None if the time was over before there were scores."""
        began = time.perf_counter()
        try:
            scored: list[Scores] = yield step._replace(deadline=self._deadline)
        except DeadlineExceeded:
            if self._deadline is None or time.perf_counter() < self._deadline - CLOCK_TOLERANCE:
                raise
            return None
        if not self._scorer.is_remote:  # the time of a request depends little on its length
            self._record_speed((time.perf_counter() - began) / max(self._thread_lengths(lengths)))
        parts = [Part((), scores, texts) for scores, texts in zip(scored, step.texts_per_query, strict=True)]
        tokens = sum(part.tokens for part in parts)
        self._tokens_left -= tokens
        self._searches_left -= sum(part.searches for part in parts)
        self._tokens_per_character = _averaged(self._tokens_per_character, tokens / sum(lengths))
        return scored

    def _record_speed(self, seconds_per_character: float) -> None:
        self._seconds_per_character = _averaged(self._seconds_per_character, seconds_per_character)
        if self._deadline is not None:
            _remember_speed(self._scorer, seconds_per_character)

    def _thread_lengths(self, lengths: Iterable[float]) -> Iterator[float]:
        """Yield, for each number of first texts, how many characters the busiest thread computes in a step with these."""
        longest = total = 0.0
        for length in lengths:
            longest = max(longest, length)
            total += length
            yield max(longest, total / self._threads)

    def _count_within_searches(self, texts: Sequence[str]) -> int:
        """Return for how many of the first texts the searches suffice that are left. A long text is billed as several."""
        if self._searches_left == math.inf:
            return len(texts)
        affordable = math.floor(self._searches_left) * DOCUMENTS_PER_SEARCH
        billed_counts = (max(1, math.ceil(len(text) / CHARACTERS_PER_SEARCH_DOCUMENT)) for text in texts)
        return _count_within(itertools.accumulate(billed_counts), affordable)


def _remember_speed(scorer: BaseScorer, seconds_per_character: float) -> None:
    """Remember a measured speed until the scorer is deleted. A scorer need not be hashable."""
    key = id(scorer)
    if key not in _slowest_speeds:
        weakref.finalize(scorer, _slowest_speeds.pop, key, None).atexit = False
    _slowest_speeds[key] = max(seconds_per_character, (1 - FORGOTTEN_SHARE) * _slowest_speeds.get(key, 0.0))


def _count_within(totals: Iterable[float], limit: float) -> int:
    """Return how many of the first totals, which increase, are at most `limit`."""
    return sum(1 for _ in itertools.takewhile(lambda total: total <= limit, totals))


def _averaged(before: float | None, last: float) -> float:
    return last if before is None else before + NEW_WEIGHT * (last - before)
