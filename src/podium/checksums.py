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


def checksum(data: memoryview | bytes, initial: int = 0) -> int:
    """Return the checksum of a buffer, which also depends on the number `initial`, for example the checksum of a name."""
    view = memoryview(data).cast("B") if len(data) else memoryview(b"")  # the view of an empty array cannot be cast
    crc = initial
    for begin in range(0, len(view), CHUNK_BYTES):
        crc = _updated(crc, view[begin : begin + CHUNK_BYTES])
    return crc


def file_checksum(file: BinaryIO, length: int, initial: int = 0) -> int:
    """Return the checksum of the next `length` bytes of a file, or of all bytes to its end if there are fewer.

    It is that of a buffer with these bytes. The file must be buffered, so that only its last chunk can be incomplete.
    """
    crc = initial
    bytes_left = length
    while chunk := file.read(min(bytes_left, CHUNK_BYTES)):
        crc = _updated(crc, memoryview(chunk))
        bytes_left -= len(chunk)
    return crc


def _updated(crc: int, chunk: memoryview) -> int:
    """Return `crc` updated with the next chunk of some data. Only the last chunk may end with an incomplete block."""
    import numpy as np  # imported here, because full-text search does not need numpy

    end = len(chunk) // BLOCK_BYTES * BLOCK_BYTES  # where the last complete block ends
    sums = np.frombuffer(chunk[:end], "<u8").reshape(-1, BLOCK_BYTES // 8).sum(axis=1, dtype=np.uint64)
    return zlib.crc32(chunk[end:], zlib.crc32(sums.tobytes(), crc))
