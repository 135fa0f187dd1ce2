"""Checksums of large files and arrays, fast enough to be checked whenever a file is opened.

They detect damage, not forgery. Each block of 4 KB is reduced to the sum of its 64-bit words, which runs at memory speed.
The checksum is the CRC-32 of these sums. Bytes after the last complete block enter the CRC-32 as they are.
"""

from __future__ import annotations

import zlib
from typing import BinaryIO

__all__ = ["checksum", "file_checksum"]

BLOCK_BYTES = 4 << 10  # the number of bytes that one sum covers
CHUNK_BYTES = 1 << 20  # the number of bytes that are read at a time; a multiple of BLOCK_BYTES


def checksum(data: memoryview | bytes, previous: int = 0) -> int:
    """Return the checksum of a buffer. `previous` is the checksum of the data before the buffer, or any other initial value."""
    view = memoryview(data).cast("B") if len(data) else memoryview(b"")
    for begin in range(0, len(view), CHUNK_BYTES):
        previous = _checksum_with_chunk(previous, view[begin : begin + CHUNK_BYTES])
    return previous


def file_checksum(file: BinaryIO, length: int, previous: int = 0) -> int:
    """Return the checksum of the next `length` bytes of a file, or of all bytes to its end if there are fewer.

    `previous` is as in `checksum`. The bytes are read, not mapped to memory.
    """
    buffer = memoryview(bytearray(CHUNK_BYTES))
    while length > 0 and (count := file.readinto(buffer[: min(length, CHUNK_BYTES)])):  # type: ignore[attr-defined]
        previous = _checksum_with_chunk(previous, buffer[:count])
        length -= count
    return previous


def _checksum_with_chunk(previous: int, chunk: memoryview) -> int:
    """Return the checksum of some data and the chunk after it. `previous` is the checksum of that data."""
    import numpy as np  # imported here, because full-text search does not need numpy

    end = len(chunk) // BLOCK_BYTES * BLOCK_BYTES  # where the last complete block ends
    words = np.frombuffer(chunk[:end], "<u8").reshape(-1, BLOCK_BYTES // 8)
    return zlib.crc32(chunk[end:], zlib.crc32(words.sum(axis=1, dtype=np.uint64).tobytes(), previous))
