"""podium-mini: the model that needs no download. A new one is its files in `podium-mini/` and its version here."""

from __future__ import annotations

from pathlib import Path

__all__ = ["BUNDLED", "folder_of"]

BUNDLED = {"podium-mini": "v1"}
"""Every model that comes with the package, and its version, which is the revision that rankings name."""


def folder_of(name: str) -> Path:
    """Return the folder of a bundled model, in the layout of a Hugging Face repository."""
    return Path(__file__).parent / name
