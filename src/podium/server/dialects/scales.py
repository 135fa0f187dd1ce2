"""Conversion of scores for APIs that promise logits, or numbers between 0 and 1."""

from __future__ import annotations

from podium.logistic import logit, sigmoid
from podium.types import ScoreKind

__all__ = ["as_logit", "as_sigmoid"]


def as_sigmoid(score: float, kind: ScoreKind) -> float:
    """Return a logit's sigmoid, and any other score unchanged."""
    return sigmoid(score) if kind == "logit" else score


def as_logit(score: float, kind: ScoreKind) -> float:
    """Return the logit of a sigmoid or a probability, and any other score unchanged."""
    if kind not in ("sigmoid", "probability"):
        return score
    nearest = min(max(score, 1e-300), 1 - 2**-53)  # for 0 and 1, which have no finite logit, the nearest numbers that have one
    return logit(nearest)
