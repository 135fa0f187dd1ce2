"""FolderEncodings: encodings in files that are mapped into memory and shared between processes.

podium.encodings.generation describes the two files of a generation, to which `put` only appends. Only `compact` replaces the
files: it writes the next generation and then deletes the old one. Writes are not flushed to the disk, because that would take
longer than computing an encoding. Encodings that a power failure damages are treated as missing and are written again.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from podium.encodings import Buffer
from podium.encodings.generation import Generation, files_by_number, is_own_file, unfinished_files, write_generation
from podium.errors import SourceError
from podium.forks import renew_after_fork
from podium.regular_files import is_irregular

__all__ = ["FolderEncodings"]

_log = logging.getLogger("podium")
LOCK_FILE = "lock"
PUT_SECONDS = 1.0  # how long `put` waits while other threads and processes write
COMPACT_SECONDS = 60.0  # how long `compact` waits while they write
PAUSE_FACTOR = 10  # If a `put` waits in vain, nothing is written for this many times the seconds that it waited.
POLL_SECONDS = 0.01  # the pause between two attempts to lock the file


class _Busy(SourceError):
    """Another process or thread is writing to the folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"another process is writing to {folder}; wait until it is done")


class FolderEncodings:
    """The store in `folder`, which is created by the first `put`. Many processes may read and write it at once.

    `put` waits at most `put_seconds` while other threads and processes write. If they still write then, its encodings are not
    stored. Nor are those of the next calls for some time, so that a process that holds the lock does not delay every call.
    """

    def __init__(self, folder: Path, *, put_seconds: float = PUT_SECONDS) -> None:
        self._folder = folder
        self._put_seconds = put_seconds
        self._paused_until = 0.0
        self._has_warned = False
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """Replace the locks in a forked process, because a thread of the parent process may have held them."""
        self._lock = threading.Lock()  # held while the generation is used
        self._writer_lock = threading.Lock()  # a second lock, so that threads can read while a thread waits to write
        self._generation: Generation | None = None  # None if it has not been opened

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Buffer]:
        with self._lock:
            try:
                generation = self._current()
                return {} if generation is None else generation.get(keys)
            except (OSError, ValueError) as error:
                self._warn("the encodings in %s cannot be read (%s); they are computed again", error)
                return {}

    def put(self, encodings: Mapping[bytes, Buffer]) -> None:
        if time.monotonic() < self._paused_until:
            return
        try:
            with self._write_lock(self._put_seconds), self._lock:
                generation = self._current() or self._new_generation()
                generation.append(encodings)
        except (OSError, ValueError, SourceError) as error:
            if isinstance(error, _Busy):
                self._paused_until = time.monotonic() + PAUSE_FACTOR * self._put_seconds
            self._warn("encodings could not be written to %s (%s); they are computed again", error)

    def compact(self, live_keys: Collection[bytes]) -> tuple[int, int]:
        """Delete all encodings except those with `live_keys`. Return the total bytes of the files before and after.

        Raises SourceError if the files cannot be written, or if another process writes for a minute.
        """
        if not self._folder.exists():
            return 0, 0
        try:
            with self._write_lock(COMPACT_SECONDS), self._lock:
                bytes_before = self._total_bytes()
                generation = self._current()
                if generation is not None:
                    self._replace(generation, live_keys)
                return bytes_before, self._total_bytes()
        except OSError as error:
            reason = error.strerror or str(error)
            raise SourceError(f"cannot compact {self._folder}: {reason}; free some disk space") from error

    def close(self) -> None:
        with self._lock:
            self._generation = None

    def _current(self) -> Generation | None:
        """Return the newest generation, with every record that has been written to it so far; None if there is none."""
        if self._generation is not None and self._generation.is_newest():
            self._generation.refresh()
            return self._generation
        numbers = [number for number, files in files_by_number(self._folder).items() if all(map(is_own_file, files))]
        self._generation = Generation(self._folder, max(numbers)) if numbers else None
        return self._generation

    def _new_generation(self) -> Generation:
        """Write a generation without encodings, and return it."""
        number = max(files_by_number(self._folder), default=-1) + 1  # Files of other programs may have the lower numbers.
        write_generation(self._folder, number, iter(()))
        self._generation = Generation(self._folder, number)
        return self._generation

    def _replace(self, generation: Generation, live_keys: Collection[bytes]) -> None:
        """Write the encodings with `live_keys` as the next generation, and delete the files of all other generations.

        If a process was killed, a generation may have one file only, or unfinished files.
        """
        new_number = max(files_by_number(self._folder)) + 1
        write_generation(self._folder, new_number, generation.items(live_keys))
        new_generation = Generation(self._folder, new_number)
        for path in self._own_files() + unfinished_files(self._folder):
            if path not in new_generation.files:
                with contextlib.suppress(OSError):  # Windows does not delete mapped files; the next run deletes them.
                    path.unlink()
        self._generation = new_generation

    def _total_bytes(self) -> int:
        return sum(path.stat().st_size for path in self._own_files())

    def _own_files(self) -> list[Path]:
        """Return the files of all generations, without those of other programs that have such names."""
        paths = [path for files in files_by_number(self._folder).values() for path in files]
        return [path for path in paths if is_own_file(path)]

    @contextlib.contextmanager
    def _write_lock(self, seconds: float) -> Iterator[None]:
        """Keep other threads and processes from writing during the block, and create the folder if it does not exist.

        Raises _Busy if they still write after this many seconds. A process that is forked during the block does not keep the
        lock after this process has released it.
        """
        import filelock

        deadline = time.monotonic() + seconds
        path = self._folder / LOCK_FILE
        self._folder.mkdir(parents=True, exist_ok=True)
        if is_irregular(path):
            raise SourceError(f"{path} is not a file; delete or rename it")
        if not self._writer_lock.acquire(timeout=seconds):
            raise _Busy(self._folder)
        try:
            seconds_left = max(0.0, deadline - time.monotonic())
            with filelock.FileLock(path).acquire(timeout=seconds_left, poll_interval=POLL_SECONDS):
                yield
        except filelock.Timeout:
            raise _Busy(self._folder) from None
        finally:
            self._writer_lock.release()

    def _warn(self, message: str, error: Exception) -> None:
        """Log the first failure only: later ones usually have the same cause. `message` takes the folder and the reason."""
        if not self._has_warned:
            self._has_warned = True
            reason = error.strerror if isinstance(error, OSError) else None
            _log.warning(message, self._folder, reason or error)
