"""Weights in the layout of the native core, computed once per checkpoint and precision and stored in the cache directory.

Later starts map the file, so that processes share its pages. They compare the checksums, because damaged weights would
otherwise only be noticed by wrong scores.

The file has, in this order: a line that names the format; the length of the header; the header in JSON, with the dtype, shape,
offset and checksum of every array by name; and the arrays, which begin at multiples of 64 bytes.
"""

from __future__ import annotations

import json
import math
import mmap
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from podium.atomic import atomic_write
from podium.checksums import checksum, file_checksum
from podium.json_values import parse_json
from podium.local.cache import cache_folder
from podium.local.files.checkpoint import Array
from podium.local.runtimes.int8 import quantise

__all__ = ["PANEL", "Packed", "pack_float32", "pack_int8"]

MAGIC = b"podium packed 1\n"
LENGTH = struct.Struct("<Q")  # the length of the header
LAYOUT = "v1"  # Part of the file's name. Change it whenever the layout of the arrays changes.
PANEL = 64  # how many outputs of a weight are stored together
ALIGNMENT = 64  # bytes
DTYPES = ("float32", "float16", "int8", "uint8", "int32")


def pack_float32(weight: Array) -> Array:
    """Return a weight of shape (outputs, inputs) in panels of 64 outputs: (outputs / 64, inputs, 64), padded with 0."""
    panels = _padded(weight).reshape(-1, PANEL, weight.shape[1])
    return np.ascontiguousarray(panels.transpose(0, 2, 1))


def pack_int8(weight: Array) -> tuple[Array, Array, Array]:
    """Return a weight of shape (outputs, inputs) as int8 of shape (outputs / 64, inputs / 4, 64, 4).

    Also return a scale per output, and the sum of each output's int8 weights.
    """
    quantised, scales = quantise(weight)  # of shape (inputs, outputs)
    padded = _padded(quantised.T, input_multiple=4)
    panels = padded.reshape(-1, PANEL, padded.shape[1] // 4, 4).transpose(0, 2, 1, 3)
    padded_scales = np.zeros(len(padded), np.float32)
    padded_scales[: len(scales)] = scales
    return np.ascontiguousarray(panels), padded_scales, padded.sum(axis=1, dtype=np.int32)


def _padded(weight: Array, *, input_multiple: int = 1) -> Array:
    """Return the weight padded with zeros: its outputs to whole panels, its inputs to the multiple."""
    outputs, inputs = weight.shape
    padded = np.zeros((_round_up(outputs, PANEL), _round_up(inputs, input_multiple)), weight.dtype)
    padded[:outputs, :inputs] = weight
    return padded


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


class Packed:
    """The packed arrays of one checkpoint and precision, by name. `digest` is the checkpoint's.

    `is_complete`: whether every array that `get` has returned is mapped from the file.
    """

    def __init__(self, digest: str, precision: str) -> None:
        self.path = cache_folder() / "native" / f"{digest}-{precision}-{LAYOUT}"
        # A file that cannot be read is replaced, because a damaged cache must not be an error.
        self._arrays = _read_arrays(self.path) or {}
        self.is_complete = bool(self._arrays)

    def get(self, name: str, shape: tuple[int, ...], make: Callable[[], Array]) -> Array:
        """Return the array of this name. If it is missing or has another shape, `make` returns it and `save` will write it."""
        array = self._arrays.get(name)
        if array is None or array.shape != shape:
            array = self._arrays[name] = np.ascontiguousarray(make())
            self.is_complete = False
        return array

    def save(self) -> bool:
        """Write every array and return whether that succeeded. If the disk is read-only or full, the next start packs again."""
        header, offsets = _layout(self._arrays)
        try:
            with atomic_write(self.path) as file:
                file.write(header)
                for name, array in self._arrays.items():
                    file.seek(len(header) + offsets[name])
                    file.write(array.data)
                file.truncate(_round_up(file.tell(), ALIGNMENT))
        except OSError:
            return False
        return True


def _layout(arrays: dict[str, Array]) -> tuple[bytes, dict[str, int]]:
    """Return the bytes that precede the arrays in the file, and each array's offset from the end of those bytes."""
    offsets = {}
    total_bytes = 0
    for name, array in arrays.items():
        offsets[name] = total_bytes
        total_bytes += _round_up(array.nbytes, ALIGNMENT)
    entries = {name: [array.dtype.name, list(array.shape), offsets[name]] for name, array in arrays.items()}
    checksums = {name: checksum(array.data, _seed(name, *entries[name])) for name, array in arrays.items()}
    header = json.dumps({"arrays": entries, "bytes": total_bytes, "checksums": checksums}).encode()
    header_start = len(MAGIC) + LENGTH.size
    header = header.ljust(_round_up(header_start + len(header), ALIGNMENT) - header_start)  # so that arrays are aligned
    return MAGIC + LENGTH.pack(len(header)) + header, offsets


def _read_arrays(path: Path) -> dict[str, Array] | None:
    """Return the arrays of a file, mapped; None if it is missing, damaged, or of another format."""
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            start, header = _read_header(mapped)
            if not _is_intact(file, start, header):
                return None
            return {name: _array(mapped, start, *entry) for name, entry in header["arrays"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, struct.error):
        return None


def _read_header(mapped: mmap.mmap) -> tuple[int, dict[str, Any]]:
    """Return the offset at which the arrays start, and the header. Raises ValueError or KeyError if the file is incomplete."""
    if mapped[: len(MAGIC)] != MAGIC:
        raise ValueError("not a file of packed weights")
    header_start = len(MAGIC) + LENGTH.size
    (length,) = LENGTH.unpack(mapped[len(MAGIC) : header_start])
    header_end = header_start + length
    header: dict[str, Any] = parse_json(mapped[header_start:header_end])
    if header_end + header["bytes"] != len(mapped):
        raise ValueError("not a complete file")
    return header_end, header


def _is_intact(file: BinaryIO, start: int, header: dict[str, Any]) -> bool:
    """Whether all checksums are right. Reads the file and not the map, which would keep all pages of the file in memory."""
    for name, (dtype, shape, offset) in header["arrays"].items():
        if dtype not in DTYPES:
            return False
        file.seek(start + offset)
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if file_checksum(file, size, _seed(name, dtype, shape, offset)) != header["checksums"][name]:
            return False
    return True


def _seed(name: str, dtype: str, shape: list[int], offset: int) -> int:
    """Return the number with which an array's checksum starts, so that the checksum also covers its entry in the header."""
    return checksum(f"{name} {dtype} {shape} {offset}".encode())


def _array(mapped: mmap.mmap, start: int, dtype: str, shape: list[int], offset: int) -> Array:
    is_valid_shape = all(isinstance(size, int) and size > 0 for size in shape)
    if dtype not in DTYPES or offset < 0 or offset % ALIGNMENT or not is_valid_shape:
        raise ValueError("not an array of packed weights")
    array: Array = np.frombuffer(mapped, dtype, math.prod(shape), start + offset).reshape(shape)
    return array
