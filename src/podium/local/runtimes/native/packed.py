"""Weights in the layout of the native core, computed once per checkpoint and precision and stored in the cache directory.

Later starts map the file, so that processes share its pages. They compare the checksums, because damaged weights would
otherwise only be noticed by wrong scores. The first start writes the file while it packs, and maps each array that it has
written, so the weights are never in memory as a whole.

The file has, in this order: a line that names the format; the offset and the length of the header; the arrays, which begin at
multiples of 64 bytes; and the header in JSON, with the dtype, shape, offset and checksum of every array by name.
"""

from __future__ import annotations

import contextlib
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
from podium.local.cache import cache_folder, delete_unused, mark_used
from podium.local.files.checkpoint import Array
from podium.local.runtimes.int8 import quantise

__all__ = ["PANEL", "Packed", "pack_floats", "pack_int8"]

MAGIC = b"podium packed 2\n"
POSITION = struct.Struct("<QQ")  # the offset and the length of the header
LAYOUT = "v2"  # Part of the file's name. Change it whenever the layout of the arrays changes.
PANEL = 64  # how many outputs of a weight are stored together
ALIGNMENT = 64  # bytes
MIN_MAPPED_BYTES = 1 << 16  # Smaller arrays stay in memory.
DTYPES = ("float32", "float16", "uint16", "int8", "uint8", "int32")


def pack_floats(weight: Array) -> Array:
    """Return a weight of shape (outputs, inputs) in panels of 64 outputs: (outputs / 64, inputs, 64), padded with 0.

    It is float32, float16 or bfloat16. The last becomes uint16, and the outputs c and c + 16 of each 32 are side by side.
    """
    panels = _padded(weight).reshape(-1, PANEL, weight.shape[1]).transpose(0, 2, 1)
    if weight.dtype.name == "bfloat16":
        halves = panels.view(np.uint16).reshape(*panels.shape[:2], PANEL // 32, 2, 16)
        panels = halves.swapaxes(3, 4).reshape(panels.shape)
    return np.ascontiguousarray(panels)


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

    A context: when it ends without an exception, the file has all arrays that `get` has returned in it. Outside of it, and if
    the disk is read-only or full, new arrays stay in memory.
    """

    def __init__(self, digest: str, precision: str) -> None:
        self.path = cache_folder() / "native" / f"{digest}-{precision}-{LAYOUT}"
        # A file that cannot be read is replaced, because a damaged cache must not be an error.
        self._arrays = _read_arrays(self.path) or {}
        mark_used(self.path)
        self._writer: _Writer | None = None
        self._can_write = False

    def __enter__(self) -> Packed:
        self._can_write = True
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer and error[0] is None:
            with contextlib.suppress(OSError):
                self._writer.finish()
                delete_unused(self.path.parent)
        elif self._writer:
            self._writer.abandon()

    def get(self, name: str, shape: tuple[int, ...], make: Callable[[], Array]) -> Array:
        """Return the array of this name. If it is missing or has another shape, `make` returns it, and it is written."""
        array = self._arrays.get(name)
        if array is None or array.shape != shape:
            array = self._arrays[name] = self._written(name, np.ascontiguousarray(make()))
        return array

    def _written(self, name: str, array: Array) -> Array:
        """Write an array and return it, mapped from the file if that is possible."""
        if not self._can_write:
            return array
        try:
            if not self._writer:
                self._writer = _Writer(self.path)
                for other_name, other in self._arrays.items():  # those of the file that the new one replaces
                    if other_name != name:
                        self._writer.add(other_name, other)
            return self._writer.add(name, array)
        except OSError:
            self._can_write = False
            if self._writer:
                self._writer.abandon()
            self._writer = None
            return array


class _Writer:
    """A file of packed arrays that is being written. Its methods raise OSError."""

    def __init__(self, path: Path) -> None:
        self._stack = contextlib.ExitStack()
        self._file = self._stack.enter_context(atomic_write(path))
        self._reader = self._stack.enter_context(open(self._file.name, "rb"))  # noqa: SIM115  closed with the stack
        self._file.write(_start(0, 0))
        self._entries: dict[str, list[Any]] = {}
        self._checksums: dict[str, int] = {}

    def add(self, name: str, array: Array) -> Array:
        """Write an array, and return it as it is mapped from the file."""
        offset = self._file.tell()
        self._file.write(array.data)
        self._file.write(bytes(-array.nbytes % ALIGNMENT))
        self._file.flush()
        entry = self._entries[name] = [array.dtype.name, list(array.shape), offset]
        self._checksums[name] = checksum(array.data, _seed(name, *entry))
        if array.nbytes < MIN_MAPPED_BYTES:
            return array
        first = offset // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
        length = offset - first + array.nbytes
        mapped = mmap.mmap(self._reader.fileno(), length, access=mmap.ACCESS_READ, offset=first)
        written: Array = np.frombuffer(mapped, array.dtype, array.size, offset - first).reshape(array.shape)
        return written

    def finish(self) -> None:
        """Write the header, and give the file its name."""
        with self._stack:
            header = json.dumps({"arrays": self._entries, "checksums": self._checksums}).encode()
            offset = self._file.tell()
            self._file.write(header)
            self._file.seek(0)
            self._file.write(_start(offset, len(header)))

    def abandon(self) -> None:
        """Delete the file."""
        with contextlib.suppress(OSError), self._stack:
            raise OSError


def _start(offset: int, length: int) -> bytes:
    """Return the bytes before the first array of a file whose header has this position."""
    return (MAGIC + POSITION.pack(offset, length)).ljust(ALIGNMENT)


def _read_arrays(path: Path) -> dict[str, Array] | None:
    """Return the arrays of a file, mapped; None if it is missing, damaged, or of another format."""
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            header = _read_header(mapped)
            if not _is_intact(file, header):
                return None
            return {name: _array(mapped, *entry) for name, entry in header["arrays"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, struct.error):
        return None


def _read_header(mapped: mmap.mmap) -> dict[str, Any]:
    """Return the header. Raises ValueError if the file is incomplete, or has another format."""
    if mapped[: len(MAGIC)] != MAGIC:
        raise ValueError("not a file of packed weights")
    offset, length = POSITION.unpack(mapped[len(MAGIC) : len(MAGIC) + POSITION.size])
    if offset + length != len(mapped):
        raise ValueError("not a complete file")
    header: dict[str, Any] = parse_json(mapped[offset:])
    return header


def _is_intact(file: BinaryIO, header: dict[str, Any]) -> bool:
    """Whether all checksums are right. Reads the file and not the map, which would keep all pages of the file in memory."""
    for name, (dtype, shape, offset) in header["arrays"].items():
        if dtype not in DTYPES:
            return False
        file.seek(offset)
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if file_checksum(file, size, _seed(name, dtype, shape, offset)) != header["checksums"][name]:
            return False
    return True


def _seed(name: str, dtype: str, shape: list[int], offset: int) -> int:
    """Return the number with which an array's checksum starts, so that the checksum also covers its entry in the header."""
    return checksum(f"{name} {dtype} {shape} {offset}".encode())


def _array(mapped: mmap.mmap, dtype: str, shape: list[int], offset: int) -> Array:
    is_valid_shape = all(isinstance(size, int) and size > 0 for size in shape)
    if dtype not in DTYPES or offset < 0 or offset % ALIGNMENT or not is_valid_shape:
        raise ValueError("not an array of packed weights")
    array: Array = np.frombuffer(mapped, dtype, math.prod(shape), offset).reshape(shape)
    return array
