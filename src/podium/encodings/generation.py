"""Generation, the two files that hold the encodings of a folder, and the search for an encoding in them.

`N.data` has the encodings one after the other. `N.keys` has a record of fixed size for every encoding: the key, the encoding's
offset and length in `N.data`, and checksums. N is the number of the generation.

A record is written after its encoding. So a writer that is killed leaves at most bytes to which no record refers, or an
incomplete record, which is ignored. A damaged record or encoding is treated as missing.
"""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
import re
import secrets
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from podium.encodings import Buffer
from podium.regular_files import open_regular_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Records = NDArray[np.void]

__all__ = ["MAGIC", "Files", "Generation", "files_by_number", "is_own_file", "unfinished_files", "write_generation"]

MAGIC = b"podium-encodings-1\n"
# The numpy type of a record. `checksum` is the encoding's, and `own_checksum` is that of the record's other fields.
LAYOUT = [("key", "<u8", 2), ("offset", "<u8"), ("length", "<u4"), ("checksum", "<u4"), ("own_checksum", "<u4")]
RECORD_BYTES = 36
ALIGNMENT = 16  # Encodings begin at multiples of this, so that vector instructions read them faster.
MAX_RECENT = 10_000  # how many keys the dict of recent keys may have before they are sorted into the arrays
WRITTEN_AT_ONCE = 256  # how many encodings are written before their records are
READ_AT_ONCE = 100_000  # how many records are read from the file at once
DAMAGED_OFFSET = 1 << 62  # the offset that a damaged record gets, which is beyond the end of any file


class Files(NamedTuple):
    """The paths of a generation's files."""

    data: Path
    keys: Path


class Generation:
    """The files `N.data` and `N.keys` of a folder. The data are mapped into memory. Use it from one thread at a time."""

    def __init__(self, folder: Path, number: int) -> None:
        import numpy as np

        self.files = _files(folder, number)
        self._next_files = _files(folder, number + 1)
        self._records: Records = np.zeros(0, LAYOUT)  # The first `_record_count` are used; the others are spare room.
        self._record_count = 0
        self._recent: dict[bytes, int] = {}  # the index of the record, for the keys that are not in the sorted arrays
        self._sorted: tuple[Any, Any] | None = None  # the sorted first halves of the keys, and the indices of their records
        self._is_verified = bytearray()  # 1 for the records whose encoding was compared with its checksum
        self._map: mmap.mmap | None = None
        self._file_ids = [_file_id(path.stat()) for path in self.files]
        self.refresh()

    def is_newest(self) -> bool:
        """Whether there is no later generation, and the files are those that were opened and have not become shorter."""
        try:
            data_stat = self.files.data.stat()
            keys_stat = self.files.keys.stat()
        except OSError:
            return False
        is_same = [_file_id(data_stat), _file_id(keys_stat)] == self._file_ids
        has_records = _record_count(keys_stat.st_size) >= self._record_count
        has_data = self._map is None or data_stat.st_size >= len(self._map)
        return is_same and has_records and has_data and not self._next_files.keys.exists()

    def refresh(self) -> None:
        """Read the records that have been appended since the last call, and map the data that have been appended."""
        record_count = _record_count(self.files.keys.stat().st_size)
        if record_count <= self._record_count:
            return
        self._add(_read_records(self.files.keys, self._record_count, record_count))
        size = self.files.data.stat().st_size
        if self._map is None or len(self._map) < size:
            with open_regular_file(self.files.data) as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Buffer]:
        """Return the encodings that are stored and intact, by key. They are views of the mapped file."""
        encodings = self._encodings(self._record_indices(keys))
        return {key: encoding for key, encoding in zip(keys, encodings, strict=True) if encoding is not None}

    def append(self, encodings: Mapping[bytes, Buffer]) -> None:
        """Write those encodings that are not stored yet. Only one process may call this at a time."""
        stored = self.get(list(encodings))
        missing = [(key, encoding) for key, encoding in encodings.items() if key not in stored]
        if not missing:
            return
        data_size = self.files.data.stat().st_size
        keys_size = len(MAGIC) + self._record_count * RECORD_BYTES
        os.truncate(self.files.keys, keys_size)  # removes an incomplete record, or damaged ones, at the end
        try:
            _append(self.files, iter(missing))
        except OSError:
            if self.files.keys.stat().st_size <= keys_size:  # No record refers to the new bytes.
                with contextlib.suppress(OSError):
                    os.truncate(self.files.data, data_size)
            raise
        self.refresh()

    def items(self, live_keys: Collection[bytes]) -> Iterator[tuple[bytes, Buffer]]:
        """Yield the keys in `live_keys` that have an intact encoding, with that encoding. No key is repeated."""
        yielded_keys: set[bytes] = set()
        for start in range(0, self._record_count, WRITTEN_AT_ONCE):
            indices = list(range(start, min(start + WRITTEN_AT_ONCE, self._record_count)))
            keys = [row.tobytes() for row in self._records["key"][indices]]
            for key, encoding in zip(keys, self._encodings(indices), strict=True):
                if key in live_keys and key not in yielded_keys and encoding is not None:
                    yielded_keys.add(key)
                    yield key, encoding

    def _add(self, records: Records) -> None:
        """Add the next records. Their keys go into the dict, or, if there are too many, all keys are sorted again."""
        import numpy as np

        start = self._record_count
        self._record_count += len(records)
        if self._record_count > len(self._records):
            grown = np.zeros(max(self._record_count, 2 * len(self._records)), LAYOUT)
            grown[:start] = self._records[:start]
            self._records = grown
        self._records[start : self._record_count] = records
        self._is_verified.extend(bytes(len(records)))
        if len(self._recent) + len(records) <= MAX_RECENT:
            self._recent.update((key.tobytes(), index) for index, key in enumerate(records["key"], start=start))
            return
        first_halves = self._records["key"][: self._record_count, 0]
        order = np.argsort(first_halves, kind="stable")
        self._sorted = (first_halves[order], order)
        self._recent.clear()

    def _record_indices(self, keys: Sequence[bytes]) -> list[int]:
        """Return the index of each key's record, -1 if it has none."""
        import numpy as np

        indices = [self._recent.get(key, -1) for key in keys]
        if self._sorted is None or -1 not in indices:
            return indices
        first_halves, order = self._sorted
        halves = np.frombuffer(b"".join(keys), "<u8").reshape(-1, 2)
        # Of equal keys, the last one counts, because a damaged encoding is written again under the same key.
        last = np.searchsorted(first_halves, halves[:, 0], side="right") - 1
        candidates = order[last]
        matches = (last >= 0) & (self._records["key"][candidates] == halves).all(axis=1)
        sorted_indices = np.where(matches, candidates, -1).tolist()
        return [recent if recent >= 0 else older for recent, older in zip(indices, sorted_indices, strict=True)]

    def _encodings(self, indices: Sequence[int]) -> list[memoryview | None]:
        """Return the encodings of the records with these indices, None for the index -1 and for damaged encodings.

        An encoding is compared with its checksum once per process.
        """
        if self._map is None:
            return [None] * len(indices)
        records = self._records[list(indices)]
        columns = (indices, records["offset"].tolist(), records["length"].tolist(), records["checksum"].tolist())
        data = memoryview(self._map)
        encodings: list[memoryview | None] = []
        for index, offset, length, checksum in zip(*columns, strict=True):
            if index < 0 or offset + length > len(data):
                encodings.append(None)
                continue
            encoding = data[offset : offset + length]
            if not self._is_verified[index]:
                self._is_verified[index] = zlib.crc32(encoding) == checksum
            encodings.append(encoding if self._is_verified[index] else None)
        return encodings


def _record_count(keys_size: int) -> int:
    """Return the number of complete records in a file of keys of this size."""
    return (keys_size - len(MAGIC)) // RECORD_BYTES


def _file_id(stat: os.stat_result) -> tuple[int, int]:
    """Return numbers that differ if another file has replaced a file under its name."""
    return stat.st_dev, stat.st_ino


def write_generation(folder: Path, number: int, items: Iterator[tuple[bytes, Buffer]]) -> None:
    """Write both files under temporary names, and then rename them.

    `N.keys` is renamed last, because it makes the generation valid.
    """
    files = _files(folder, number)
    token = secrets.token_hex(8)  # random, because another user could create a file with a name that can be guessed
    unfinished = Files(folder / f"{token}.data.unfinished", folder / f"{token}.keys.unfinished")
    try:
        for path in unfinished:
            with open(path, "xb") as file:
                file.write(MAGIC)
        _append(unfinished, items)
        os.replace(unfinished.data, files.data)
        os.replace(unfinished.keys, files.keys)
    except BaseException:
        for path in unfinished:
            path.unlink(missing_ok=True)
        raise


def files_by_number(folder: Path) -> dict[int, Files]:
    """Return the two paths of each generation by its number. One of the two files may be missing."""
    matches = [re.fullmatch(r"(\d+)\.(keys|data)", path.name) for path in folder.glob("*.*")]
    numbers = [int(match[1]) for match in matches if match]
    return {number: _files(folder, number) for number in numbers}


def unfinished_files(folder: Path) -> list[Path]:
    """Return the temporary files of `write_generation`. If no process is writing, killed processes left them."""
    return [path for path in folder.glob("*.unfinished") if re.fullmatch(r"[0-9a-f]+\.(data|keys)\.unfinished", path.name)]


def is_own_file(path: Path) -> bool:
    """Whether the path has a regular file that begins as the files of generations do."""
    try:
        with open_regular_file(path) as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def _append(files: Files, items: Iterator[tuple[bytes, Buffer]]) -> None:
    """Append keys and encodings in batches: the encodings of a batch first, and then their records."""
    import numpy as np

    with open(files.data, "ab") as data, open(files.keys, "ab") as keys:
        end = data.seek(0, os.SEEK_END)
        while batch := list(itertools.islice(items, WRITTEN_AT_ONCE)):
            records = np.zeros(len(batch), LAYOUT)
            for record, (key, encoding) in zip(records, batch, strict=True):
                padding = -end % ALIGNMENT
                data.write(bytes(padding))
                data.write(encoding)
                record["key"] = np.frombuffer(key, "<u8")
                record["offset"] = end + padding
                record["length"] = len(encoding)
                record["checksum"] = zlib.crc32(encoding)
                end += padding + len(encoding)
            data.flush()
            records["own_checksum"] = _record_checksums(records)
            keys.write(records.tobytes())
            keys.flush()


def _record_checksums(records: Records) -> NDArray[np.uint32]:
    """Return each record's own checksum. It is computed by numpy, because opening a store may check a million records.

    It is a sum of the record's 32-bit words with different odd factors, multiples of the one in Knuth's multiplicative hash. So
    the checksum depends on the order of the words and on all of their bits. The last constant makes a record of zeros invalid.
    """
    import numpy as np

    words = records.view("<u4").reshape(len(records), -1)[:, :-1]
    factors = (np.arange(1, words.shape[1] + 1, dtype=np.uint64) * 2_654_435_761 | 1).astype(np.uint32)
    checksums: NDArray[np.uint32] = ((words * factors).sum(axis=1, dtype=np.uint32) ^ np.uint32(0x5BD1E995)).astype("<u4")
    return checksums


def _read_records(path: Path, start: int, end: int) -> Records:
    """Return the records from index `start` to index `end` (exclusive).

    A damaged record gets a key of zeros, and an offset for which no encoding is returned. Records after the last intact record
    are left out. Reading ends at a block without an intact record, so that a file of the wrong size does not fill the memory.
    """
    import numpy as np

    blocks = [np.zeros(0, LAYOUT)]
    for block_start in range(start, end, READ_AT_ONCE):
        count = min(READ_AT_ONCE, end - block_start)
        with open_regular_file(path) as file:
            records = np.fromfile(file, LAYOUT, count, offset=len(MAGIC) + block_start * RECORD_BYTES)
        is_damaged = _record_checksums(records) != records["own_checksum"]
        if is_damaged.all():
            break
        records["key"][is_damaged] = 0
        records["offset"][is_damaged] = DAMAGED_OFFSET
        blocks.append(records)
    records = np.concatenate(blocks)
    intact_indices = np.flatnonzero(records["offset"] != DAMAGED_OFFSET)
    return records[: intact_indices[-1] + 1] if len(intact_indices) else records


def _files(folder: Path, number: int) -> Files:
    return Files(folder / f"{number}.data", folder / f"{number}.keys")
