"""Weights as the native core reads them: laid out once per checkpoint and precision, kept in the cache directory, and mapped
from there afterwards, so that a second start reads nothing and processes share their pages.

A file is a line that says which format this is, the length of a JSON header, the header (a dtype, a shape, a place and a
checksum for each name), and the arrays, each beginning at a multiple of 64 bytes. The checksums are compared at every start:
damaged weights give scores that look like any others.
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
from podium.local.cache import cache_folder
from podium.local.files.checkpoint import Array
from podium.local.runtimes.int8 import quantise

__all__ = ["PANEL", "Packed", "pack_float32", "pack_int8"]

MAGIC, LENGTH = b"podium packed 1\n", struct.Struct("<Q")
LAYOUT = "v1"  # change it when the same weights would be laid out differently
PANEL, ALIGNMENT = 64, 64
DTYPES = ("float32", "float16", "int8", "int32")


def pack_float32(weight: Array) -> Array:
    """Return a weight of shape (outputs, inputs) in panels of 64 outputs: (outputs / 64, inputs, 64), filled up with 0."""
    return np.ascontiguousarray(_panels(weight).transpose(0, 2, 1))


def pack_int8(weight: Array) -> tuple[Array, Array, Array]:
    """Return a weight as int8 of shape (outputs / 64, inputs / 4, 64, 4), a scale per output, and each output's sum."""
    whole, scales = quantise(weight)
    inputs, outputs = whole.shape
    padded = np.zeros((-(-outputs // PANEL) * PANEL, -(-inputs // 4) * 4), np.int8)
    padded[:outputs, :inputs] = whole.T
    panels = padded.reshape(-1, PANEL, padded.shape[1] // 4, 4).transpose(0, 2, 1, 3)
    all_scales = np.zeros(len(padded), np.float32)
    all_scales[:outputs] = scales
    return np.ascontiguousarray(panels), all_scales, padded.sum(axis=1, dtype=np.int32)


def _panels(weight: Array) -> Array:
    outputs, inputs = weight.shape
    padded = np.zeros((-(-outputs // PANEL) * PANEL, inputs), np.float32)
    padded[:outputs] = weight
    return padded.reshape(-1, PANEL, inputs)


class Packed:
    """The arrays of one checkpoint in one precision, by name. `complete` once they are all mapped from the file."""

    def __init__(self, digest: str, precision: str) -> None:
        self.path = cache_folder() / "native" / f"{digest}-{precision}-{LAYOUT}"
        # A file that cannot be read is made again: a cache is never a reason to fail.
        self._arrays = _read(self.path) or {}
        self.complete = bool(self._arrays)

    def get(self, name: str, shape: tuple[int, ...], make: Callable[[], Array]) -> Array:
        """Return the array of a name, made now if it is not there or not of this shape."""
        kept = self._arrays.get(name)
        if kept is None or kept.shape != shape:
            kept = self._arrays[name] = np.ascontiguousarray(make())
            self.complete = False
        return kept

    def save(self) -> bool:
        """Write everything, and say whether that went well: a read-only or full disk costs time on the next start, no more."""
        header, parts = _laid_out(self._arrays)
        try:
            with atomic_write(self.path) as file:
                file.write(header)
                for at, array in parts:
                    file.seek(at)
                    file.write(array.data)
                file.truncate(-(-file.tell() // ALIGNMENT) * ALIGNMENT)
        except OSError:
            return False
        return True


def _laid_out(arrays: dict[str, Array]) -> tuple[bytes, list[tuple[int, Array]]]:
    # The header says where arrays lie after it, so that its own length does not move them.
    places, parts, at = {}, [], 0
    for name, array in arrays.items():
        places[name] = [array.dtype.name, list(array.shape), at]
        parts.append((at, array))
        at += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
    checksums = {name: checksum(array.data, _seed(name, *places[name])) for name, array in arrays.items()}
    text = json.dumps({"arrays": places, "bytes": at, "checksums": checksums}).encode()
    begin = len(MAGIC) + LENGTH.size
    text += b" " * (-(begin + len(text)) % ALIGNMENT)
    start = begin + len(text)
    return MAGIC + LENGTH.pack(len(text)) + text, [(start + place, array) for place, array in parts]


def _read(path: Path) -> dict[str, Array] | None:
    """Return the arrays of a file, mapped; None if it is missing, damaged, or not of this format."""
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            begin, header = _header(mapped)
            if not _is_intact(file, begin, header):
                return None
            return {name: _array(mapped, begin, *place) for name, place in header["arrays"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, struct.error):
        return None


def _header(mapped: mmap.mmap) -> tuple[int, dict[str, Any]]:
    """Return where the arrays begin, and the header. Raises ValueError or KeyError where this is not a whole file."""
    if mapped[: len(MAGIC)] != MAGIC:
        raise ValueError("not a file of packed weights")
    (length,) = LENGTH.unpack(mapped[len(MAGIC) : len(MAGIC) + LENGTH.size])
    begin = len(MAGIC) + LENGTH.size + length
    header: dict[str, Any] = json.loads(mapped[len(MAGIC) + LENGTH.size : begin])
    if begin + header["bytes"] != len(mapped):
        raise ValueError("not a whole file")
    return begin, header


def _is_intact(file: BinaryIO, begin: int, header: dict[str, Any]) -> bool:
    """Compare the checksums. Reads the file instead of the map, which would put pages into memory that nobody needs."""
    for name, (dtype, shape, place) in header["arrays"].items():
        if dtype not in DTYPES:
            return False
        file.seek(begin + place)
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if file_checksum(file, size, _seed(name, dtype, shape, place)) != header["checksums"][name]:
            return False
    return True


def _seed(name: str, dtype: str, shape: list[int], place: int) -> int:
    return checksum(f"{name} {dtype} {shape} {place}".encode())


def _array(mapped: mmap.mmap, start: int, dtype: str, shape: list[int], at: int) -> Array:
    if dtype not in DTYPES or at < 0 or at % ALIGNMENT or not all(isinstance(each, int) and each > 0 for each in shape):
        raise ValueError("no array of ours")
    array: np.ndarray[Any, Any] = np.frombuffer(mapped, dtype, math.prod(shape), start + at).reshape(shape)
    return array
