"""Limits of batch jobs with hosted models: requests and tokens per minute, and a maximum cost, shared by all threads.

Costs are estimates (see podium.prices).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from podium.compose.wrapped import WrappedScorer
from podium.errors import Argument, PodiumError
from podium.inputs import check_positive_number
from podium.prices import CHARACTERS_PER_TOKEN, Price, missing_price, search_count
from podium.types import Progress, Scorer, Scores

__all__ = ["LimitedScorer", "Limits"]

CONCURRENT_CALLS = 8
SECONDS_PER_MINUTE = 60.0
MOST_TOKENS_PER_SEARCH_DOCUMENT = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """None means no limit. `max_cost` is in US dollars, for one run of a job. Raises InvalidInput."""

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_cost: float | None = None
    price: Price | None = None

    def __post_init__(self) -> None:
        for name in ("requests_per_minute", "tokens_per_minute", "max_cost"):
            if (value := getattr(self, name)) is not None:
                check_positive_number(name, value)
        if self.max_cost is not None and self.price is None:
            raise missing_price()


class _Rate:
    """How much of something may be used per minute. What is not used in a minute is lost. Not safe for threads."""

    def __init__(self, per_minute: float | None, now: float) -> None:
        self._per_minute = per_minute
        self._available = per_minute or 0.0
        self._updated = now

    def reserve(self, amount: float, now: float) -> float:
        """Use an amount, and return how many seconds to wait before that."""
        if self._per_minute is None:
            return 0.0
        gained = (now - self._updated) * self._per_minute / SECONDS_PER_MINUTE
        self._available = min(self._per_minute, self._available + gained) - amount
        self._updated = now
        return max(0.0, -self._available * SECONDS_PER_MINUTE / self._per_minute)


class LimitedScorer(WrappedScorer):
    """A hosted scorer whose calls keep to limits. `score_many` sends up to eight queries at once.

    A call is made only if the cost so far, the cost of calls that are running and its own cost do not exceed the maximum. For
    calls that are not finished, a token per character is assumed, which is the most. `clock` and `sleep` are those of `time`.
    """

    def __init__(
        self,
        scorer: Scorer,
        limits: Limits,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(scorer)
        self._limits = limits
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._requests = _Rate(limits.requests_per_minute, clock())
        self._tokens = _Rate(limits.tokens_per_minute, clock())
        self._reserved_cost = 0.0  # of calls that are running
        self._cost = 0.0

    @property
    def cost(self) -> float | None:
        """The estimated cost of all calls in US dollars, None if the price is unknown."""
        return None if self._limits.price is None else self._cost

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        characters = sum(len(query) + len(text) for text in texts)
        most = self._estimated_cost(characters, search_count(texts, MOST_TOKENS_PER_SEARCH_DOCUMENT))
        with self._lock:
            self._check_budget(most)
            self._reserved_cost += most
            now = self._clock()
            # Rates are about what the provider counts, so tokens are estimated here, unlike for the most that a call can cost.
            seconds = max(self._requests.reserve(1, now), self._tokens.reserve(characters / CHARACTERS_PER_TOKEN, now))
        try:
            if seconds:
                self._sleep(seconds)
            scores = self.scorer.score(query, texts)
        except BaseException:  # the provider may have billed it
            with self._lock:
                self._reserved_cost -= most
                self._cost += most
            raise
        tokens = characters / CHARACTERS_PER_TOKEN if scores.total_tokens is None else scores.total_tokens
        searches = scores.billed.get("search_units", search_count(texts))
        with self._lock:
            self._reserved_cost -= most
            self._cost += self._estimated_cost(tokens, searches)
        return scores

    def score_many(
        self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]], *, progress: Progress | None = None
    ) -> list[Scores]:
        with ThreadPoolExecutor(CONCURRENT_CALLS) as pool:
            calls = [
                pool.submit(self.score, query, texts) if texts else None
                for query, texts in zip(queries, texts_per_query, strict=True)
            ]
            try:
                return [Scores(()) if call is None else call.result() for call in calls]
            finally:
                pool.shutdown(wait=True, cancel_futures=True)  # after an error, calls that wait are not made

    def _estimated_cost(self, tokens: float, searches: float) -> float:
        return 0.0 if self._limits.price is None else self._limits.price.cost(tokens, searches)

    def _check_budget(self, cost: float) -> None:
        maximum = self._limits.max_cost
        if maximum is not None and self._cost + self._reserved_cost + cost > maximum:
            raise PodiumError(
                f"the next request could exceed the maximum cost of {maximum:g} US dollars; about {self._cost:.2f} were spent. "
                "Complete parts remain; to continue, run the job again with ",
                Argument("max_cost"),
            )
