"""Write a file completely or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from podium.regular_files import is_pipe_or_device

__all__ = ["UNFINISHED", "atomic_write"]

# Names of temporary files begin with a dot, so that readers of a folder, such as pyarrow and Spark, ignore them.
UNFINISHED = ".unfinished"  # the ending of these names


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Yield a binary file that replaces `path` when the block ends without an exception.

    The content is on the disk before the file gets this name, so a power failure leaves either the old file or the new one. If
    several processes write at once, the last one wins. If the block raises, the temporary file is deleted. Of a symbolic link,
    the target is replaced. A pipe or a device is written to directly. Raises OSError.
    """
    path = Path(os.path.realpath(path))
    if is_pipe_or_device(path):
        with open(path, "wb") as file:
            yield file
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}{UNFINISHED}")
    file = open(temporary, "xb")  # noqa: SIM115  closed below; a file of tempfile would be readable only by its owner
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):  # after an interrupt that came when the file had its name
            os.unlink(temporary)
        raise
