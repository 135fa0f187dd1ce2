"""Limits of batch jobs with hosted models: requests and tokens per minute, and a maximum cost, shared by all workers.

Costs are estimates (see podium.prices).
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

from podium.compose.columns import call_totals
from podium.compose.wrapped import WrappedScorer
from podium.errors import Argument, ProviderError
from podium.hosted.scorer import HostedScorer
from podium.inputs import check_positive_number
from podium.prices import CHARACTERS_PER_TOKEN, Price, missing_price, search_count
from podium.ranking import Reranker
from podium.scorers import BaseScorer, as_scorer
from podium.types import Progress, Scorer, Scores

__all__ = ["LimitedScorer", "Limits", "Meter", "RequestMeter", "with_limits"]

CONCURRENT_CALLS = 8
SECONDS_PER_MINUTE = 60.0
MOST_TOKENS_PER_SEARCH_DOCUMENT = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a job with a hosted model, None for no limit. Raises InvalidInput.

    `max_cost` is the maximum cost of one run of the job, in US dollars.
    """

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


class _BudgetExceeded(ProviderError):
    """The next request could exceed the maximum cost."""


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


class Meter(Protocol):
    """Decides when requests may be sent, for all workers of a job together."""

    def reserve(self, cost: float, tokens: float) -> float:
        """Reserve the highest cost of a request, and return how many seconds to wait before it is sent.

        Raises ProviderError if the cost so far, the cost of requests that are running and this cost exceed the maximum.
        """
        ...

    def settle(self, reserved_cost: float, cost: float) -> None:
        """Replace the reserved cost of a request by its cost."""
        ...


class RequestMeter:
    """A Meter in this process. Safe for threads. `clock` returns the time in seconds."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._requests = _Rate(limits.requests_per_minute, clock())
        self._tokens = _Rate(limits.tokens_per_minute, clock())
        self._reserved_cost = 0.0  # of requests that are running
        self._cost = 0.0

    def cost(self) -> float | None:
        """Return the estimated cost of all requests in US dollars, None if the price is unknown."""
        return None if self._limits.price is None else self._cost

    def reserve(self, cost: float, tokens: float) -> float:
        with self._lock:
            self._check_budget(cost)
            self._reserved_cost += cost
            now = self._clock()
            # Rates are about what the provider counts, so tokens are estimated here, unlike for the highest cost.
            return max(self._requests.reserve(1, now), self._tokens.reserve(tokens, now))

    def settle(self, reserved_cost: float, cost: float) -> None:
        with self._lock:
            self._reserved_cost -= reserved_cost
            self._cost += cost

    def _check_budget(self, cost: float) -> None:
        maximum = self._limits.max_cost
        if maximum is not None and self._cost + self._reserved_cost + cost > maximum:
            raise _BudgetExceeded(
                f"the next request could exceed the maximum cost of {maximum:g} US dollars; about {self._cost:.2f} were spent. "
                "Complete parts remain; to continue, run the job again with ",
                Argument("max_cost"),
            )


class LimitedScorer(WrappedScorer):
    """A hosted scorer whose requests keep to the limits of a meter. `score_many` sends up to eight queries at once.

    Failed requests that are sent again count, too. For requests without a reply, a token per character is assumed, which is the
    most. `sleep` waits for a number of seconds.
    """

    def __init__(
        self,
        scorer: Scorer,
        meter: Meter,
        price: Price | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(scorer)
        self._meter = meter
        self._price = price
        self._sleep = sleep

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        ranges = self.scorer.request_ranges(query, texts) if isinstance(self.scorer, HostedScorer) else [range(len(texts))]
        if len(ranges) == 1:
            return self._score_request(query, texts)
        replies = [self._score_request(query, texts[indices.start : indices.stop]) for indices in ranges]
        return _joined(replies)

    def _score_request(self, query: str, texts: Sequence[str]) -> Scores:
        """Return the scores of texts that fit in one request."""
        characters = sum(len(query) + len(text) for text in texts)
        estimated_tokens = characters / CHARACTERS_PER_TOKEN
        highest_cost = self._estimated_cost(characters, search_count(texts, MOST_TOKENS_PER_SEARCH_DOCUMENT))
        seconds = self._meter.reserve(highest_cost, estimated_tokens)

        def before_retry() -> float:
            self._meter.settle(highest_cost, highest_cost)  # the provider may have billed the request that failed
            return self._meter.reserve(highest_cost, estimated_tokens)

        try:
            if seconds:
                self._sleep(seconds)
            if isinstance(self.scorer, HostedScorer):
                scores = self.scorer.score_with(query, texts, before_retry=before_retry)
            else:
                scores = self.scorer.score(query, texts)
        except _BudgetExceeded:  # raised by `before_retry`, after which no cost is reserved
            raise
        except BaseException:  # the provider may have billed it
            self._meter.settle(highest_cost, highest_cost)
            raise
        tokens = estimated_tokens if scores.total_tokens is None else scores.total_tokens
        searches = scores.billed.get("search_units", search_count(texts))
        self._meter.settle(highest_cost, self._estimated_cost(tokens, searches))
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
        return 0.0 if self._price is None else self._price.cost(tokens, searches)


def with_limits(reranker: Reranker, meter: Meter, price: Price | None) -> Reranker:
    """Return a reranker whose requests keep to the limits of a meter."""
    return reranker.with_scorer(_limited(as_scorer(reranker.scorer), meter, price))


def _limited(scorer: BaseScorer, meter: Meter, price: Price | None) -> BaseScorer:
    """Limit the hosted scorer. One around it, such as a cache, stays around it, so that only requests count."""
    if not isinstance(scorer, WrappedScorer):
        return LimitedScorer(scorer, meter, price)
    wrapped = copy.copy(scorer)
    wrapped.scorer = _limited(scorer.scorer, meter, price)
    return wrapped


def _joined(replies: Sequence[Scores]) -> Scores:
    """Return the scores of several requests as one."""
    values = [score for reply in replies for score in reply.values]
    return replace(Scores(values, **call_totals(replies)), notes=(f"sent as {len(replies)} requests",))
