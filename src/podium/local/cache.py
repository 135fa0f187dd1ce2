"""podium's own cache directory, and files in it that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

__all__ = ["cache_folder", "replaced"]


def cache_folder() -> Path:
    """Return podium's own cache directory: PODIUM_CACHE, or podium under the user's cache directory."""
    if given := os.environ.get("PODIUM_CACHE"):
        return Path(os.path.expanduser(given))
    return Path(os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")) / "podium"


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[IO[bytes]]:
    """Give a file to write that takes the path's place once it is whole: of processes that race, the last one stays.

    Raises OSError where the disk is full or read-only.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, unfinished = tempfile.mkstemp(dir=path.parent, suffix=".unfinished")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # or a power cut could leave the name without the content
        os.replace(unfinished, path)
    except BaseException:
        os.unlink(unfinished)
        raise
