"""Open a regular file without waiting. A plain `open` of a named pipe would wait until another process opens it for writing."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

__all__ = ["is_irregular", "is_pipe_or_device", "open_regular_file"]


def is_pipe_or_device(path: Path) -> bool:
    """Whether the path exists and, after following links, is neither a regular file nor a folder."""
    mode = _mode(path)
    return mode is not None and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def is_irregular(path: Path) -> bool:
    """Whether the path exists and is not a regular file. Unlike `is_pipe_or_device`, this is also true for a folder."""
    mode = _mode(path)
    return mode is not None and not stat.S_ISREG(mode)


def _mode(path: Path) -> int | None:
    """Return the mode of a path, None if it does not exist.

    The system is called once only: between two calls, such as `exists` and `is_file`, another process can delete the file.
    """
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError for a name with a NUL
        return None


def open_regular_file(path: Path) -> BinaryIO:
    """Open a regular file, or a link to one, for reading.

    Raises OSError, also for a folder, a named pipe and a device; and ValueError if the path has a NUL character.
    """
    file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115  the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(f"{path} is not a regular file")
    return file


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # The flag is missing on Windows.
