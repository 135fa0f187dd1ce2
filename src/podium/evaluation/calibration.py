"""From judged scores to probabilities: Platt scaling, isotonic regression, and how far a probability can be believed.

Platt (1999) with the targets and the Newton steps of Lin, Lin and Weng (2007); pool-adjacent-violators for the isotonic one;
expected calibration error over ten bins of equal width (Naeini and others, 2015); Brier (1950).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from podium.errors import InvalidInput

__all__ = ["brier", "expected_calibration_error", "isotonic", "platt"]

BINS, STEPS = 10, 100


def platt(scores: Sequence[float], relevant: Sequence[bool]) -> tuple[float, float]:
    """Return slope and offset of the logistic curve. Raises InvalidInput where relevant documents don't score higher."""
    x, hits = _checked(scores, relevant)
    middle, scale = x.mean(), x.std() or 1.0
    z = (x - middle) / scale
    positives, negatives = hits.sum(), (~hits).sum()
    # Targets short of 0 and 1: the curve of separable scores would become a step.
    target = np.where(hits, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    slope, offset = 0.0, float(np.log((positives + 1) / (negatives + 1)))
    loss = _loss(slope * z + offset, target)
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-np.clip(slope * z + offset, -500, 500)))
        gradient = np.array([((p - target) * z).sum(), (p - target).sum()])
        weight = np.maximum(p * (1 - p), 1e-12)
        curvature = np.array([[(weight * z * z).sum(), (weight * z).sum()], [(weight * z).sum(), weight.sum()]])
        step = np.linalg.solve(curvature + 1e-9 * np.eye(2), gradient)
        size = 1.0
        while size > 1e-10 and _loss((slope - size * step[0]) * z + offset - size * step[1], target) > loss:
            size /= 2
        slope, offset = slope - size * step[0], offset - size * step[1]
        before, loss = loss, _loss(slope * z + offset, target)
        if before - loss < 1e-12 * max(1.0, before):
            break
    if slope <= 0:
        raise InvalidInput("relevant documents do not score higher than others here; no calibration can mend that")
    return float(slope / scale), float(offset - slope * middle / scale)


def isotonic(scores: Sequence[float], relevant: Sequence[bool]) -> tuple[tuple[float, float], ...]:
    """Return the points of the rising line that lies nearest, as (score, probability), scores rising strictly."""
    x, hits = _checked(scores, relevant)
    values, places = np.unique(x, return_inverse=True)
    counts = np.bincount(places).astype(np.float64)
    means = np.bincount(places, weights=hits) / counts
    blocks: list[list[float]] = []  # mean, weight, first, last
    for value, mean, count in zip(values, means, counts, strict=True):
        blocks.append([mean, count, value, value])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            mean, count, _, last = blocks.pop()
            before = blocks[-1]
            blocks[-1] = [(before[0] * before[1] + mean * count) / (before[1] + count), before[1] + count, before[2], last]
    points = [(first, mean) for mean, _, first, _ in blocks] + [(last, mean) for mean, _, first, last in blocks if last > first]
    return tuple(sorted((float(score), float(mean)) for score, mean in points))


def brier(probabilities: Sequence[float], relevant: Sequence[bool]) -> float:
    """Return the mean squared distance to what came true: 0 is perfect."""
    return float(np.mean((np.asarray(probabilities, np.float64) - np.asarray(relevant, np.float64)) ** 2))


def expected_calibration_error(probabilities: Sequence[float], relevant: Sequence[bool]) -> float:
    """Return how far, on average over documents, a tenth's mean probability lies from the share that was relevant."""
    p, hits = np.asarray(probabilities, np.float64), np.asarray(relevant, np.float64)
    places = np.minimum((p * BINS).astype(int), BINS - 1)
    return float(sum(abs(p[places == at].sum() - hits[places == at].sum()) for at in range(BINS)) / len(p))


def _checked(scores: Sequence[float], relevant: Sequence[bool]) -> tuple[np.ndarray, np.ndarray]:
    x, hits = np.asarray(scores, np.float64), np.asarray(relevant, bool)
    if not hits.any() or hits.all():
        raise InvalidInput("a calibration needs judged documents of both kinds, relevant ones and others")
    return x, hits


def _loss(logits: np.ndarray, target: np.ndarray) -> float:
    return float((np.logaddexp(0, logits) - target * logits).sum())
