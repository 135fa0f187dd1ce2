"""Select one of several settings by the values of a metric. The first one is the plain reranker.

First, one setting is preferred, by its values. If the best setting is not better than the plain one by more than two standard
errors of their paired difference, this is the plain one. Otherwise it is the simplest of the settings that are within one
standard error of the best one, and above the plain one by more than two. (Breiman et al., Classification and Regression Trees,
1984, have this rule with the standard error of the best one's mean.)

Then the gain of preferring a setting in this way is estimated by nested cross-validation: each fold of the queries is measured
with the setting that is preferred on the other folds. The preferred setting is selected only if the interval of this estimate
is above 0, else the plain one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from podium.evaluation.significance import Difference, difference

__all__ = ["Selection", "folds_of", "preferred_index", "selection"]

Values: TypeAlias = "np.ndarray[tuple[int, int], np.dtype[np.float64]]"
"""The value of a metric for each setting (row) and query (column)."""

Row: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.float64]]"

MIN_GAIN = 2.0  # by how many standard errors a setting must be better than the plain one
MAX_LOSS = 1.0  # by how many standard errors a simpler setting may be worse than the best one
SEED = 0


@dataclass(frozen=True, slots=True)
class Selection:
    """The preferred setting, and the estimated gain of preferring a setting. Settings are indices, 0 for the plain one.

    - `preferred_index`: the setting that is preferred on all queries.
    - `gain`: the gain over the plain setting on queries that did not decide which one is preferred.
    - `fold_indices`: for each fold, the setting that is preferred on the other folds.
    """

    preferred_index: int
    gain: Difference
    fold_indices: tuple[int, ...]

    @property
    def selected_index(self) -> int:
        """The preferred setting if the interval of the gain is above 0, else the plain one."""
        return self.preferred_index if self.gain.low > 0 else 0


def selection(values: Values, complexity: Callable[[int], Any], folds: Sequence[Sequence[int]]) -> Selection:
    """Return the selection for these values. `folds` has the columns of each fold. `complexity` is as in `preferred_index`."""
    held_out_values: dict[str, float] = {}  # by query, which is a column: of the setting that is preferred on the other folds
    plain_values: dict[str, float] = {}
    fold_indices = []
    for fold in folds:
        other_columns = np.setdiff1d(np.arange(values.shape[1]), fold)
        index = preferred_index(values[:, other_columns], complexity)
        fold_indices.append(index)
        for column in fold:
            held_out_values[str(column)] = float(values[index, column])
            plain_values[str(column)] = float(values[0, column])
    return Selection(preferred_index(values, complexity), difference(held_out_values, plain_values), tuple(fold_indices))


def preferred_index(values: Values, complexity: Callable[[int], Any]) -> int:
    """Return the index of the preferred setting among those with these values, 0 for the plain one.

    `complexity` returns a sort key for the setting of an index. The simplest setting has the lowest key.
    """
    best = int(values.mean(axis=1).argmax())  # the first one if several are equal
    if not _exceeds(values[best], values[0], MIN_GAIN):
        return 0
    close_to_best = [index for index in range(len(values)) if not _exceeds(values[best], values[index], MAX_LOSS)]
    allowed = [index for index in close_to_best if _exceeds(values[index], values[0], MIN_GAIN)]  # `best` is always in it
    return min(allowed, key=complexity)


def folds_of(query_count: int, fold_count: int) -> list[list[int]]:
    """Return random folds of the queries' indices, the same in every call. The sizes of folds differ by at most one.

    If there are fewer queries than folds, each query is a fold.
    """
    order = np.random.default_rng(SEED).permutation(query_count)
    return [sorted(map(int, part)) for part in np.array_split(order, min(fold_count, query_count))]


def _exceeds(first: Row, second: Row, standard_errors: float) -> bool:
    """Whether the mean of `first` is above that of `second` by more than so many standard errors of their paired difference.

    Each has the values of a setting, for the same queries in the same order.
    """
    gains = first - second
    if len(gains) < 2:
        return False
    return bool(gains.mean() > standard_errors * gains.std(ddof=1) / np.sqrt(len(gains)))
