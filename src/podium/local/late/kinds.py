"""The kinds of late-interaction models: whether a folder holds one of them, and its LateModel."""

from __future__ import annotations

from pathlib import Path

from podium.errors import Argument, InvalidInput
from podium.local.families.late import FAMILY
from podium.local.files.config import read_settings
from podium.local.late.colbert import Colbert
from podium.local.late.mini import Mini
from podium.local.late.models import LateModel
from podium.local.late.spec import ScoreOption, is_colbert, read_late_spec
from podium.local.spec import read_spec

__all__ = ["is_late", "late_model"]


def is_late(folder: Path) -> bool:
    """Whether a folder holds a late-interaction model."""
    is_mini = read_settings(folder / "config.json").get("model_type") in FAMILY.model_types
    return is_mini or is_colbert(folder)


def late_model(folder: Path, score: ScoreOption | None = None) -> LateModel:
    """Return the model in a folder.

    Raises ModelError if the model cannot be used, and InvalidInput for `score` with a model that is not a ColBERT model.
    """
    if is_colbert(folder):
        return Colbert(read_late_spec(folder), score)
    if score is not None:
        raise InvalidInput(Argument("score"), " is an option of ColBERT models, and this model is another kind; leave it out")
    return Mini(read_spec(folder))
