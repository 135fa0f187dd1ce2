"""FileVersions, the state of files when the loading of a model began, and hashes of their contents."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from podium.atomic import atomic_write
from podium.errors import ModelError
from podium.local.cache import cache_folder, delete_unused, mark_used
from podium.local.files.tensor_file import missing_file

__all__ = ["FileVersions", "digest_of"]

STORED_FROM_BYTES = 4 << 20  # smaller files are hashed in at most a few milliseconds
SETTLED_NS = 2_000_000_000  # a file that changed later than this may change again within the resolution of its times


class Version(NamedTuple):
    """Numbers that change whenever a file changes. The times are in nanoseconds."""

    inode: int
    size: int
    modified_ns: int
    changed_ns: int


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
    """Return the version of a file. Raises ModelError for a named pipe, which cannot be read twice."""
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise missing_file(path) from error
    if not stat.S_ISREG(status.st_mode):
        raise ModelError(f"{path} is not a regular file; download it again")
    return _version(status)


def _version(status: os.stat_result) -> Version:
    return Version(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _changed(path: Path) -> ModelError:
    return ModelError(f"{path} changed while the model was loaded; load it again")


@functools.lru_cache(maxsize=128)
def _digest(versions: tuple[tuple[Path, Version], ...]) -> str:
    """Return a hash of the contents of files. It is cached, because loading needs it repeatedly.

    That of large files is also stored in the cache directory, because reading them would take a good part of a process's start.
    """
    if sum(version.size for _, version in versions) < STORED_FROM_BYTES:
        return _hash_of_contents(versions)
    stored_digest = _StoredDigest(versions)
    if (digest := stored_digest.read()) is not None:
        return digest
    newest_ns = max(nanoseconds for _, version in versions for nanoseconds in (version.modified_ns, version.changed_ns))
    has_settled = newest_ns < time.time_ns() - SETTLED_NS  # a file server's clock may differ, so times can be in the future
    digest = _hash_of_contents(versions)
    if has_settled:
        stored_digest.write(digest)
    return digest


def _hash_of_contents(versions: tuple[tuple[Path, Version], ...]) -> str:
    digest = hashlib.sha256()
    for path, version in versions:
        with path.open("rb") as file:
            while block := file.read(1 << 22):  # 4 MiB
                digest.update(block)
            if _version(os.fstat(file.fileno())) != version:
                raise _changed(path)
    return digest.hexdigest()


class _StoredDigest:
    """The hash of files in these versions, as a file in the cache directory."""

    def __init__(self, versions: tuple[tuple[Path, Version], ...]) -> None:
        key = repr([(str(path.absolute()), *version) for path, version in versions])
        self._path = cache_folder() / "digests" / hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()

    def read(self) -> str | None:
        """Return the hash, None if it is not stored or damaged."""
        try:
            digest = self._path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            return None
        if not re.fullmatch("[0-9a-f]{64}", digest):
            return None
        mark_used(self._path)
        return digest

    def write(self, digest: str) -> None:
        """Store the hash if the cache directory can be written."""
        with contextlib.suppress(OSError), atomic_write(self._path) as file:
            file.write(digest.encode())
        delete_unused(self._path.parent)
