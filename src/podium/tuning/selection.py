"""Select a setting by the values of a metric, and estimate its gain on queries that were not used to select it.

The settings are compared with the first one, the plain reranker. A difference within noise selects nothing: the best setting
must be better than the plain one by more than two standard errors of their paired difference. Among the settings that are
within one standard error of the best one, the simplest is preferred (the rule of one standard error of Breiman et al.,
Classification and Regression Trees, 1984).

The gain is estimated by nested cross-validation: each fold of the queries is measured with the setting that is preferred on
the other folds. The preferred setting is selected only if the interval of this estimate is above 0.
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

MIN_GAIN_ERRORS = 2.0  # standard errors by which the best setting must be better than the plain one
SIMPLER_ERRORS = 1.0  # standard errors by which a simpler setting may be worse than the best one
SEED = 0


@dataclass(frozen=True, slots=True)
class Selection:
    """The indices of the preferred settings, and how well selecting works on these queries.

    - `preferred_index`: the setting that is preferred on all queries, 0 for the plain one.
    - `gain`: the gain over the plain setting on queries that were not used to select, by nested cross-validation.
    - `fold_indices`: for each fold, the setting that is preferred on the other folds.
    """

    preferred_index: int
    gain: Difference
    fold_indices: tuple[int, ...]

    @property
    def selected_index(self) -> int:
        """The preferred setting if the estimate of its gain is more than noise, else the plain one."""
        return self.preferred_index if self.gain.low > 0 else 0


def selection(values: Values, simplicity: Callable[[int], Any], folds: Sequence[Sequence[int]]) -> Selection:
    """Return the selection by the values of all queries. `folds` are the columns of each fold."""
    preferred: dict[str, float] = {}
    plain: dict[str, float] = {}
    fold_indices = []
    for fold in folds:
        other_columns = np.setdiff1d(np.arange(values.shape[1]), fold)
        index = preferred_index(values[:, other_columns], simplicity)
        fold_indices.append(index)
        for column in fold:
            preferred[str(column)] = float(values[index, column])
            plain[str(column)] = float(values[0, column])
    return Selection(preferred_index(values, simplicity), difference(preferred, plain), tuple(fold_indices))


def preferred_index(values: Values, simplicity: Callable[[int], Any]) -> int:
    """Return the index of the preferred setting among those with these values, 0 for the plain one.

    `simplicity` returns a sort key for the setting of an index. The simplest setting has the lowest key.
    """
    best = int(values.mean(axis=1).argmax())  # the first one if several are equal
    if not _exceeds(values[best], values[0], MIN_GAIN_ERRORS):
        return 0
    close_to_best = [index for index in range(len(values)) if not _exceeds(values[best], values[index], SIMPLER_ERRORS)]
    # The simplest setting must also be better than the plain one by more than noise.
    better_than_plain = [index for index in close_to_best if _exceeds(values[index], values[0], MIN_GAIN_ERRORS)]
    return min(better_than_plain, key=lambda index: (simplicity(index), index))


def folds_of(query_count: int, fold_count: int) -> list[list[int]]:
    """Return random folds of the queries' indices. Their sizes differ by at most one. They are the same in every call."""
    order = np.random.default_rng(SEED).permutation(query_count)
    return [sorted(map(int, part)) for part in np.array_split(order, min(fold_count, query_count))]


def _exceeds(high: Row, low: Row, errors: float) -> bool:
    """Whether the mean of `high` is above that of `low` by more than `errors` standard errors of their paired difference.

    Both are the values of one setting for the same queries.
    """
    gains = high - low
    if len(gains) < 2:
        return False
    return bool(gains.mean() > errors * gains.std(ddof=1) / np.sqrt(len(gains)))
