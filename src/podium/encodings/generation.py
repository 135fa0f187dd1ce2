"""The two files of a folder of encodings, and where each encoding is in them.

`N.data` has the encodings one after the other, and `N.keys` a record of fixed size for each: its key, its position and
checksums. A record is written after its encoding, so a writer that is killed leaves at most bytes that no record refers to,
or an incomplete record, which is ignored. A damaged record or encoding counts as missing.
"""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
import re
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podium.encodings import Buffer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Records = NDArray[np.void]

__all__ = ["Generation", "is_own", "numbered_files", "write_generation"]

MAGIC = b"podium-encodings-1\n"
LAYOUT = [("key", "<u8", 2), ("offset", "<u8"), ("length", "<u4"), ("checksum", "<u4"), ("own_checksum", "<u4")]
RECORD_BYTES = 36
ALIGNMENT = 16  # of encodings in the file, so that vector instructions read them faster
MAX_RECENT = 10_000  # keys in the dict of recent ones; beyond this they are sorted into the arrays
WRITTEN_AT_ONCE = 256  # encodings
READ_AT_ONCE = 100_000  # records
DAMAGED = 1 << 62  # the offset of a damaged record, which is in no file
Files = tuple[Path, Path]


class Generation:
    """The files `N.data` and `N.keys` of a folder, mapped. For one thread at a time."""

    def __init__(self, folder: Path, number: int) -> None:
        import numpy as np

        self._data_path, self._keys_path = _paths(folder, number)
        self._next_path = _paths(folder, number + 1)[1]
        self._records: Records = np.zeros(0, LAYOUT)  # of which `_count` are used
        self._count = 0
        self._recent: dict[bytes, int] = {}  # position of the record, for keys that are not in the sorted arrays
        self._sorted: tuple[Any, Any] | None = None  # first halves of keys, and positions of their records
        self._verified = bytearray()
        self._map: mmap.mmap | None = None
        self._file_ids = [_file_id(path.stat()) for path in (self._data_path, self._keys_path)]
        self.refresh()

    def is_newest(self) -> bool:
        """Whether there is no later generation, and the files are those that were opened and have not become shorter."""
        try:
            data, keys = self._data_path.stat(), self._keys_path.stat()
        except OSError:
            return False
        is_same = [_file_id(data), _file_id(keys)] == self._file_ids
        has_records = (keys.st_size - len(MAGIC)) // RECORD_BYTES >= self._count
        has_data = self._map is None or data.st_size >= len(self._map)
        return is_same and has_records and has_data and not self._next_path.exists()

    def refresh(self) -> None:
        """Read the records that have been appended."""
        count = (self._keys_path.stat().st_size - len(MAGIC)) // RECORD_BYTES
        if count <= self._count:
            return
        self._add(_read_records(self._keys_path, self._count, count))
        size = self._data_path.stat().st_size
        if self._map is None or len(self._map) < size:
            with open(self._data_path, "rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Buffer]:
        positions = self._positions(keys)
        encodings = self._encodings(positions)
        return {key: encoding for key, encoding in zip(keys, encodings, strict=True) if encoding is not None}

    def append(self, encodings: Mapping[bytes, Buffer]) -> None:
        """Write those encodings that are not stored yet. For one process at a time."""
        stored = self.get(list(encodings))
        missing = [(key, encoding) for key, encoding in encodings.items() if key not in stored]
        if not missing:
            return
        size = self._data_path.stat().st_size
        keys_size = len(MAGIC) + self._count * RECORD_BYTES
        os.truncate(self._keys_path, keys_size)  # after it may be a part of a record, or damaged ones
        try:
            _append((self._data_path, self._keys_path), iter(missing))
        except OSError:
            if self._keys_path.stat().st_size <= keys_size:  # no record refers to the new bytes
                with contextlib.suppress(OSError):
                    os.truncate(self._data_path, size)
            raise
        self.refresh()

    def items(self, live: Collection[bytes]) -> Iterator[tuple[bytes, Buffer]]:
        """Yield the intact encodings of the keys in `live`, each once."""
        written: set[bytes] = set()
        for start in range(0, self._count, WRITTEN_AT_ONCE):
            positions = list(range(start, min(start + WRITTEN_AT_ONCE, self._count)))
            keys = [row.tobytes() for row in self._records["key"][positions]]
            for key, encoding in zip(keys, self._encodings(positions), strict=True):
                if key in live and key not in written and encoding is not None:
                    written.add(key)
                    yield key, encoding

    def _add(self, records: Records) -> None:
        import numpy as np

        first, self._count = self._count, self._count + len(records)
        if self._count > len(self._records):
            grown = np.zeros(max(self._count, 2 * len(self._records)), LAYOUT)
            grown[:first] = self._records[:first]
            self._records = grown
        self._records[first : self._count] = records
        self._verified.extend(bytes(len(records)))
        if len(self._recent) + len(records) <= MAX_RECENT:
            self._recent.update((key.tobytes(), position) for position, key in enumerate(records["key"], start=first))
            return
        first_halves = self._records["key"][: self._count, 0]
        order = np.argsort(first_halves, kind="stable")
        self._sorted = (first_halves[order], order)
        self._recent.clear()

    def _positions(self, keys: Sequence[bytes]) -> list[int]:
        """Return the position of each key's record, -1 if it has none."""
        import numpy as np

        positions = [self._recent.get(key, -1) for key in keys]
        if self._sorted is None or -1 not in positions:
            return positions
        first_halves, order = self._sorted
        halves = np.frombuffer(b"".join(keys), "<u8").reshape(-1, 2)
        # The last of equal keys, because a damaged encoding is written again under the same key.
        last = np.searchsorted(first_halves, halves[:, 0], side="right") - 1
        candidates = order[last]
        matches = (last >= 0) & (self._records["key"][candidates] == halves).all(axis=1)
        older = np.where(matches, candidates, -1).tolist()
        return [old if position < 0 else position for position, old in zip(positions, older, strict=True)]

    def _encodings(self, positions: Sequence[int]) -> list[memoryview | None]:
        """Return the encodings of records, None for -1 and for those that are damaged. Each is verified once per process."""
        if self._map is None:
            return [None] * len(positions)
        records = self._records[list(positions)]
        columns = (positions, records["offset"].tolist(), records["length"].tolist(), records["checksum"].tolist())
        data = memoryview(self._map)
        encodings: list[memoryview | None] = []
        for position, offset, length, checksum in zip(*columns, strict=True):
            if position < 0 or offset + length > len(data):
                encodings.append(None)
                continue
            encoding = data[offset : offset + length]
            if not self._verified[position]:
                self._verified[position] = zlib.crc32(encoding) == checksum
            encodings.append(encoding if self._verified[position] else None)
        return encodings


def _file_id(stat: os.stat_result) -> tuple[int, int]:
    """Return what tells a file from another one of the same name, which may replace it."""
    return stat.st_dev, stat.st_ino


def write_generation(folder: Path, number: int, items: Iterator[tuple[bytes, Buffer]]) -> None:
    """Write both files under temporary names, and give `N.keys`, which makes the generation valid, its name last."""
    files = _paths(folder, number)
    unfinished = files[0].with_suffix(".data.unfinished"), files[1].with_suffix(".keys.unfinished")
    try:
        for path in unfinished:
            path.write_bytes(MAGIC)
        _append(unfinished, items)
        for path, final in zip(unfinished, files, strict=True):
            os.replace(path, final)
    except BaseException:
        for path in unfinished:
            path.unlink(missing_ok=True)
        raise


def numbered_files(folder: Path) -> dict[int, Files]:
    """Return the names of both files of each generation in a folder, also if one of them does not exist."""
    names = (re.fullmatch(r"(\d+)\.(keys|data)", path.name) for path in folder.glob("*.*"))
    return {int(match[1]): _paths(folder, int(match[1])) for match in names if match}


def is_own(files: Files) -> bool:
    """Whether both files exist and begin as podium's do."""
    try:
        return all(_beginning(path) == MAGIC for path in files)
    except OSError:
        return False


def _beginning(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(len(MAGIC))


def _append(files: Files, items: Iterator[tuple[bytes, Buffer]]) -> None:
    """Append encodings, and then their records, a part at a time."""
    import numpy as np

    with open(files[0], "ab") as data, open(files[1], "ab") as keys:
        end = data.seek(0, os.SEEK_END)
        while part := list(itertools.islice(items, WRITTEN_AT_ONCE)):
            records = np.zeros(len(part), LAYOUT)
            for record, (key, encoding) in zip(records, part, strict=True):
                padding = -end % ALIGNMENT
                data.write(bytes(padding))
                data.write(encoding)
                record["key"] = np.frombuffer(key, "<u8")
                record["offset"], record["length"], record["checksum"] = end + padding, len(encoding), zlib.crc32(encoding)
                end += padding + len(encoding)
            data.flush()
            records["own_checksum"] = _record_checksums(records)
            keys.write(records.tobytes())
            keys.flush()


def _record_checksums(records: Records) -> NDArray[np.uint32]:
    """Return each record's own checksum. It is computed for a million records at once whenever a store is opened."""
    import numpy as np

    words = records.view("<u4").reshape(len(records), -1)[:, :-1]
    factors = (np.arange(1, words.shape[1] + 1, dtype=np.uint64) * 2_654_435_761 | 1).astype(np.uint32)
    checksums: NDArray[np.uint32] = ((words * factors).sum(axis=1, dtype=np.uint32) ^ np.uint32(0x5BD1E995)).astype("<u4")
    return checksums


def _read_records(path: Path, first: int, last: int) -> Records:
    """Return the records `first` to `last` (exclusive). One that is damaged gets a key of zeros and no encoding.

    Those after the last intact one are left out. Reading ends at a block without any, so that a file of the wrong size does
    not fill the memory.
    """
    import numpy as np

    blocks = [np.zeros(0, LAYOUT)]
    for start in range(first, last, READ_AT_ONCE):
        count = min(READ_AT_ONCE, last - start)
        records = np.fromfile(path, LAYOUT, count, offset=len(MAGIC) + start * RECORD_BYTES)
        damaged = _record_checksums(records) != records["own_checksum"]
        if damaged.all():
            break
        records["key"][damaged] = 0
        records["offset"][damaged] = DAMAGED
        blocks.append(records)
    records = np.concatenate(blocks)
    intact = np.flatnonzero(records["offset"] != DAMAGED)
    return records[: intact[-1] + 1] if len(intact) else records


def _paths(folder: Path, number: int) -> Files:
    return folder / f"{number}.data", folder / f"{number}.keys"
