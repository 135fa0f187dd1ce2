"""TensorFile, the tensors of one safetensors file. They are read and not mapped.

The pages of a mapped file stay in memory while the file is open, so a model's first start would need the memory of all of its
weights, besides those that it packs.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from podium.errors import ModelError, ModelNotFound
from podium.json_values import parse_json
from podium.regular_files import open_regular_file

__all__ = ["StoredTensor", "TensorFile", "missing_file"]

Array = np.ndarray[Any, np.dtype[Any]]
HEADER_LENGTH = struct.Struct("<Q")
# The types that safetensors names → their names in numpy, or in ml_dtypes.
DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
}


class StoredTensor(NamedTuple):
    """A tensor in a file: its type, as safetensors calls it, its shape, and the offset of its first byte in the file."""

    dtype: str
    shape: tuple[int, ...]
    offset: int


class TensorFile:
    """An open file. `tensors` has its tensors by name.

    Raises ModelNotFound if the file is missing, and ModelError if it is damaged.
    """

    def __init__(self, path: Path) -> None:
        with contextlib.ExitStack() as stack:
            try:
                self._file: BinaryIO = stack.enter_context(open_regular_file(path))
                # safetensors checks that the tensors fill the file, but does not return their offsets.
                with safe_open(str(path), framework="np"):
                    self.tensors = _stored_tensors(self._file)
            except FileNotFoundError as error:
                raise missing_file(path) from error
            except (SafetensorError, OSError, ValueError, KeyError, TypeError, struct.error) as error:
                raise ModelError(f"{path} is damaged or incomplete; delete it and download it again") from error
            stack.pop_all()

    def read(self, name: str) -> Array:
        """Return a tensor in its own type. Raises OSError or ValueError if it cannot be read."""
        tensor = self.tensors[name]
        return self._read(tensor.offset, tensor.shape, _dtype(tensor.dtype))

    def read_rows(self, name: str, ids: Sequence[int]) -> Array:
        """Return rows of a tensor, without reading the others. Raises what `read` raises."""
        tensor = self.tensors[name]
        dtype = _dtype(tensor.dtype)
        row_shape = tensor.shape[1:]
        row_bytes = dtype.itemsize * int(np.prod(row_shape))
        return np.stack([self._read(tensor.offset + row * row_bytes, row_shape, dtype) for row in ids])

    def _read(self, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        array: Array = np.empty(shape, dtype)
        self._file.seek(offset)
        if self._file.readinto(array.reshape(-1).view(np.uint8)) != array.nbytes:  # type: ignore[attr-defined]
            raise ValueError("the file ends before the tensor")
        return array

    def close(self) -> None:
        self._file.close()


def _stored_tensors(file: BinaryIO) -> dict[str, StoredTensor]:
    (length,) = HEADER_LENGTH.unpack(file.read(HEADER_LENGTH.size))
    entries = parse_json(file.read(length))
    begin = HEADER_LENGTH.size + length
    return {
        name: StoredTensor(str(entry["dtype"]), tuple(entry["shape"]), begin + int(entry["data_offsets"][0]))
        for name, entry in entries.items()
        if name != "__metadata__"
    }


def _dtype(name: str) -> np.dtype[Any]:
    """Return numpy's type. Raises ValueError if it has none."""
    if name not in DTYPES:
        raise ValueError(f"numpy does not have the type {name}")
    if name == "BF16":
        import ml_dtypes  # noqa: F401  teaches numpy this name; other models start faster without it
    dtype: np.dtype[Any] = np.dtype(DTYPES[name])
    return dtype


def missing_file(path: Path) -> ModelNotFound:
    return ModelNotFound(f"{path} is missing; download it from where the rest of the model came from")
