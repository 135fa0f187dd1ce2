"""Is a difference more than luck? Over queries, paired: bootstrap intervals, a randomisation test, Holm's correction.

Smucker, Allan and Carterette (CIKM 2007) compare these tests on retrieval; Holm (1979) is the correction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Difference", "difference", "holm"]

RESAMPLES, PERMUTATIONS, SEED = 10_000, 10_000, 0
EXACT_BELOW = 13  # queries that differ: up to here every change of signs can be tried
SAME = 1e-9  # what counts as a tie


@dataclass(frozen=True, slots=True)
class Difference:
    """Of two systems over the same queries: the mean difference, its 95 % interval, p, and who won how often."""

    mean: float
    low: float
    high: float
    p: float
    wins: int
    ties: int
    losses: int


def difference(system: Mapping[str, float], baseline: Mapping[str, float]) -> Difference:
    """Compare a metric's values by query. Both must have the same queries. The same numbers give the same answer."""
    gains = np.array([system[query] - baseline[query] for query in baseline], np.float64)
    low, high = interval(gains)
    wins, losses = int((gains > SAME).sum()), int((gains < -SAME).sum())
    return Difference(float(gains.mean()), low, high, randomisation(gains), wins, len(gains) - wins - losses, losses)


def interval(gains: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[float, float]:
    """Return the 2.5 and 97.5 percentiles of the mean over queries drawn again with replacement."""
    draws = np.random.default_rng(SEED)
    means = np.empty(RESAMPLES)
    for at in range(RESAMPLES):  # one by one: ten thousand times thousands of queries don't fit
        means[at] = gains[draws.integers(0, len(gains), len(gains))].mean()
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def randomisation(gains: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    """Return the two-sided p of Fisher's paired randomisation test: how often chance signs give a mean as far from 0.

    Exact for up to 12 queries that differ, else by 10,000 draws, of which what was seen counts as one.
    """
    differing = np.abs(gains[np.abs(gains) > SAME])
    if not len(differing):
        return 1.0
    seen = abs(gains.sum()) - SAME
    if len(differing) < EXACT_BELOW:
        signs = 1 - 2 * ((np.arange(2 ** len(differing))[:, None] >> np.arange(len(differing))) & 1)
        return float((np.abs(signs @ differing) >= seen).mean())
    draws = np.random.default_rng(SEED)
    extreme = 0
    for _ in range(PERMUTATIONS):
        extreme += abs((differing * draws.choice([-1.0, 1.0], len(differing))).sum()) >= seen
    return (extreme + 1) / (PERMUTATIONS + 1)


def holm(ps: Sequence[float]) -> list[float]:
    """Return p-values corrected for being several, in the same order: step-down, never falling, at most 1."""
    order = sorted(range(len(ps)), key=lambda at: ps[at])
    corrected, floor = [0.0] * len(ps), 0.0
    for step, at in enumerate(order):
        floor = max(floor, min(1.0, (len(ps) - step) * ps[at]))
        corrected[at] = floor
    return corrected
