"""The kinds of late-interaction models: which folder holds one, and its LateModel."""

from __future__ import annotations

from pathlib import Path

from podium.local.families.late import FAMILY
from podium.local.files.config import read_settings
from podium.local.late.mini import Mini
from podium.local.late.models import LateModel
from podium.local.spec import read_spec

__all__ = ["is_late", "late_model"]


def is_late(folder: Path) -> bool:
    """Whether a folder holds a late-interaction model."""
    return read_settings(folder / "config.json").get("model_type") in FAMILY.model_types


def late_model(folder: Path) -> LateModel:
    """Return the model in a folder. Raises ModelError."""
    return Mini(read_spec(folder))
