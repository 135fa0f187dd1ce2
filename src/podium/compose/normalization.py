"""Numbers on different scales, made comparable: min-max, z-scores and reciprocal ranks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

__all__ = ["NORMALIZATIONS", "RRF_CONSTANT", "Method", "min_max", "reciprocal_ranks", "z_scores"]

Method = Literal["min-max", "z-score", "reciprocal-rank"]
RRF_CONSTANT = 60  # the value in the paper that `reciprocal_ranks` names


def min_max(numbers: Sequence[float]) -> list[float]:
    """Return the numbers scaled to the range from 0 to 1, or 0.5 for each if they are equal.

    >>> min_max([3.0, 1.0, 2.0])
    [1.0, 0.0, 0.5]
    """
    if not numbers:
        return []
    lowest, highest = min(numbers), max(numbers)
    if lowest == highest:
        return [0.5] * len(numbers)
    span = highest / 2 - lowest / 2  # halves, because the difference of two large floats may be infinite
    return [(number / 2 - lowest / 2) / span for number in numbers]


def z_scores(numbers: Sequence[float]) -> list[float]:
    """Return how many standard deviations each number is above the mean, 0 for each if they are equal.

    >>> z_scores([3.0, 1.0])
    [1.0, -1.0]
    """
    if not numbers:
        return []
    scaled = min_max(numbers)  # the same z-scores, without overflow
    mean = math.fsum(scaled) / len(scaled)
    deviation = math.sqrt(math.fsum((number - mean) ** 2 for number in scaled) / len(scaled))
    return [(number - mean) / deviation if deviation else 0.0 for number in scaled]


def reciprocal_ranks(numbers: Sequence[float]) -> list[float]:
    """Return 1 / (60 + rank) for each number (Cormack, Clarke and Büttcher, SIGIR 2009). Equal numbers are ranked in order.

    >>> [round(1 / share) for share in reciprocal_ranks([3.0, 1.0, 2.0])]
    [61, 63, 62]
    """
    ranked = sorted(range(len(numbers)), key=numbers.__getitem__, reverse=True)
    shares = [0.0] * len(numbers)
    for rank, position in enumerate(ranked, start=1):
        shares[position] = 1 / (RRF_CONSTANT + rank)
    return shares


NORMALIZATIONS: Mapping[str, Callable[[Sequence[float]], list[float]]] = dict(
    zip(get_args(Method), (min_max, z_scores, reciprocal_ranks), strict=True)
)
"""Method → the function for the scores of a ranking."""
