"""Convert scores to probabilities, fitted to judgments by Platt scaling or isotonic regression, and measure calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from podium.errors import InvalidInput

__all__ = ["brier", "expected_calibration_error", "isotonic", "platt", "reliability"]

BINS = 10  # of equal width
MAX_NEWTON_STEPS = 100


class Block(NamedTuple):
    """Neighbouring scores that isotonic regression maps to the same probability, `mean`."""

    mean: float
    weight: float
    first_score: float
    last_score: float


def platt(scores: Sequence[float], relevant: Sequence[bool]) -> tuple[float, float]:
    """Return slope and offset of the logistic curve from score to probability (Platt 1999; Lin, Lin and Weng 2007).

    Raises InvalidInput unless relevant documents score higher than others.
    """
    score_array, relevant_array = _checked_arrays(scores, relevant)
    center, scale = score_array.mean(), score_array.std() or 1.0
    positive_count, negative_count = relevant_array.sum(), (~relevant_array).sum()
    # Targets between 0 and 1, so that scores which separate the documents perfectly do not give an infinite slope.
    targets = np.where(relevant_array, (positive_count + 1) / (positive_count + 2), 1 / (negative_count + 2))
    prior_log_odds = float(np.log((positive_count + 1) / (negative_count + 1)))
    slope, offset = _logistic_fit((score_array - center) / scale, targets, prior_log_odds)
    if slope <= 0:
        raise InvalidInput(
            "in the half of the judgments that the curve is fitted to, relevant documents do not score higher than the others; "
            "judge more documents, or use another model"
        )
    return float(slope / scale), float(offset - slope * center / scale)


def isotonic(scores: Sequence[float], relevant: Sequence[bool]) -> tuple[tuple[float, float], ...]:
    """Return (score, probability) points of the closest non-decreasing function, by score (pool adjacent violators)."""
    score_array, relevant_array = _checked_arrays(scores, relevant)
    distinct_scores, indices = np.unique(score_array, return_inverse=True)
    counts = np.bincount(indices).astype(np.float64)
    means = np.bincount(indices, weights=relevant_array) / counts
    blocks: list[Block] = []
    for block in map(Block, means, counts, distinct_scores, distinct_scores):
        while blocks and blocks[-1].mean >= block.mean:
            left = blocks.pop()
            weight = left.weight + block.weight
            mean = (left.mean * left.weight + block.mean * block.weight) / weight
            block = Block(mean, weight, left.first_score, block.last_score)
        blocks.append(block)
    points = {(float(score), float(block.mean)) for block in blocks for score in (block.first_score, block.last_score)}
    return tuple(sorted(points))


def brier(probabilities: Sequence[float], relevant: Sequence[bool]) -> float:
    """Return the mean squared difference between probability and outcome, 0 if perfect (Brier 1950)."""
    return float(np.mean((np.asarray(probabilities, np.float64) - np.asarray(relevant, np.float64)) ** 2))


def expected_calibration_error(probabilities: Sequence[float], relevant: Sequence[bool]) -> float:
    """Return the mean of |probability - share of relevant documents| over bins, weighted by size (Naeini and others, 2015)."""
    errors = (abs(mean - share) * count for mean, share, count in reliability(probabilities, relevant))
    return sum(errors) / len(probabilities)


def reliability(probabilities: Sequence[float], relevant: Sequence[bool]) -> list[tuple[float, float, int]]:
    """Return (mean probability, share of relevant documents, number of documents) for each bin that is not empty."""
    probability_array, relevant_array = np.asarray(probabilities, np.float64), np.asarray(relevant, np.float64)
    bins = np.minimum((probability_array * BINS).astype(int), BINS - 1)
    masks = (bins == index for index in np.unique(bins))
    return [(float(probability_array[mask].mean()), float(relevant_array[mask].mean()), int(mask.sum())) for mask in masks]


def _logistic_fit(x: np.ndarray, targets: np.ndarray, offset: float) -> tuple[float, float]:
    """Return slope and offset that minimise the cross-entropy with `targets`, by Newton's method with step halving."""
    slope = 0.0
    loss = _loss(slope * x + offset, targets)
    for _ in range(MAX_NEWTON_STEPS):
        p = 1 / (1 + np.exp(-np.clip(slope * x + offset, -500, 500)))  # clipped, because exp overflows above 709
        gradient = np.array([((p - targets) * x).sum(), (p - targets).sum()])
        weight = np.maximum(p * (1 - p), 1e-12)
        curvature = np.array([[(weight * x * x).sum(), (weight * x).sum()], [(weight * x).sum(), weight.sum()]])
        step = np.linalg.solve(curvature + 1e-9 * np.eye(2), gradient)  # 1e-9 keeps the matrix invertible
        step_factor = 1.0
        while (
            step_factor > 1e-10 and _loss((slope - step_factor * step[0]) * x + offset - step_factor * step[1], targets) > loss
        ):
            step_factor /= 2
        slope, offset = slope - step_factor * step[0], offset - step_factor * step[1]
        previous_loss, loss = loss, _loss(slope * x + offset, targets)
        if previous_loss - loss < 1e-12 * max(1.0, previous_loss):
            break
    return slope, offset


def _loss(logits: np.ndarray, targets: np.ndarray) -> float:
    """Return the cross-entropy, summed over documents."""
    return float((np.logaddexp(0, logits) - targets * logits).sum())


def _checked_arrays(scores: Sequence[float], relevant: Sequence[bool]) -> tuple[np.ndarray, np.ndarray]:
    score_array, relevant_array = np.asarray(scores, np.float64), np.asarray(relevant, bool)
    if not relevant_array.any() or relevant_array.all():
        raise InvalidInput("a calibration needs documents of both kinds, relevant and not relevant; judge more documents")
    return score_array, relevant_array
