"""Whether a difference is more than chance, over paired queries: bootstrap intervals, a randomisation test, Holm's correction.

Smucker, Allan and Carterette (CIKM 2007) compare these tests on retrieval; Holm (1979) is the correction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Difference", "difference", "holm"]

RESAMPLES, PERMUTATIONS, SEED = 10_000, 10_000, 0
EXACT_BELOW = 13  # with fewer queries that differ, every combination of signs is computed
TOLERANCE = 1e-9  # smaller differences are ties


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean difference of two systems over the same queries, its 95 % interval, p, and the number of wins and losses."""

    mean: float
    low: float
    high: float
    p: float
    wins: int
    ties: int
    losses: int


def difference(system: Mapping[str, float], baseline: Mapping[str, float]) -> Difference:
    """Compare a metric's values by query, for the same queries. Seeds are fixed: equal input gives equal output."""
    gains = np.array([system[query] - baseline[query] for query in baseline], np.float64)
    low, high = interval(gains)
    wins, losses = int((gains > TOLERANCE).sum()), int((gains < -TOLERANCE).sum())
    return Difference(float(gains.mean()), low, high, randomisation(gains), wins, len(gains) - wins - losses, losses)


def interval(gains: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[float, float]:
    """Return the 2.5 and 97.5 percentiles of the mean over resamples of the queries (percentile bootstrap)."""
    generator = np.random.default_rng(SEED)
    means = np.empty(RESAMPLES)
    for index in range(RESAMPLES):  # one by one, because ten thousand resamples of thousands of queries do not fit in memory
        means[index] = gains[generator.integers(0, len(gains), len(gains))].mean()
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def randomisation(gains: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    """Return the two-sided p of Fisher's paired randomisation test: how often random signs give a mean as far from 0.

    It is exact for up to 12 queries that differ, else estimated from 10,000 draws and the observed signs.
    """
    differing = np.abs(gains[np.abs(gains) > TOLERANCE])
    if not len(differing):
        return 1.0
    observed = abs(gains.sum()) - TOLERANCE
    if len(differing) < EXACT_BELOW:
        signs = 1 - 2 * ((np.arange(2 ** len(differing))[:, None] >> np.arange(len(differing))) & 1)
        return float((np.abs(signs @ differing) >= observed).mean())
    generator = np.random.default_rng(SEED)
    extreme = 0
    for _ in range(PERMUTATIONS):
        extreme += abs((differing * generator.choice([-1.0, 1.0], len(differing))).sum()) >= observed
    return (extreme + 1) / (PERMUTATIONS + 1)


def holm(ps: Sequence[float]) -> list[float]:
    """Return p-values corrected for multiple comparisons, in the same order: step-down, monotonic, at most 1."""
    order = sorted(range(len(ps)), key=lambda index: ps[index])
    corrected = [0.0] * len(ps)
    previous = 0.0
    for step, index in enumerate(order):
        previous = max(previous, min(1.0, (len(ps) - step) * ps[index]))
        corrected[index] = previous
    return corrected
