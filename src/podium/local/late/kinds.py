"""The kinds of late-interaction models: which folder holds one, and its LateModel."""

from __future__ import annotations

from pathlib import Path

from podium.errors import Argument, InvalidInput
from podium.local.families.late import FAMILY
from podium.local.files.config import read_settings
from podium.local.late.colbert import Colbert
from podium.local.late.mini import Mini
from podium.local.late.models import LateModel
from podium.local.late.spec import ScoreOption, is_late_interaction, read_late_spec
from podium.local.spec import read_spec

__all__ = ["is_late", "late_model"]


def is_late(folder: Path) -> bool:
    """Whether a folder holds a late-interaction model."""
    is_mini = read_settings(folder / "config.json").get("model_type") in FAMILY.model_types
    return is_mini or is_late_interaction(folder)


def late_model(folder: Path, score: ScoreOption | None = None) -> LateModel:
    """Return the model in a folder. `score` is for ColBERT models. Raises ModelError, or InvalidInput for the option."""
    if is_late_interaction(folder):
        return Colbert(read_late_spec(folder), score)
    if score is not None:
        raise InvalidInput(Argument("score"), f" is an option of ColBERT models, which {folder} is not; leave it out")
    return Mini(read_spec(folder))
