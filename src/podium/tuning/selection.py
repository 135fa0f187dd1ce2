"""Select a setting by the values of a metric, and estimate its gain on queries that were not used to select it.

A difference within noise selects nothing. The best setting is a candidate if it is better than the plain one by more than two
standard errors of their paired difference. Among settings that are within one standard error of the best one, the simplest is
the candidate (the rule of one standard error of Breiman et al., Classification and Regression Trees, 1984).

The gain is estimated by nested cross-validation: each fold of the queries is measured with the candidate of the other folds.
The candidate is selected only if the interval of this estimate is above 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from podium.evaluation.significance import Difference, difference

__all__ = ["Selection", "best_candidate", "folds_of", "selection"]

Values: TypeAlias = "np.ndarray[tuple[int, int], np.dtype[np.float64]]"
"""The value of a metric for each setting (row) and query (column)."""

MIN_GAIN_ERRORS = 2.0  # standard errors by which the best setting must be better than the plain one
SIMPLER_ERRORS = 1.0  # standard errors by which a simpler setting may be worse than the best one
SEED = 0


@dataclass(frozen=True, slots=True)
class Selection:
    """The selected setting, and how well selecting works on these queries.

    - `candidate`: the setting that is best on all queries. 0 is the plain one, also if the difference is within noise.
    - `gain`: the gain over the plain setting on queries that were not used to select, by nested cross-validation.
    - `fold_indices`: the candidate of the other folds, for each fold.
    """

    candidate: int
    gain: Difference
    fold_indices: tuple[int, ...]

    @property
    def index(self) -> int:
        """The selected setting: the candidate if its gain is more than noise, else the plain one."""
        return self.candidate if self.gain.low > 0 else 0


def selection(values: Values, simplicity: Callable[[int], Any], folds: Sequence[Sequence[int]]) -> Selection:
    """Return the selection by the values of all queries. `folds` are the columns of each fold."""
    gains: dict[str, float] = {}
    plain: dict[str, float] = {}
    fold_indices = []
    for fold in folds:
        others = np.setdiff1d(np.arange(values.shape[1]), fold)
        index = best_candidate(values[:, others], simplicity)
        fold_indices.append(index)
        for column in fold:
            gains[str(column)] = float(values[index, column])
            plain[str(column)] = float(values[0, column])
    return Selection(best_candidate(values, simplicity), difference(gains, plain), tuple(fold_indices))


def best_candidate(values: Values, simplicity: Callable[[int], Any]) -> int:
    """Return the index of the candidate among settings with these values. Index 0 is the plain one.

    `simplicity` returns a sort key for an index.
    """
    best = int(values.mean(axis=1).argmax())  # the first one if several are equal
    if not _exceeds(values[best], values[0], MIN_GAIN_ERRORS):
        return 0
    close = [index for index in range(len(values)) if not _exceeds(values[best], values[index], SIMPLER_ERRORS)]
    # A simpler setting must also be better than the plain one by more than noise.
    better = [index for index in close if _exceeds(values[index], values[0], MIN_GAIN_ERRORS)]
    return min(better, key=lambda index: (simplicity(index), index))


def folds_of(query_count: int, fold_count: int) -> list[list[int]]:
    """Return random folds of the queries' indices. Their sizes differ by at most one. They are the same in every call."""
    order = np.random.default_rng(SEED).permutation(query_count)
    return [sorted(map(int, part)) for part in np.array_split(order, min(fold_count, query_count))]


def _exceeds(high: Any, low: Any, errors: float) -> bool:
    """Whether the mean of `high` is above that of `low` by more than so many standard errors of the paired difference."""
    gains = high - low
    if len(gains) < 2:
        return False
    return bool(gains.mean() > errors * gains.std(ddof=1) / np.sqrt(len(gains)))
