"""Scores as logits or as probabilities, for APIs that promise one of the two. Other kinds of score stay as they are."""

from __future__ import annotations

import math

from podium.types import ScoreKind

__all__ = ["as_logit", "as_probability"]


def as_probability(score: float, kind: ScoreKind) -> float:
    """Return a logit's sigmoid, and any other score unchanged."""
    if kind != "logit":
        return score
    return 1 / (1 + math.exp(-score)) if score >= 0 else math.exp(max(score, -700)) / (1 + math.exp(max(score, -700)))


def as_logit(score: float, kind: ScoreKind) -> float:
    """Return a probability's logit, and any other score unchanged."""
    if kind != "probability":
        return score
    inside = min(max(score, 1e-300), 1 - 2**-53)  # 0 and 1 have no finite logit; these are their neighbours
    return math.log(inside) - math.log1p(-inside)
