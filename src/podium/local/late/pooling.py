"""Token pooling: similar token vectors of a text become one (Clavié et al. 2024, arXiv 2409.14683)."""

from __future__ import annotations

import math

import numpy as np

from podium.local.files.checkpoint import Array
from podium.local.late.encoding import normalised

__all__ = ["MAX_ROWS", "clusters", "pooled"]

MAX_ROWS = 4096  # clustered at once, which takes 200 MB and one or two seconds; both grow with the square of the rows


def pooled(rows: Array, factor: int, *, protected: int = 0) -> Array:
    """Return about a `factor`-th of the rows: means of clusters of similar rows, in the order of their first rows.

    The first `protected` rows are returned as they are. As sentence-transformers 6.2 does, whose clusters have another order,
    and which also clusters more than MAX_ROWS rows at once. Here equal parts of a longer text are pooled one by one.
    """
    rows = normalised(rows)
    others = rows[protected:]
    parts = np.array_split(others, max(math.ceil(len(others) / MAX_ROWS), 1))
    return np.concatenate([rows[:protected], *(_cluster_means(part, factor) for part in parts)])


def _cluster_means(rows: Array, factor: int) -> Array:
    count = max(len(rows) // factor, 1)
    if len(rows) <= count:
        return rows
    sums = np.zeros((count, rows.shape[1]), np.float32)
    np.add.at(sums, clusters(rows, count), rows)
    return normalised(sums)


def clusters(rows: Array, count: int) -> Array:
    """Return the cluster of each row, numbered by first rows: Ward's method on cosine distances, until `count` are left.

    The update of the distances is that of Lance and Williams, as in scipy.cluster.hierarchy.linkage. Merging two clusters
    never brings them closer to a third, so a cluster's nearest one changes only if it was one of the two.
    """
    distances = (rows @ rows.T).astype(np.float64)
    np.square(np.subtract(1, distances, out=distances), out=distances)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.argmin(axis=1)
    nearest_distances = distances.min(axis=1)
    sizes = np.ones(len(rows))
    labels = np.arange(len(rows))
    for _ in range(len(rows) - count):
        closest = int(nearest_distances.argmin())
        first, second = sorted((closest, int(nearest[closest])))
        merged = (sizes[first] + sizes) * distances[first] + (sizes[second] + sizes) * distances[second]
        merged = (merged - sizes * distances[first, second]) / (sizes[first] + sizes[second] + sizes)
        merged[[first, second]] = np.inf
        distances[first] = distances[:, first] = merged
        distances[second] = distances[:, second] = np.inf
        sizes[first] += sizes[second]
        labels[labels == second] = first
        nearest[first], nearest[second], nearest_distances[second] = second, -1, np.inf
        changed = np.flatnonzero((nearest == first) | (nearest == second))
        nearest[changed] = distances[changed].argmin(axis=1)
        nearest_distances[changed] = distances[changed, nearest[changed]]
    numbers: Array = np.unique(labels, return_inverse=True)[1]
    return numbers
