"""podium's cache directory, and the deletion of files in it that have not been used for a long time."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

__all__ = ["UNUSED_DAYS", "cache_folder", "delete_unused", "mark_used"]

UNUSED_DAYS = 30
DAY = 24 * 60 * 60  # seconds


def cache_folder() -> Path:
    """Return PODIUM_CACHE, or "podium" in the user's cache directory if that is not set."""
    if path := os.environ.get("PODIUM_CACHE"):
        return Path(os.path.expanduser(path))
    return Path(os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")) / "podium"


def mark_used(path: Path) -> None:
    """Set a file's time of modification to now, unless it is less than a day old.

    Many file systems do not record when files are read.
    """
    with contextlib.suppress(OSError):
        if time.time() - path.stat().st_mtime > DAY:
            os.utime(path)


def delete_unused(folder: Path) -> None:
    """Delete the files in a folder that were not marked as used for UNUSED_DAYS, also unfinished ones.

    Another process can do the same at the same time. One that has such a file mapped keeps its content, and one that opens it
    later writes it again. Where an open file cannot be deleted, it stays.
    """
    oldest = time.time() - UNUSED_DAYS * DAY
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            with contextlib.suppress(OSError):
                if path.is_file() and path.stat().st_mtime < oldest:
                    path.unlink()
