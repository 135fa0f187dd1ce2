"""Fit functions from scores to probabilities (Platt scaling, isotonic regression), and measure how well they fit.

In all functions, `relevant[i]` tells whether the document with `scores[i]` or `probabilities[i]` is relevant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from podium.errors import InvalidInput

__all__ = ["brier", "expected_calibration_error", "isotonic", "platt", "reliability"]

BINS = 10  # the number of bins of equal width into which probabilities are divided
MAX_NEWTON_STEPS = 100
MIN_STEP_FACTOR = 1e-10  # a Newton step is not halved below this share of its length


class Block(NamedTuple):
    """Neighbouring scores that isotonic regression maps to the same probability, `mean`.

    `weight` is the number of documents with these scores.
    """

    mean: float
    weight: float
    first_score: float
    last_score: float


def platt(scores: Sequence[float], relevant: Sequence[bool]) -> tuple[float, float]:
    """Return slope and offset of the logistic curve from score to probability (Platt 1999; Lin, Lin and Weng 2007).

    Raises InvalidInput if relevant documents do not score higher than others, and if all or none are relevant.
    """
    score_array, relevant_array = _checked_arrays(scores, relevant)
    center = score_array.mean()
    scale = score_array.std() or 1.0  # the deviation is 0 if all scores are equal
    positive_count = relevant_array.sum()
    negative_count = (~relevant_array).sum()
    # The targets are not exactly 0 and 1. Otherwise the slope would be infinite if the scores separate the documents.
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
    """Return (score, probability) points of the non-decreasing function with the smallest squared error, in ascending order.

    The algorithm is pool adjacent violators. Raises InvalidInput if all or none of the documents are relevant.
    """
    score_array, relevant_array = _checked_arrays(scores, relevant)
    distinct_scores, indices = np.unique(score_array, return_inverse=True)
    counts = np.bincount(indices).astype(np.float64)
    means = np.bincount(indices, weights=relevant_array) / counts
    blocks: list[Block] = []
    for mean, count, score in zip(means, counts, distinct_scores, strict=True):
        block = Block(mean, count, first_score=score, last_score=score)
        while blocks and blocks[-1].mean >= block.mean:
            block = _joined(blocks.pop(), block)
        blocks.append(block)
    points = {(float(score), float(block.mean)) for block in blocks for score in (block.first_score, block.last_score)}
    return tuple(sorted(points))


def _joined(left: Block, right: Block) -> Block:
    """Return one block with the scores of two neighbouring blocks."""
    weight = left.weight + right.weight
    mean = (left.mean * left.weight + right.mean * right.weight) / weight
    return Block(mean, weight, left.first_score, right.last_score)


def brier(probabilities: Sequence[float], relevant: Sequence[bool]) -> float:
    """Return the mean squared difference between probability and outcome, 0 if perfect (Brier 1950)."""
    return float(np.mean((np.asarray(probabilities, np.float64) - np.asarray(relevant, np.float64)) ** 2))


def expected_calibration_error(probabilities: Sequence[float], relevant: Sequence[bool]) -> float:
    """Return the mean of |probability - share of relevant documents| over bins (Naeini and others, 2015).

    Bins are weighted by their number of documents.
    """
    errors = (abs(mean - share) * count for mean, share, count in reliability(probabilities, relevant))
    return sum(errors) / len(probabilities)


def reliability(probabilities: Sequence[float], relevant: Sequence[bool]) -> list[tuple[float, float, int]]:
    """Return (mean probability, share of relevant documents, number of documents) for each bin that is not empty."""
    probability_array = np.asarray(probabilities, np.float64)
    relevant_array = np.asarray(relevant, np.float64)
    bins = np.minimum((probability_array * BINS).astype(int), BINS - 1)
    masks = (bins == index for index in np.unique(bins))
    return [(float(probability_array[mask].mean()), float(relevant_array[mask].mean()), int(mask.sum())) for mask in masks]


def _logistic_fit(x: np.ndarray, targets: np.ndarray, offset: float) -> tuple[float, float]:
    """Return the slope and offset that minimise the cross-entropy with `targets`, by Newton's method with step halving.

    The search starts at a slope of 0 and at `offset`. It ends when a step reduces the loss by less than 1e-12, or by less than
    that share of a loss above 1.
    """
    slope = 0.0
    loss = _loss(slope * x + offset, targets)
    for _ in range(MAX_NEWTON_STEPS):
        probabilities = 1 / (1 + np.exp(-np.clip(slope * x + offset, -500, 500)))  # clipped, because exp overflows above 709
        errors = probabilities - targets
        gradient = np.array([(errors * x).sum(), errors.sum()])
        weights = np.maximum(probabilities * (1 - probabilities), 1e-12)
        curvature = np.array([[(weights * x * x).sum(), (weights * x).sum()], [(weights * x).sum(), weights.sum()]])
        step = np.linalg.solve(curvature + 1e-9 * np.eye(2), gradient)  # 1e-9 keeps the matrix invertible
        step_factor = 1.0
        while True:
            next_slope = slope - step_factor * step[0]
            next_offset = offset - step_factor * step[1]
            next_loss = _loss(next_slope * x + next_offset, targets)
            is_worse = next_loss > loss
            if not is_worse or step_factor <= MIN_STEP_FACTOR:
                break
            step_factor /= 2
        previous_loss = loss
        slope, offset, loss = next_slope, next_offset, next_loss
        if previous_loss - loss < 1e-12 * max(1.0, previous_loss):
            break
    return slope, offset


def _loss(logits: np.ndarray, targets: np.ndarray) -> float:
    """Return the cross-entropy of the sigmoids of `logits`, summed over documents."""
    return float((np.logaddexp(0, logits) - targets * logits).sum())


def _checked_arrays(scores: Sequence[float], relevant: Sequence[bool]) -> tuple[np.ndarray, np.ndarray]:
    score_array = np.asarray(scores, np.float64)
    relevant_array = np.asarray(relevant, bool)
    if not relevant_array.any() or relevant_array.all():
        raise InvalidInput("a calibration needs documents of both kinds, relevant and not relevant; judge more documents")
    return score_array, relevant_array
