"""Open a regular file without waiting. A plain `open` of a named pipe would wait until another process opens it for writing."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

__all__ = ["open_regular_file"]


def open_regular_file(path: Path) -> BinaryIO:
    """Open a regular file, or a link to one, for reading. Raises OSError, also for a folder, a named pipe and a device."""
    file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115  the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(f"{path} is not a regular file")
    return file


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # The flag is missing on Windows.
