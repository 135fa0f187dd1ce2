"""The compositions that a configuration file can have. Each is described in its own file."""

from __future__ import annotations

from podium.compose import budget, cached, calibrated, cascade, fallback, fused, neighbours, passages
from podium.compose.components import Component

__all__ = ["COMPONENTS"]

COMPONENTS: tuple[Component, ...] = (
    budget.COMPONENT,
    cached.COMPONENT,
    calibrated.COMPONENT,
    cascade.COMPONENT,
    fallback.COMPONENT,
    fused.COMPONENT,
    neighbours.COMPONENT,
    passages.COMPONENT,
)
