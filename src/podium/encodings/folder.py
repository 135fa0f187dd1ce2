"""FolderEncodings: encodings in files that only grow, mapped into memory and shared between processes.

The files themselves are those of `podium.encodings.generation`. They are replaced only by `compact`, which writes the next
generation and then deletes the old one. Nothing is flushed to the disk, which would take longer than computing an encoding:
what a power failure damages counts as missing and is written again.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from podium.encodings import Buffer
from podium.encodings.generation import Generation, is_own, numbered_files, write_generation
from podium.errors import SourceError
from podium.forks import renew_after_fork

__all__ = ["FolderEncodings"]

_log = logging.getLogger("podium")
LOCK_FILE = "lock"
PUT_SECONDS, COMPACT_SECONDS = 1.0, 60.0  # how long to wait for other threads and processes that write
PAUSE_FACTOR = 10  # how much longer nothing is written after a `put` has waited in vain
POLL_SECONDS = 0.01


class _Busy(SourceError):
    """Another process or thread is writing to the folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"another process is writing to {folder}; wait until it is done")


class FolderEncodings:
    """The store in `folder`, which is created when it is first written. Many processes may read and write it at once.

    `put` waits `put_seconds` at most for others that write. Then encodings are not written for a while, so that a process
    that holds the lock does not delay every call.
    """

    def __init__(self, folder: Path, *, put_seconds: float = PUT_SECONDS) -> None:
        self._folder = folder
        self._put_seconds = put_seconds
        self._paused_until = 0.0
        self._warned = False
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """Start without a lock that a thread of the parent process may hold."""
        self._lock = threading.Lock()
        self._writing = threading.Lock()  # so that threads can read while one waits for another process
        self._generation: Generation | None = None

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Buffer]:
        with self._lock:
            try:
                generation = self._current()
                return {} if generation is None else generation.get(keys)
            except (OSError, ValueError) as error:
                self._warn("the encodings in %s cannot be read (%s); they are computed", error)
                return {}

    def put(self, encodings: Mapping[bytes, Buffer]) -> None:
        if time.monotonic() < self._paused_until:
            return
        try:
            with self._write_lock(self._put_seconds), self._lock:
                generation = self._current() or self._created()
                generation.append(encodings)
        except (OSError, ValueError, SourceError) as error:
            if isinstance(error, _Busy):
                self._paused_until = time.monotonic() + PAUSE_FACTOR * self._put_seconds
            self._warn("encodings could not be written to %s (%s); they are computed again", error)

    def compact(self, live: Collection[bytes]) -> tuple[int, int]:
        """Keep only the encodings whose keys are in `live`. Return how many bytes the files had before and have now.

        Raises SourceError if the disk is full, or if another process writes for a minute.
        """
        if not self._folder.exists():
            return 0, 0
        try:
            with self._write_lock(COMPACT_SECONDS), self._lock:
                before = self._size()
                if (generation := self._current()) is not None:
                    self._replace(generation, live)
                return before, self._size()
        except OSError as error:
            reason = error.strerror or str(error)
            raise SourceError(f"cannot compact {self._folder}: {reason}; free some disk space") from error

    def close(self) -> None:
        with self._lock:
            self._generation = None

    def _current(self) -> Generation | None:
        """Return the newest generation, with every record that has been written to it so far."""
        if self._generation is not None and self._generation.is_newest():
            self._generation.refresh()
            return self._generation
        numbers = [number for number, files in numbered_files(self._folder).items() if is_own(files)]
        self._generation = Generation(self._folder, max(numbers)) if numbers else None
        return self._generation

    def _created(self) -> Generation:
        number = max(numbered_files(self._folder), default=-1) + 1  # files of other programs may have lower ones
        write_generation(self._folder, number, iter(()))
        self._generation = Generation(self._folder, number)
        return self._generation

    def _replace(self, generation: Generation, live: Collection[bytes]) -> None:
        number = max(numbered_files(self._folder)) + 1
        write_generation(self._folder, number, generation.items(live))
        for other, files in numbered_files(self._folder).items():
            if other != number and is_own(files):
                for path in files:
                    with contextlib.suppress(OSError):  # Windows does not delete mapped files; the next run deletes them
                        path.unlink()
        self._generation = Generation(self._folder, number)

    def _size(self) -> int:
        files = numbered_files(self._folder)
        return sum(path.stat().st_size for number in files for path in files[number] if is_own(files[number]))

    @contextlib.contextmanager
    def _write_lock(self, seconds: float) -> Iterator[None]:
        """Keep other threads and processes from writing. Raises SourceError if they write for so many seconds.

        Processes may be forked meanwhile: releasing the lock releases it in them, too.
        """
        import filelock

        deadline = time.monotonic() + seconds
        path = self._folder / LOCK_FILE
        self._folder.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            raise SourceError(f"{path} is not a file; delete or rename it")
        if not self._writing.acquire(timeout=seconds):
            raise _Busy(self._folder)
        try:
            seconds_left = max(0.0, deadline - time.monotonic())
            with filelock.FileLock(path).acquire(timeout=seconds_left, poll_interval=POLL_SECONDS):
                yield
        except filelock.Timeout:
            raise _Busy(self._folder) from None
        finally:
            self._writing.release()

    def _warn(self, message: str, error: Exception) -> None:
        """Log the first failure. The others are usually the same."""
        if not self._warned:
            self._warned = True
            reason = error.strerror if isinstance(error, OSError) else None
            _log.warning(message, self._folder, reason or error)
