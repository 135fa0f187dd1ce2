"""Token pooling, compared with scipy's Ward clustering."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage

from podium.local.late.encoding import normalised
from podium.local.late.pooling import MAX_ROWS, cluster_numbers, pooled


def random_rows(count, dimensions=16):
    return np.random.default_rng(count).standard_normal((count, dimensions)).astype(np.float32)


@pytest.mark.parametrize("count", [2, 3, 10, 83])
@pytest.mark.parametrize("factor", [2, 3])
def test_clusters_are_those_of_scipy(count, factor):
    rows = normalised(random_rows(count))
    number = max(count // factor, 1)
    condensed = (1 - rows @ rows.T)[np.triu_indices(count, 1)]
    expected = fcluster(linkage(condensed, method="ward"), number, criterion="maxclust")
    labels = cluster_numbers(rows, number)
    same = labels[:, None] == labels
    assert (same == (expected[:, None] == expected)).all()
    assert sorted(set(labels.tolist())) == list(range(number))


def test_pooled_row_is_the_normalised_mean_of_its_cluster():
    rows = normalised(random_rows(9))
    labels = cluster_numbers(rows, 4)
    for index, row in enumerate(pooled(rows, 2)):
        mean = rows[labels == index].mean(axis=0)
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-6)


def test_protected_rows_are_not_pooled():
    rows = normalised(random_rows(9))
    result = pooled(rows, 2, protected=2)
    assert len(result) == 2 + 7 // 2
    np.testing.assert_allclose(result[:2], rows[:2], atol=1e-6)


def test_long_text_is_pooled_in_parts_with_bounded_memory():
    """All distances of its rows would take 270 MB at once."""
    rows = random_rows(MAX_ROWS + 1000, 8)
    tracemalloc.start()
    result = pooled(rows, 3, protected=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150_000_000
    first, second = np.array_split(rows[1:], 2)
    np.testing.assert_array_equal(result[1:], np.concatenate([pooled(first, 3), pooled(second, 3)]))


@pytest.mark.parametrize("count", [0, 1])
def test_few_rows_are_not_pooled(count):
    assert len(pooled(random_rows(count), 3)) == count
