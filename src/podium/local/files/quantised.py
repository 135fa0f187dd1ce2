"""Quantised, a matrix of whole numbers of 8 or 4 bits with scales: the weights of podium's own models (docs/model-files.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["MAX_SCALE", "SCALE_SUFFIX", "VALUE_TYPES", "Quantised", "quantised_shape"]

Array = np.ndarray[Any, np.dtype[Any]]

SCALE_SUFFIX = "_scale"  # the name of the scales is that of the values with this suffix
VALUE_TYPES = ("I8", "U8")  # the types of the values, as safetensors calls them: 8 bits; two numbers of 4 bits
SCALE_TYPES = ("F16", "F32")
MAX_SCALE = 1e36  # With a larger scale, a number could be infinite.


@dataclass(frozen=True, slots=True, eq=False)
class Quantised:
    """A matrix whose rows consist of blocks of equal width. A number is a whole number times the scale of its block.

    - `values`: the whole numbers: int8 of shape (rows, columns), or uint8 of shape (rows, columns / 2). A uint8 has two
      numbers from -8 to 7, to which 8 was added: column 2i in the low four bits of byte i, and column 2i + 1 in the others.
    - `scales`: float16 or float32 of shape (rows, blocks).
    """

    values: Array
    scales: Array

    def widened(self) -> Array:
        """Return the matrix in float32, shape (rows, columns)."""
        rows, blocks = self.scales.shape
        numbers = self.values if self.values.dtype == np.int8 else _unpacked(self.values)
        matrix = numbers.astype(np.float32).reshape(rows, blocks, -1)
        matrix *= self.scales.astype(np.float32)[:, :, None]
        return matrix.reshape(rows, -1)

    @classmethod
    def from_matrix(cls, matrix: Array, bits: int, block_width: int, scale_type: type = np.float32) -> Quantised:
        """Quantise a float matrix of shape (rows, columns). `block_width` divides the number of columns.

        In 8 bits, the number with the largest magnitude of a block becomes 127 or -127. In 4 bits it becomes -8, as in the
        format Q4_0 of llama.cpp: a matrix that was in that format gets its numbers and scales back.
        """
        blocks = matrix.astype(np.float32).reshape(len(matrix), -1, block_width)
        largest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2)[:, :, None], axis=2)[:, :, 0]
        scales = (np.abs(largest) / np.float32(127) if bits == 8 else largest / np.float32(-8)).astype(scale_type)
        divisors = np.where(scales == 0, 1, scales).astype(np.float32)[:, :, None]
        lowest, highest = (-127, 127) if bits == 8 else (-8, 7)
        numbers = np.clip(np.rint(blocks / divisors), lowest, highest).astype(np.int8).reshape(matrix.shape)
        return cls(numbers if bits == 8 else _packed(numbers), scales)


def quantised_shape(values: tuple[str, tuple[int, ...]], scales: tuple[str, tuple[int, ...]]) -> tuple[int, int] | None:
    """Return the shape of the matrix with these values and scales, None if they do not belong together.

    Both are described by their type, as safetensors calls it, and their shape.
    """
    value_type, value_shape = values
    scale_type, scale_shape = scales
    if value_type not in VALUE_TYPES or scale_type not in SCALE_TYPES or len(value_shape) != 2 or len(scale_shape) != 2:
        return None
    rows, columns = value_shape
    if value_type == "U8":
        columns *= 2  # two numbers in a byte
    is_matching = scale_shape[0] == rows and scale_shape[1] > 0 and columns > 0 and columns % scale_shape[1] == 0
    return (rows, columns) if is_matching else None


def _unpacked(pairs: Array) -> Array:
    """Return two int8 numbers for each uint8."""
    numbers = np.empty((*pairs.shape, 2), np.int8)
    numbers[..., 0] = (pairs & 15).view(np.int8) - 8
    numbers[..., 1] = (pairs >> 4).view(np.int8) - 8
    return numbers.reshape(len(pairs), -1)


def _packed(numbers: Array) -> Array:
    """Return a uint8 for each two int8 numbers from -8 to 7."""
    shifted = (numbers + 8).view(np.uint8)
    return shifted[:, 0::2] | (shifted[:, 1::2] << 4)
