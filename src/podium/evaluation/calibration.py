"""Fitting scores to judgments, as probabilities (Platt scaling, isotonic regression), and measures of calibration.

Platt (1999) with the targets and the Newton steps of Lin, Lin and Weng (2007); pool adjacent violators for isotonic regression;
expected calibration error over ten bins of equal width (Naeini and others, 2015); Brier (1950).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from podium.errors import InvalidInput

__all__ = ["brier", "expected_calibration_error", "isotonic", "platt", "reliability"]

BINS, MAX_STEPS = 10, 100


def platt(scores: Sequence[float], relevant: Sequence[bool]) -> tuple[float, float]:
    """Return slope and offset of the logistic curve. Raises InvalidInput unless relevant documents score higher than others."""
    x, labels = _checked(scores, relevant)
    center, scale = x.mean(), x.std() or 1.0
    positives, negatives = labels.sum(), (~labels).sum()
    # Targets between 0 and 1, so that scores which separate the documents perfectly do not give an infinite slope.
    target = np.where(labels, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    slope, offset = _logistic_fit((x - center) / scale, target, float(np.log((positives + 1) / (negatives + 1))))
    if slope <= 0:
        raise InvalidInput("relevant documents do not score higher than the others, so these scores cannot be calibrated")
    return float(slope / scale), float(offset - slope * center / scale)


def isotonic(scores: Sequence[float], relevant: Sequence[bool]) -> tuple[tuple[float, float], ...]:
    """Return the points of the closest non-decreasing function, as (score, probability), by strictly increasing score."""
    x, labels = _checked(scores, relevant)
    values, value_indices = np.unique(x, return_inverse=True)
    counts = np.bincount(value_indices).astype(np.float64)
    means = np.bincount(value_indices, weights=labels) / counts
    blocks: list[list[float]] = []  # mean, weight, first score, last score
    for value, mean, count in zip(values, means, counts, strict=True):
        blocks.append([mean, count, value, value])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            mean, count, _, last = blocks.pop()
            left_mean, left_count, left_first, _ = blocks[-1]
            total = left_count + count
            blocks[-1] = [(left_mean * left_count + mean * count) / total, total, left_first, last]
    points = [(first, mean) for mean, _, first, _ in blocks] + [(last, mean) for mean, _, first, last in blocks if last > first]
    return tuple(sorted((float(score), float(mean)) for score, mean in points))


def brier(probabilities: Sequence[float], relevant: Sequence[bool]) -> float:
    """Return the mean squared difference between probability and outcome: 0 is perfect."""
    return float(np.mean((np.asarray(probabilities, np.float64) - np.asarray(relevant, np.float64)) ** 2))


def expected_calibration_error(probabilities: Sequence[float], relevant: Sequence[bool]) -> float:
    """Return the mean difference between a bin's mean probability and its share of relevant documents, weighted by size."""
    errors = (abs(mean - share) * count for mean, share, count in reliability(probabilities, relevant))
    return sum(errors) / len(probabilities)


def reliability(scores: Sequence[float], relevant: Sequence[bool]) -> list[tuple[float, float, int]]:
    """Return (mean score, share of relevant documents, count) for each tenth of the range from 0 to 1 that has scores."""
    values, labels = np.asarray(scores, np.float64), np.asarray(relevant, np.float64)
    bins = np.minimum((values * BINS).astype(int), BINS - 1)
    masks = (bins == index for index in np.unique(bins))
    return [(float(values[mask].mean()), float(labels[mask].mean()), int(mask.sum())) for mask in masks]


def _logistic_fit(x: np.ndarray, target: np.ndarray, offset: float) -> tuple[float, float]:
    """Return slope and offset that minimise the cross-entropy with `target`, by Newton's method with step halving."""
    slope = 0.0
    loss = _loss(slope * x + offset, target)
    for _ in range(MAX_STEPS):
        p = 1 / (1 + np.exp(-np.clip(slope * x + offset, -500, 500)))
        gradient = np.array([((p - target) * x).sum(), (p - target).sum()])
        weight = np.maximum(p * (1 - p), 1e-12)
        curvature = np.array([[(weight * x * x).sum(), (weight * x).sum()], [(weight * x).sum(), weight.sum()]])
        step = np.linalg.solve(curvature + 1e-9 * np.eye(2), gradient)
        size = 1.0
        while size > 1e-10 and _loss((slope - size * step[0]) * x + offset - size * step[1], target) > loss:
            size /= 2
        slope, offset = slope - size * step[0], offset - size * step[1]
        previous, loss = loss, _loss(slope * x + offset, target)
        if previous - loss < 1e-12 * max(1.0, previous):
            break
    return slope, offset


def _loss(logits: np.ndarray, target: np.ndarray) -> float:
    return float((np.logaddexp(0, logits) - target * logits).sum())


def _checked(scores: Sequence[float], relevant: Sequence[bool]) -> tuple[np.ndarray, np.ndarray]:
    x, labels = np.asarray(scores, np.float64), np.asarray(relevant, bool)
    if not labels.any() or labels.all():
        raise InvalidInput("a calibration needs documents of both kinds, relevant and not relevant; judge more documents")
    return x, labels
