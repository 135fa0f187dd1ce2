"""Test whether the difference of two systems over the same queries is more than chance.

There are bootstrap intervals, a randomisation test (both compared for retrieval by Smucker, Allan and Carterette, CIKM 2007),
and the correction for multiple comparisons by Holm (1979).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Difference", "difference", "holm"]

RESAMPLES = 10_000
PERMUTATIONS = 10_000
SEED = 0
EXACT_BELOW = 13  # if fewer queries differ, every combination of signs is computed
TOLERANCE = 1e-9  # two values that differ by less are a tie


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean difference of a system and a baseline over the same queries.

    `wins`, `ties` and `losses` are the numbers of queries for which the system is better than, equal to or worse than the
    baseline.
    """

    mean: float
    low: float  # the lower end of the 95 % interval of the mean
    high: float  # the upper end of this interval
    p: float  # the p-value of the randomisation test
    wins: int
    ties: int
    losses: int


def difference(system: Mapping[str, float], baseline: Mapping[str, float]) -> Difference:
    """Compare a system with a baseline. Both arguments map query ids to a metric's values. Equal input gives equal output."""
    gains = np.array([system[query_id] - baseline[query_id] for query_id in baseline], np.float64)
    low, high = bootstrap_interval(gains)
    wins = int((gains > TOLERANCE).sum())
    losses = int((gains < -TOLERANCE).sum())
    ties = len(gains) - wins - losses
    return Difference(float(gains.mean()), low, high, randomisation_p(gains), wins, ties, losses)


def bootstrap_interval(gains: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[float, float]:
    """Return the 95 % interval of the mean: its 2.5 and 97.5 percentiles over resamples (percentile bootstrap)."""
    generator = np.random.default_rng(SEED)
    means = np.empty(RESAMPLES)
    for index in range(RESAMPLES):  # in a loop, because 10,000 resamples of thousands of queries would take a gigabyte
        means[index] = gains[generator.integers(0, len(gains), len(gains))].mean()
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def randomisation_p(gains: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    """Return the two-sided p-value of Fisher's paired randomisation test.

    The p-value is the share of random signs for which the mean of the gains is at least as far from 0 as the observed mean. It
    is exact if at most 12 queries differ. Otherwise it is estimated from 10,000 random draws and the observed signs.
    """
    differing = np.abs(gains[np.abs(gains) > TOLERANCE])
    if not len(differing):
        return 1.0
    observed = abs(gains.sum()) - TOLERANCE
    if len(differing) < EXACT_BELOW:
        # The bits of the numbers from 0 to 2 ** n - 1 are all combinations of n signs.
        bits = (np.arange(2 ** len(differing))[:, None] >> np.arange(len(differing))) & 1
        signs = 1 - 2 * bits
        return float((np.abs(signs @ differing) >= observed).mean())
    generator = np.random.default_rng(SEED)
    extreme_count = 1  # the observed signs
    for _ in range(PERMUTATIONS):
        signs = generator.choice([-1.0, 1.0], len(differing))
        extreme_count += abs((differing * signs).sum()) >= observed
    return extreme_count / (PERMUTATIONS + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values in the same order, corrected for multiple comparisons by Holm's step-down method."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected = [0.0] * len(p_values)
    previous = 0.0
    for step, index in enumerate(order):
        previous = max(previous, min(1.0, (len(p_values) - step) * p_values[index]))
        corrected[index] = previous
    return corrected
