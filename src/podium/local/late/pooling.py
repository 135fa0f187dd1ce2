"""Token pooling: similar token vectors of a text become one (Clavié et al. 2024, arXiv 2409.14683)."""

from __future__ import annotations

import math

import numpy as np

from podium.local.files.checkpoint import Array
from podium.local.late.encoding import normalised

__all__ = ["MAX_ROWS", "cluster_numbers", "pooled"]

MAX_ROWS = 4096  # Clustering this many rows takes 200 MB and one or two seconds; both grow with the square of the rows.


def pooled(rows: Array, factor: int, *, protected: int = 0) -> Array:
    """Return the rows reduced to about 1 / `factor` of their number: normalised means of clusters of similar rows.

    The clusters are in the order of their first rows. The first `protected` rows are only normalised.

    The clusters are those of sentence-transformers 6.2, except for their order and for texts of more than MAX_ROWS rows:
    here, equal parts of such a text are clustered one by one.
    """
    rows = normalised(rows)
    unprotected = rows[protected:]
    part_count = max(math.ceil(len(unprotected) / MAX_ROWS), 1)  # array_split needs a part even if there are no rows
    parts = np.array_split(unprotected, part_count)
    return np.concatenate([rows[:protected], *(_cluster_means(part, factor) for part in parts)])


def _cluster_means(rows: Array, factor: int) -> Array:
    """Return the normalised mean of each cluster of normalised rows, or the rows if there are no more rows than clusters."""
    cluster_count = max(len(rows) // factor, 1)
    if len(rows) <= cluster_count:
        return rows
    sums = np.zeros((cluster_count, rows.shape[1]), np.float32)
    np.add.at(sums, cluster_numbers(rows, cluster_count), rows)
    return normalised(sums)  # A normalised sum equals the normalised mean.


def cluster_numbers(rows: Array, count: int) -> Array:
    """Return the number of each row's cluster, from 0 in the order of the clusters' first rows; there are `count` clusters.

    This is Ward's method on the cosine distances of normalised rows. Each step merges the two nearest clusters, and updates
    the distances by the formula of Lance and Williams, as scipy.cluster.hierarchy.linkage does. Merging two clusters never
    brings them closer to a third one. So a cluster's nearest cluster changes only if it was one of the merged two.
    """
    # Squared cosine distances between the clusters. A cluster has the row and column of its first row; the rest is infinite.
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
        nearest[first] = second  # so that `changed` contains `first`
        nearest[second] = -1
        nearest_distances[second] = np.inf
        changed = np.flatnonzero((nearest == first) | (nearest == second))
        nearest[changed] = distances[changed].argmin(axis=1)
        nearest_distances[changed] = distances[changed, nearest[changed]]
    numbers: Array = np.unique(labels, return_inverse=True)[1]
    return numbers
