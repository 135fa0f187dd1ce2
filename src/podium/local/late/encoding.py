"""Encoding, the token vectors of one text, and its bytes, which are what is stored and compared.

Everything is little-endian:

    header       u8 version, u8 precision (0 float32, 1 float16, 2 int8), u8 flags (1: has weights), u8 0,
                 u16 dimensions, u16 mean dimensions (0: no mean), u32 tokens, u32 dropped tokens, u32 vectors, u32 ids
    scales       float32 per vector, and one more for the mean; int8 only: number = int8 × scale
    ids          i32 each
    weights      float32 per vector
    mean         mean dimensions numbers, and zeros up to a multiple of 4 bytes
    rows         vectors × dimensions numbers

native/encoding.h reads the same bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from podium.encodings import Buffer
from podium.local.files.checkpoint import Array

__all__ = ["Encoding", "EncodingPrecision", "Layout", "normalised", "pack", "tokens_of", "unpack"]

EncodingPrecision = Literal["float32", "float16", "int8"]

VERSION = 1
HEADER = struct.Struct("<BBBxHHIIII")
COUNTS = struct.Struct("<8xII")  # the header's tokens and dropped tokens
SIZES = struct.Struct("<16xII")  # the header's vectors and ids
PRECISIONS: tuple[EncodingPrecision, ...] = ("float32", "float16", "int8")  # in the order of their codes
DTYPES: dict[EncodingPrecision, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "int8": np.dtype("i1"),
}
HAS_WEIGHTS = 1
SMALLEST_NORM = np.float32(1e-12)  # a row of zeros stays zeros


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """What a model computed of one text. Arrays are views of the packed bytes.

    - `rows`: shape (vectors, dimensions), of length 1 each, as float32, float16 or int8; int8 rows are multiplied by `scales`.
    - `ids`: token ids, as many as the model compares, which are more than the vectors if those were pooled.
    - `weights`: of a query's vectors, shape (vectors,).
    - `mean`: of the rows before projection, of length 1, in the precision of the rows, multiplied by `mean_scale`.
    - `tokens`, `dropped_tokens`: how many of the text's own tokens were read, and how many were not.
    """

    precision: EncodingPrecision
    rows: Array
    scales: Array | None
    ids: Array | None
    weights: Array | None
    mean: Array | None
    mean_scale: float
    tokens: int
    dropped_tokens: int

    @property
    def vectors(self) -> Array:
        """The rows as float32."""
        rows = self.rows.astype(np.float32)
        return rows if self.scales is None else rows * self.scales[:, None]


def pack(
    rows: Array,
    precision: EncodingPrecision,
    *,
    tokens: int,
    dropped_tokens: int = 0,
    ids: Array | None = None,
    weights: Array | None = None,
    mean: Array | None = None,
) -> bytes:
    """Return the bytes of an encoding. `rows` and `mean` are float32 of any length; they are normalised here."""
    rows = normalised(rows)
    vectors, dimensions = rows.shape
    means = np.zeros((1 if mean is not None else 0, 0 if mean is None else len(mean)), np.float32)
    if mean is not None:
        means = normalised(mean[None])
    stored_rows, row_scales = _stored(rows, precision)
    stored_mean, mean_scales = _stored(means, precision)
    flags = HAS_WEIGHTS if weights is not None else 0
    id_count = 0 if ids is None else len(ids)
    counts = (tokens, dropped_tokens, vectors, id_count)
    parts = [HEADER.pack(VERSION, PRECISIONS.index(precision), flags, dimensions, means.shape[1], *counts)]
    parts += [scales.tobytes() for scales in (row_scales, mean_scales)]
    parts += [ids.astype("<i4").tobytes()] if ids is not None else []
    parts += [weights.astype("<f4").tobytes()] if weights is not None else []
    parts += [_padded(stored_mean.tobytes()), stored_rows.tobytes()]
    return b"".join(parts)


def unpack(buffer: Buffer) -> Encoding:
    """Return an encoding. Raises ValueError if the bytes are damaged."""
    if len(buffer) < HEADER.size:
        raise ValueError(f"an encoding has at least {HEADER.size} bytes, not {len(buffer)}")
    version, code, flags, dimensions, mean_dimensions, tokens, dropped_tokens, vectors, ids = HEADER.unpack_from(buffer)
    if version != VERSION or code >= len(PRECISIONS) or flags & ~HAS_WEIGHTS or not dimensions:
        raise ValueError(f"not an encoding of version {VERSION}")
    precision = PRECISIONS[code]
    dtype = DTYPES[precision]
    has_mean = int(mean_dimensions > 0)
    reader = _Reader(buffer)
    scales = reader.array("<f4", vectors + has_mean) if precision == "int8" else None
    token_ids = reader.array("<i4", ids)
    weights = reader.array("<f4", vectors if flags & HAS_WEIGHTS else 0)
    mean = reader.array(dtype, mean_dimensions)
    reader.skip_padding()
    rows = reader.array(dtype, vectors * dimensions).reshape(vectors, dimensions)
    reader.check_end()
    return Encoding(
        precision=precision,
        rows=rows,
        scales=None if scales is None else scales[:vectors],
        ids=token_ids if ids else None,
        weights=weights if flags & HAS_WEIGHTS else None,
        mean=mean if has_mean else None,
        mean_scale=1.0 if scales is None or not has_mean else float(scales[-1]),
        tokens=tokens,
        dropped_tokens=dropped_tokens,
    )


@dataclass(frozen=True, slots=True)
class Layout:
    """What all encodings of texts by one model have in common: precision, dimensions, and which parts they have."""

    start: bytes
    fixed_bytes: int
    vector_bytes: int

    @classmethod
    def of(cls, encoding: Buffer) -> Layout:
        """Return the layout of an intact encoding without weights."""
        unpacked = unpack(encoding)
        itemsize = unpacked.rows.dtype.itemsize
        has_scales = int(unpacked.scales is not None)
        mean_bytes = 0 if unpacked.mean is None else len(_padded(unpacked.mean.tobytes())) + 4 * has_scales
        return cls(bytes(encoding[:8]), HEADER.size + mean_bytes, unpacked.rows.shape[1] * itemsize + 4 * has_scales)

    def fits(self, encoding: Buffer) -> bool:
        """Whether the bytes begin as the model's encodings do and have the size that they say."""
        if len(encoding) < HEADER.size or encoding[:8] != self.start:
            return False
        vectors, ids = SIZES.unpack_from(encoding)
        size: int = self.fixed_bytes + vectors * self.vector_bytes + 4 * ids
        return len(encoding) == size


def tokens_of(buffer: Buffer) -> tuple[int, int]:
    """Return `tokens` and `dropped_tokens` of an encoding without unpacking it."""
    tokens, dropped_tokens = COUNTS.unpack_from(buffer)
    return tokens, dropped_tokens


def normalised(rows: Array) -> Array:
    """Return rows of length 1, float32."""
    rows = np.ascontiguousarray(rows, np.float32)
    lengths = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
    quotients: Array = rows / np.maximum(lengths, SMALLEST_NORM)
    return quotients


def _stored(rows: Array, precision: EncodingPrecision) -> tuple[Array, Array]:
    """Return normalised rows in a precision, and their scales, which are empty unless the precision is int8."""
    if precision != "int8":
        return rows.astype(DTYPES[precision]), np.zeros(0, "<f4")
    scales = np.maximum(np.abs(rows).max(axis=1, initial=0), SMALLEST_NORM) / np.float32(127)
    return np.rint(rows / scales[:, None]).astype(np.int8), scales.astype("<f4")


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


class _Reader:
    """Reads an encoding's arrays one after the other."""

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer
        self._offset = HEADER.size

    def array(self, dtype: str | np.dtype[Any], count: int) -> Array:
        dtype = np.dtype(dtype)
        end = self._offset + count * dtype.itemsize
        if end > len(self._buffer):
            raise ValueError(f"an encoding ends after {len(self._buffer)} bytes, before its last number")
        array: Array = np.frombuffer(self._buffer, dtype, count, self._offset) if count else np.zeros(0, dtype)
        self._offset = end
        return array

    def skip_padding(self) -> None:
        self._offset += -self._offset % 4

    def check_end(self) -> None:
        if self._offset != len(self._buffer):
            raise ValueError(f"an encoding has {len(self._buffer)} bytes, but {self._offset} are expected")
