"""podium's cache directory."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder() -> Path:
    """Return PODIUM_CACHE, or "podium" in the user's cache directory if that is not set."""
    if path := os.environ.get("PODIUM_CACHE"):
        return Path(os.path.expanduser(path))
    return Path(os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")) / "podium"
