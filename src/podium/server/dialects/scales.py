"""Scores as logits or between 0 and 1, for APIs that promise one of the two. Other kinds of score stay as they are."""

from __future__ import annotations

import math

from podium.types import ScoreKind

__all__ = ["as_logit", "as_sigmoid"]


def as_sigmoid(score: float, kind: ScoreKind) -> float:
    """Return a logit's sigmoid, and any other score unchanged."""
    if kind != "logit":
        return score
    return 1 / (1 + math.exp(-score)) if score >= 0 else math.exp(max(score, -700)) / (1 + math.exp(max(score, -700)))


def as_logit(score: float, kind: ScoreKind) -> float:
    """Return the logit of a score between 0 and 1, and any other score unchanged."""
    if kind not in ("sigmoid", "probability"):
        return score
    inside = min(max(score, 1e-300), 1 - 2**-53)  # 0 and 1 have no finite logit; these are their neighbours
    return math.log(inside) - math.log1p(-inside)
