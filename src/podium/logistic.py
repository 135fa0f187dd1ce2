"""The logistic function and its inverse, in float64 so that scores near 0 and 1 stay distinct."""

from __future__ import annotations

import math

__all__ = ["logit", "sigmoid"]


def sigmoid(x: float) -> float:
    """Return 1 / (1 + exp(-x)), without overflow."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def logit(p: float) -> float:
    """Return the x for which `sigmoid(x)` is `p`. `p` must be above 0 and below 1."""
    return math.log(p) - math.log1p(-p)
