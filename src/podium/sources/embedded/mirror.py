"""Mirror: a temporary folder of links to the files of a read-only folder, because tantivy must create a lock file."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import weakref
from pathlib import Path

__all__ = ["Mirror"]

PREFIX = "podium-index-"
MANAGED_FILE = ".managed.json"  # tantivy's list of files to delete one day; only their owner can read it


class Mirror:
    """A temporary folder of links to the files of another folder. It is locked as long as this object or its process exists.

    Mirrors that killed processes of this user left behind are deleted, except on Windows, which has no such locks.
    """

    def __init__(self, mirrored: Path) -> None:
        _delete_unused_mirrors()
        self._mirrored = mirrored.resolve()
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        weakref.finalize(self, _delete, self.folder, _lock(self.folder), os.getpid())
        self.refresh()

    def refresh(self) -> None:
        """Link the files that were added to the mirrored folder, and delete links to files that were deleted.

        Files that a reader has mapped already stay readable.
        """
        for link in self.folder.iterdir():
            if link.is_symlink() and not link.exists():
                link.unlink(missing_ok=True)
        for path in self._mirrored.iterdir():
            if path.suffix != ".lock" and path.name != MANAGED_FILE:
                with contextlib.suppress(FileExistsError):
                    (self.folder / path.name).symlink_to(path)


def _lock(folder: Path) -> int | None:
    """Lock a folder, and return the file descriptor that has the lock.

    Returns None if another process has locked it, on Windows, and on file systems that have no such locks.
    """
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor
    return None


def _delete(folder: Path, lock: int | None, pid: int) -> None:
    """Delete a mirror of this process. A forked process only closes the lock, because its parent uses the mirror."""
    if os.getpid() == pid:
        shutil.rmtree(folder, ignore_errors=True)
    if lock is not None:
        os.close(lock)


def _delete_unused_mirrors() -> None:
    """Delete the mirrors of this user that no process has locked.

    Empty ones are left alone: another process may be about to lock one that it has just created.
    """
    if not hasattr(os, "geteuid"):  # on Windows
        return
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.lstat().st_uid == os.geteuid() and any(folder.iterdir()) and (lock := _lock(folder)) is not None:
                _delete(folder, lock, os.getpid())
