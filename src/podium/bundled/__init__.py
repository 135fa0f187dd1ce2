"""podium-mini, the model that needs no download. To replace it, replace the files in `podium-mini/` and its version here."""

from __future__ import annotations

from pathlib import Path

__all__ = ["BUNDLED", "folder_of"]

BUNDLED = {"podium-mini": "v1"}
"""The models that are part of the package, with their version, which is the `revision` of their rankings."""


def folder_of(name: str) -> Path:
    """Return the folder of a bundled model, in the layout of a Hugging Face repository."""
    return Path(__file__).parent / name
