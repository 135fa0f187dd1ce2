"""Checksums of a file of rows that only grows. They are in a second file. Each append of rows adds a record to it."""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from podium.regular_files import open_regular_file

__all__ = ["DamagedRecord", "RowChecksums", "RowRange"]

RECORD = struct.Struct("<QQII")  # start and end of the rows, their checksum, and the CRC-32 of these three numbers
FIELDS = struct.Struct("<QQI")  # a record without its CRC-32


class DamagedRecord(Exception):
    """The file of checksums is damaged."""


@dataclass(frozen=True, slots=True)
class RowRange:
    """The rows `start` to `end` (exclusive) of one append, and their checksum."""

    start: int
    end: int
    checksum: int


class RowChecksums:
    """The file of checksums at `path`.

    A record is written after its rows are on the disk, so a crash never leaves a record without its rows.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, rows: RowRange) -> None:
        """Write the record of rows that were just appended. It is on the disk when this returns. For one writer at a time."""
        fields = FIELDS.pack(rows.start, rows.end, rows.checksum)
        with open(self._path, "ab") as file:
            file.truncate(file.tell() // RECORD.size * RECORD.size)  # a writer that was killed may have left part of a record
            file.write(fields + struct.pack("<I", zlib.crc32(fields)))
            file.flush()
            os.fsync(file.fileno())

    def records_between(self, start: int, end: int) -> list[RowRange]:
        """Return the records whose rows are all within `start` to `end` (exclusive). Raises DamagedRecord.

        Rows have no record if an earlier version of podium wrote them, or if their writer was killed before it wrote one.
        """
        if not self._path.exists():
            return []
        records = []
        with open_regular_file(self._path) as file:
            # Read one record at a time, because a damaged file may be larger than the memory.
            while len(record := file.read(RECORD.size)) == RECORD.size:
                rows_start, rows_end, checksum, record_crc = RECORD.unpack(record)
                if zlib.crc32(record[: FIELDS.size]) != record_crc:
                    raise DamagedRecord
                if start <= rows_start and rows_end <= end:
                    records.append(RowRange(rows_start, rows_end, checksum))
        return records
