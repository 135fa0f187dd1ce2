"""The fields that a source searches, and their weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podium.errors import InvalidInput

__all__ = ["checked_weights", "weights_text"]


def checked_weights(text: Any) -> dict[str, float] | None:
    """Return the weights of fields by name, given one name, a list of names, or {name: weight}; None for None.

    Raises InvalidInput, never another error.
    """
    if text is None:
        return None
    try:
        if isinstance(text, str):
            weights = {text: 1.0}
        else:
            weights = dict(text) if isinstance(text, Mapping) else dict.fromkeys(text, 1.0)
    except TypeError:  # not iterable, or a name is not hashable
        weights = {}  # refused below
    if not weights or not all(isinstance(name, str) and name for name in weights):
        raise InvalidInput("text must be a field's name, a list of names, or {name: weight}")
    if not all(isinstance(weight, int | float) and 0 < weight < float("inf") for weight in weights.values()):
        raise InvalidInput("the weight of a text field must be a positive number")
    return {name: float(weight) for name, weight in weights.items()}


def weights_text(weights: Mapping[str, float]) -> str:
    """Return fields and their weights for users: "title × 2, text × 1"."""
    return ", ".join(f"{name} × {weight:g}" for name, weight in weights.items())
