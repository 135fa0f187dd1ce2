"""Checksums of large files and arrays that will be mapped into memory: fast enough to compare at every start.

They find damage, not forgery. Per 4 KB, the sum of its 64-bit words, at the speed of memory; over these sums, a CRC-32.
"""

from __future__ import annotations

import zlib
from typing import BinaryIO

__all__ = ["checksum", "file_checksum"]

BLOCK_BYTES, CHUNK_BYTES = 4 << 10, 1 << 20


def checksum(data: memoryview | bytes, start: int = 0) -> int:
    """Return the checksum of a buffer; `start` is a number that it also depends on, such as that of what came before."""
    view = memoryview(data).cast("B") if len(data) else memoryview(b"")
    for begin in range(0, len(view), CHUNK_BYTES):
        start = _extended(start, view[begin : begin + CHUNK_BYTES])
    return start


def file_checksum(file: BinaryIO, length: int, start: int = 0) -> int:
    """Return the checksum of the next `length` bytes of a file, or of fewer where it ends; they are read, not mapped."""
    buffer = memoryview(bytearray(CHUNK_BYTES))
    while length > 0 and (count := file.readinto(buffer[: min(length, CHUNK_BYTES)])):  # type: ignore[attr-defined]
        start = _extended(start, buffer[:count])
        length -= count
    return start


def _extended(before: int, chunk: memoryview) -> int:
    import numpy as np  # here, because an index that is searched by text alone needs none

    whole = len(chunk) // BLOCK_BYTES * BLOCK_BYTES
    words = np.frombuffer(chunk[:whole], "<u8").reshape(-1, BLOCK_BYTES // 8)
    return zlib.crc32(chunk[whole:], zlib.crc32(words.sum(axis=1, dtype=np.uint64).tobytes(), before))
