"""FileVersions, the state of files when the loading of a model began, and hashes of their contents."""

from __future__ import annotations

import functools
import hashlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from podium.errors import ModelError
from podium.local.files.tensor_file import missing_file

__all__ = ["FileVersions", "digest_of"]

Version: TypeAlias = tuple[int, ...]


class FileVersions:
    """The state of files when this object is created. Raises ModelNotFound if a file is missing.

    A model's files can be replaced while it is loaded, or later. Then its weights would be cached, or its scores stored, under
    the hash of other files.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._versions = tuple((path, _version_at(path)) for path in paths)

    @functools.cached_property
    def digest(self) -> str:
        """A hash of the contents of all files. Raises ModelError if a file has changed before they are read for the hash."""
        return _digest(self._versions)

    def check_unchanged(self) -> None:
        """Raise ModelError if a file has changed. Call this before weights that were read are cached under `digest`."""
        for path, version in self._versions:
            if _version_at(path) != version:
                raise _changed(path)


def digest_of(paths: Sequence[Path]) -> str:
    """Return a hash of the files' contents. Raises ModelNotFound if a file is missing, ModelError if it changes meanwhile."""
    return FileVersions(paths).digest


def _version_at(path: Path) -> Version:
    """Return numbers that change whenever the file changes. Raises ModelError for a named pipe, which cannot be read twice."""
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise missing_file(path) from error
    if not stat.S_ISREG(status.st_mode):
        raise ModelError(f"{path} is not a regular file; download it again")
    return _version(status)


def _version(status: os.stat_result) -> Version:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _changed(path: Path) -> ModelError:
    return ModelError(f"{path} changed while the model was loaded; load it again")


@functools.lru_cache(maxsize=128)
def _digest(versions: tuple[tuple[Path, Version], ...]) -> str:
    """Return a hash of the contents of files. It is cached, because loading needs it repeatedly."""
    digest = hashlib.sha256()
    for path, version in versions:
        with path.open("rb") as file:
            while block := file.read(1 << 22):  # 4 MiB
                digest.update(block)
            if _version(os.fstat(file.fileno())) != version:
                raise _changed(path)
    return digest.hexdigest()
