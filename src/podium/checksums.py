"""Checksums of large files and arrays, fast enough to be compared whenever a file is opened.

They detect damage, not forgery. Each block of 4 KB is reduced to the sum of its 64-bit words, which runs at memory speed;
the checksum is the CRC-32 of these sums.
"""

from __future__ import annotations

import zlib
from typing import BinaryIO

__all__ = ["checksum", "file_checksum"]

BLOCK_BYTES, CHUNK_BYTES = 4 << 10, 1 << 20


def checksum(data: memoryview | bytes, start: int = 0) -> int:
    """Return the checksum of a buffer. `start` is the checksum of the data before it, or any other number to include."""
    view = memoryview(data).cast("B") if len(data) else memoryview(b"")
    for begin in range(0, len(view), CHUNK_BYTES):
        start = _extended(start, view[begin : begin + CHUNK_BYTES])
    return start


def file_checksum(file: BinaryIO, length: int, start: int = 0) -> int:
    """Return the checksum of the next `length` bytes of a file, or of fewer if it ends before. The file is read, not mapped."""
    buffer = memoryview(bytearray(CHUNK_BYTES))
    while length > 0 and (count := file.readinto(buffer[: min(length, CHUNK_BYTES)])):  # type: ignore[attr-defined]
        start = _extended(start, buffer[:count])
        length -= count
    return start


def _extended(before: int, chunk: memoryview) -> int:
    import numpy as np  # imported here, because full-text search does not need numpy

    end = len(chunk) // BLOCK_BYTES * BLOCK_BYTES  # of the last complete block
    words = np.frombuffer(chunk[:end], "<u8").reshape(-1, BLOCK_BYTES // 8)
    return zlib.crc32(chunk[end:], zlib.crc32(words.sum(axis=1, dtype=np.uint64).tobytes(), before))
