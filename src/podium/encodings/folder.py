"""FolderEncodings: encodings in files that only grow, mapped into memory and shared between processes.

Two files belong together: `N.data` has the encodings one after the other, `N.keys` a record of fixed size for each. A record
is written after its encoding, so a writer that is killed leaves at most bytes that no record refers to, or an incomplete
record, which is ignored. Every record and every encoding has a checksum, and what is damaged counts as missing and is written
again; so nothing has to be flushed to the disk, which would take longer than computing an encoding. `compact` writes the next
pair, N + 1, and then deletes the old one.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import re
import struct
import threading
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from podium.encodings import KEY_BYTES, Buffer
from podium.errors import SourceError
from podium.forks import renew_after_fork

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["FolderEncodings"]

_log = logging.getLogger("podium")
MAGIC = b"podium-encodings-1\n"
FIELDS = struct.Struct(f"<{KEY_BYTES}sQII")  # key; offset, length and checksum of the encoding
RECORD_BYTES = FIELDS.size + 4  # the fields and their own checksum
LOCK_FILE = "lock"
LOCK_SECONDS = 60.0
MAX_RECENT = 10_000  # keys in the dict of recent ones; beyond this they are sorted into the arrays


class FolderEncodings:
    """The store in `folder`, which is created if it does not exist. Many processes may read and write it at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """Start without a lock that a thread of the parent process may hold."""
        self._lock = threading.Lock()
        self._generation: _Generation | None = None

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Buffer]:
        with self._lock:
            try:
                generation = self._current()
                return {} if generation is None else generation.get(keys)
            except OSError as error:
                _log.warning("the encodings in %s cannot be read (%s); they are computed", self._folder, error.strerror)
                return {}

    def put(self, encodings: Mapping[bytes, Buffer]) -> None:
        with self._lock:
            try:
                with self._write_lock():
                    generation = self._current() or self._created()
                    generation.append(encodings)
            except (OSError, SourceError) as error:
                _log.warning("encodings could not be written to %s (%s); they are computed again", self._folder, error)

    def compact(self, live: Collection[bytes]) -> tuple[int, int]:
        """Keep only the encodings whose keys are in `live`. Return how many bytes the store had before and has now.

        Raises SourceError if the disk is full or another process holds the store for a minute.
        """
        with self._lock, self._write_lock():
            generation = self._current()
            if generation is None:
                return 0, 0
            before = generation.size
            try:
                number = generation.number + 1
                self._write_generation(number, generation.items(live))
                generation.delete()
            except OSError as error:
                raise SourceError(f"cannot compact {self._folder}: {error.strerror or error}; free some disk space") from error
            self._generation = _Generation(self._folder, number)
            return before, self._generation.size

    def close(self) -> None:
        with self._lock:
            self._generation = None

    def _current(self) -> _Generation | None:
        """Return the newest generation, with every record that has been written to it so far."""
        if self._generation is not None and self._generation.exists():
            self._generation.refresh()
            return self._generation
        numbers = _numbers(self._folder)
        self._generation = _Generation(self._folder, max(numbers)) if numbers else None
        return self._generation

    def _created(self) -> _Generation:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._write_generation(0, iter(()))
        self._generation = _Generation(self._folder, 0)
        return self._generation

    def _write_generation(self, number: int, items: Iterator[tuple[bytes, Buffer]]) -> None:
        """Write both files under temporary names, and give `N.keys`, which makes the generation valid, its name last."""
        data_path, keys_path = _paths(self._folder, number)
        temporary = [path.with_suffix(path.suffix + ".unfinished") for path in (data_path, keys_path)]
        try:
            with open(temporary[0], "wb") as data, open(temporary[1], "wb") as keys:
                data.write(MAGIC)
                keys.write(MAGIC)
                _append(data, keys, items)
            os.replace(temporary[0], data_path)
            os.replace(temporary[1], keys_path)
        except BaseException:
            for path in temporary:
                path.unlink(missing_ok=True)
            raise

    @contextlib.contextmanager
    def _write_lock(self) -> Iterator[None]:
        import filelock

        self._folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self._folder / LOCK_FILE)
        try:
            lock.acquire(timeout=LOCK_SECONDS)
        except filelock.Timeout:
            raise SourceError(f"another process is writing to {self._folder}; wait until it is done") from None
        try:
            yield
        finally:
            lock.release()


class _Generation:
    """The files `N.data` and `N.keys`, mapped. Not for several threads at once."""

    def __init__(self, folder: Path, number: int) -> None:
        self.number = number
        self._data_path, self._keys_path = _paths(folder, number)
        self._recent: dict[bytes, int] = {}  # position of the record, for keys that are not in the sorted arrays
        self._records_read = 0
        self._records: Any = None
        self._sorted: tuple[Any, Any] | None = None
        self._verified = bytearray()
        self._map: mmap.mmap | None = None
        self.refresh()

    @property
    def size(self) -> int:
        return self._data_path.stat().st_size

    def exists(self) -> bool:
        return self._keys_path.exists()

    def refresh(self) -> None:
        """Read the records that have been appended."""
        count = (self._keys_path.stat().st_size - len(MAGIC)) // RECORD_BYTES
        if count <= self._records_read:
            return
        records = _read_records(self._keys_path, self._records_read, count)
        self._add_records(records)
        self._records_read = count
        size = self._data_path.stat().st_size
        if self._map is None or len(self._map) < size:
            with open(self._data_path, "rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Buffer]:
        encodings: dict[bytes, Buffer] = {}
        for key, position in zip(keys, self._positions(keys), strict=True):
            if position >= 0 and (encoding := self._encoding(position)) is not None:
                encodings[key] = encoding
        return encodings

    def append(self, encodings: Mapping[bytes, Buffer]) -> None:
        """Write those encodings that are not stored yet. For one process at a time."""
        positions = self._positions(list(encodings))
        missing = [
            (key, encoding)
            for (key, encoding), position in zip(encodings.items(), positions, strict=True)
            if position < 0 or self._encoding(position) is None
        ]
        if not missing:
            return
        with open(self._data_path, "ab") as data, open(self._keys_path, "ab") as keys:
            keys.truncate(len(MAGIC) + (keys.tell() - len(MAGIC)) // RECORD_BYTES * RECORD_BYTES)
            keys.seek(0, os.SEEK_END)
            _append(data, keys, iter(missing))
        self.refresh()

    def items(self, live: Collection[bytes]) -> Iterator[tuple[bytes, Buffer]]:
        """Yield the intact encodings of the keys in `live`, each once."""
        written: set[bytes] = set()
        for position in range(self._records_read):
            key = bytes(self._records["key"][position].tobytes())
            if key in live and key not in written and (encoding := self._encoding(position)) is not None:
                written.add(key)
                yield key, encoding

    def delete(self) -> None:
        for path in (self._keys_path, self._data_path):
            path.unlink(missing_ok=True)

    def _add_records(self, records: NDArray[np.void]) -> None:
        import numpy as np

        first = self._records_read
        self._records = records if self._records is None else np.concatenate([self._records, records])
        self._verified.extend(bytes(len(records)))
        if len(self._recent) + len(records) <= MAX_RECENT:
            self._recent.update((key.tobytes(), first + number) for number, key in enumerate(records["key"]))
            return
        first_halves = _first_halves(self._records["key"].tobytes())
        order = np.argsort(first_halves, kind="stable")
        self._sorted = (first_halves[order], order)
        self._recent.clear()

    def _positions(self, keys: Sequence[bytes]) -> list[int]:
        """Return the position of each key's record, -1 if it has none."""
        positions = [self._recent.get(key, -1) for key in keys]
        if self._sorted is None or -1 not in positions:
            return positions
        import numpy as np

        first_halves, order = self._sorted
        ends = np.searchsorted(first_halves, _first_halves(b"".join(keys)), side="right")
        for number, (key, end) in enumerate(zip(keys, ends, strict=True)):
            # The last of equal keys, because a damaged encoding is written again under the same key.
            if positions[number] < 0 and end and self._records["key"][order[end - 1]].tobytes() == key:
                positions[number] = int(order[end - 1])
        return positions

    def _encoding(self, position: int) -> memoryview | None:
        """Return the encoding of a record, None if it is damaged. Its checksum is compared once per process."""
        record = self._records[position]
        offset, length = int(record["offset"]), int(record["length"])
        if self._map is None or offset + length > len(self._map):
            return None
        encoding = memoryview(self._map)[offset : offset + length]
        if not self._verified[position]:
            if zlib.crc32(encoding) != record["checksum"]:
                return None
            self._verified[position] = 1
        return encoding


def _append(data: IO[bytes], keys: IO[bytes], items: Iterator[tuple[bytes, Buffer]]) -> None:
    """Append encodings, and then their records."""
    import numpy as np

    offset = data.seek(0, os.SEEK_END)
    fields = []
    for key, encoding in items:
        data.write(encoding)
        fields.append(FIELDS.pack(key, offset, len(encoding), zlib.crc32(encoding)))
        offset += len(encoding)
    data.flush()
    words = np.frombuffer(b"".join(fields), "<u4").reshape(-1, FIELDS.size // 4)
    keys.write(np.concatenate([words, _record_checksums(words)[:, None]], axis=1).tobytes())
    keys.flush()


def _record_checksums(words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return a checksum for each row of 32-bit words. Computed for a million records at once whenever a store is opened."""
    import numpy as np

    factors = (np.arange(1, words.shape[1] + 1, dtype=np.uint64) * 2_654_435_761 | 1).astype(np.uint32)
    checksums: NDArray[np.uint32] = ((words * factors).sum(axis=1, dtype=np.uint32) ^ np.uint32(0x5BD1E995)).astype("<u4")
    return checksums


def _read_records(path: Path, first: int, last: int) -> NDArray[np.void]:
    """Return the records `first` to `last` (exclusive). One that is damaged gets a key of zeros and no encoding."""
    import numpy as np

    layout = np.dtype([("key", "V16"), ("offset", "<u8"), ("length", "<u4"), ("checksum", "<u4"), ("own_checksum", "<u4")])
    records = np.fromfile(path, layout, last - first, offset=len(MAGIC) + first * RECORD_BYTES)
    words = records.view("<u4").reshape(-1, RECORD_BYTES // 4)[:, :-1]
    records[_record_checksums(words) != records["own_checksum"]] = (bytes(KEY_BYTES), 1 << 62, 0, 0, 0)
    return records


def _first_halves(keys: bytes) -> NDArray[np.uint64]:
    """Return the first eight bytes of each key as a number."""
    import numpy as np

    return np.frombuffer(keys, ">u8").reshape(-1, 2)[:, 0].astype(np.uint64)


def _numbers(folder: Path) -> list[int]:
    """Return the numbers of the generations in a folder whose files begin as podium's do."""
    names = [match[1] for path in folder.glob("*.keys") if (match := re.fullmatch(r"(\d+)\.keys", path.name))]
    return [int(name) for name in names if all(_is_own(path) for path in _paths(folder, int(name)))]


def _is_own(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def _paths(folder: Path, number: int) -> tuple[Path, Path]:
    return folder / f"{number}.data", folder / f"{number}.keys"
