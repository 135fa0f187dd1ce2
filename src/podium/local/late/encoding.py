"""Encoding, the token vectors of one text, and its packed bytes, which are stored and compared.

The bytes are little-endian and have these parts, in this order:

    header       u8 version, u8 precision (0 float32, 1 float16, 2 int8), u8 flags (1: has weights), u8 0,
                 u16 dimensions, u16 mean dimensions (0: no mean),
                 u32 token count, u32 dropped token count, u32 vector count, u32 id count
    scales       with precision int8 only: a float32 per vector, and one for the mean if there is one; number = int8 × scale
    ids          an i32 per id
    weights      a float32 per vector, if the flags say so
    mean         one number per mean dimension, and zeros up to a multiple of 4 bytes
    rows         one number per vector and dimension

The numbers of mean and rows have the precision in the header. native/encoding.h reads the same bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from podium.encodings import Buffer
from podium.local.files.checkpoint import Array

__all__ = ["Encoding", "EncodingPrecision", "Layout", "normalised", "pack", "token_counts", "unpack"]

EncodingPrecision = Literal["float32", "float16", "int8"]

VERSION = 1
HEADER = struct.Struct("<BBBxHHIIII")
COMMON_BYTES = 8  # how many bytes at the beginning of the header are the same in all encodings of texts by one model
TOKEN_COUNTS = struct.Struct("<8xII")  # the header's counts of tokens and dropped tokens
VECTOR_AND_ID_COUNTS = struct.Struct("<16xII")  # the header's counts of vectors and ids
PRECISIONS: tuple[EncodingPrecision, ...] = ("float32", "float16", "int8")  # A precision's code is its index.
DTYPES: dict[EncodingPrecision, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "int8": np.dtype("i1"),
}
HAS_WEIGHTS = 1  # a bit of the flags
SMALLEST_NORM = np.float32(1e-12)  # Norms are raised to this before a division, so a row of zeros stays zeros.


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """What a model computed for one text. Arrays are views of the packed bytes.

    - `rows`: the vectors, shape (vectors, dimensions), as float32, float16 or int8. They have length 1.
    - `scales`: the factors by which int8 rows are multiplied, shape (vectors,); None for the other precisions.
    - `ids`: the ids of the tokens that are compared, None if the model compares vectors only. Pooling reduces the vectors, not
      the ids.
    - `weights`: the weights of a query's vectors, shape (vectors,); None if the model has none, and for texts.
    - `mean`: the mean of the rows before their projection, normalised and in the precision of the rows; None if the model has
      none. It is to be multiplied by `mean_scale`.
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
    """Return the bytes of an encoding. `rows` and `mean` are float32 and need not be normalised."""
    # The optional parts are empty arrays if they are missing. The mean is an array of one row, or of none.
    mean_rows = np.zeros((0, 0), np.float32) if mean is None else normalised(mean[None])
    id_array = np.zeros(0, "<i4") if ids is None else ids.astype("<i4")
    weight_array = np.zeros(0, "<f4") if weights is None else weights.astype("<f4")
    flags = 0 if weights is None else HAS_WEIGHTS
    stored_rows, row_scales = _in_precision(normalised(rows), precision)
    stored_mean, mean_scales = _in_precision(mean_rows, precision)
    vector_count, dimensions = stored_rows.shape
    precision_code = PRECISIONS.index(precision)
    counts = (tokens, dropped_tokens, vector_count, len(id_array))
    header = HEADER.pack(VERSION, precision_code, flags, dimensions, mean_rows.shape[1], *counts)
    arrays = (row_scales, mean_scales, id_array, weight_array)
    return b"".join([header, *(array.tobytes() for array in arrays), _padded(stored_mean.tobytes()), stored_rows.tobytes()])


def unpack(buffer: Buffer) -> Encoding:
    """Return the encoding that `pack` wrote. Raises ValueError if the bytes are damaged."""
    if len(buffer) < HEADER.size:
        raise ValueError(f"an encoding has at least {HEADER.size} bytes, not {len(buffer)}")
    version, precision_code, flags, dimensions, mean_dimensions, *counts = HEADER.unpack_from(buffer)
    tokens, dropped_tokens, vector_count, id_count = counts
    if version != VERSION or precision_code >= len(PRECISIONS) or flags & ~HAS_WEIGHTS or not dimensions:
        raise ValueError(f"not an encoding of version {VERSION}")
    precision = PRECISIONS[precision_code]
    dtype = DTYPES[precision]
    has_mean = mean_dimensions > 0
    reader = _Reader(buffer)
    scales = reader.array("<f4", vector_count + has_mean) if precision == "int8" else None
    if scales is not None and not np.isfinite(scales).all():
        raise ValueError("an encoding has a scale that is NaN or infinite")
    ids = reader.array("<i4", id_count)
    weights = reader.array("<f4", vector_count if flags & HAS_WEIGHTS else 0)
    mean = reader.array(dtype, mean_dimensions)
    reader.skip_padding()
    rows = reader.array(dtype, vector_count * dimensions).reshape(vector_count, dimensions)
    reader.check_end()
    return Encoding(
        precision=precision,
        rows=rows,
        scales=None if scales is None else scales[:vector_count],
        ids=ids if id_count else None,
        weights=weights if flags & HAS_WEIGHTS else None,
        mean=mean if has_mean else None,
        mean_scale=1.0 if scales is None or not has_mean else float(scales[-1]),
        tokens=tokens,
        dropped_tokens=dropped_tokens,
    )


@dataclass(frozen=True, slots=True)
class Layout:
    """What all encodings of texts by one model have in common: precision, dimensions, and which parts they have.

    - `header_start`: the first COMMON_BYTES bytes of the header.
    - `fixed_bytes`: the size of header and mean.
    - `vector_bytes`: the size of one vector, with its scale if it has one.
    """

    header_start: bytes
    fixed_bytes: int
    vector_bytes: int

    @classmethod
    def of(cls, encoding: Buffer) -> Layout:
        """Return the layout of an intact encoding of a text, which has no weights, unlike a query's."""
        unpacked = unpack(encoding)
        scale_bytes = 0 if unpacked.scales is None else 4
        mean_bytes = 0 if unpacked.mean is None else len(_padded(unpacked.mean.tobytes())) + scale_bytes
        vector_bytes = unpacked.rows.shape[1] * unpacked.rows.dtype.itemsize + scale_bytes
        return cls(bytes(encoding[:COMMON_BYTES]), HEADER.size + mean_bytes, vector_bytes)

    def fits(self, encoding: Buffer) -> bool:
        """Whether the bytes begin as this model's encodings do, and their size follows from the counts in the header."""
        if len(encoding) < HEADER.size or encoding[:COMMON_BYTES] != self.header_start:
            return False
        vector_count, id_count = VECTOR_AND_ID_COUNTS.unpack_from(encoding)
        size: int = self.fixed_bytes + vector_count * self.vector_bytes + 4 * id_count
        return len(encoding) == size


def token_counts(buffer: Buffer) -> tuple[int, int]:
    """Return `tokens` and `dropped_tokens` of an encoding without unpacking it."""
    tokens, dropped_tokens = TOKEN_COUNTS.unpack_from(buffer)
    return tokens, dropped_tokens


def normalised(rows: Array) -> Array:
    """Return the rows in float32, scaled to length 1. Rows of zeros stay zeros."""
    rows = np.ascontiguousarray(rows, np.float32)
    norms = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
    normalised_rows: Array = rows / np.maximum(norms, SMALLEST_NORM)
    return normalised_rows


def _in_precision(rows: Array, precision: EncodingPrecision) -> tuple[Array, Array]:
    """Return normalised rows in a precision, and their scales, which are empty unless the precision is int8."""
    if precision != "int8":
        return rows.astype(DTYPES[precision]), np.zeros(0, "<f4")
    scales = np.maximum(np.abs(rows).max(axis=1, initial=0), SMALLEST_NORM) / np.float32(127)
    return np.rint(rows / scales[:, None]).astype(np.int8), scales.astype("<f4")


def _padded(data: bytes) -> bytes:
    """Return the bytes, and zeros up to a multiple of 4."""
    return data + bytes(-len(data) % 4)


class _Reader:
    """Reads an encoding's arrays one after the other. Methods raise ValueError if the buffer does not end as they expect."""

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
