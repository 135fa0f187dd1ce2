"""Token pooling, compared with scipy's Ward clustering."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from lazy_modules import LazyModule
from podium.local.late.encoding import normalised
from podium.local.late.pooling import MAX_ROWS, cluster_numbers, pooled

hierarchy = LazyModule("scipy.cluster.hierarchy")


def random_rows(row_count, dimensions=16):
    return np.random.default_rng(row_count).standard_normal((row_count, dimensions)).astype(np.float32)


@pytest.mark.parametrize("row_count", [2, 3, 10, 83])
@pytest.mark.parametrize("factor", [2, 3])
def test_clusters_are_those_of_scipy(row_count, factor):
    """The clusters may have other numbers than scipy's, so the test compares which rows share a cluster."""
    rows = normalised(random_rows(row_count))
    cluster_count = max(row_count // factor, 1)
    distances = (1 - rows @ rows.T)[np.triu_indices(row_count, 1)]  # of each pair of rows, in the order that scipy reads
    expected = hierarchy.fcluster(hierarchy.linkage(distances, method="ward"), cluster_count, criterion="maxclust")
    labels = cluster_numbers(rows, cluster_count)
    assert ((labels[:, None] == labels) == (expected[:, None] == expected)).all()
    assert sorted(set(labels.tolist())) == list(range(cluster_count))


def test_pooled_row_is_the_normalised_mean_of_its_cluster():
    rows = normalised(random_rows(9))
    labels = cluster_numbers(rows, 4)
    for index, row in enumerate(pooled(rows, 2)):
        mean = rows[labels == index].mean(axis=0)
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-6)


def test_protected_rows_are_not_pooled():
    rows = normalised(random_rows(9))
    result = pooled(rows, 2, protected=2)
    assert len(result) == 2 + 7 // 2  # 7 of the 9 rows are not protected
    np.testing.assert_allclose(result[:2], rows[:2], atol=1e-6)


def test_long_text_is_pooled_in_parts_with_bounded_memory():
    """The distances between all of the text's rows would take 270 MB."""
    rows = random_rows(MAX_ROWS + 1000, 8)
    tracemalloc.start()
    result = pooled(rows, 3, protected=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150_000_000
    first, second = np.array_split(rows[1:], 2)
    np.testing.assert_array_equal(result[1:], np.concatenate([pooled(first, 3), pooled(second, 3)]))


@pytest.mark.parametrize("row_count", [0, 1])
def test_zero_rows_and_one_row_are_not_pooled(row_count):
    assert len(pooled(random_rows(row_count), 3)) == row_count
