"""Checkpoint, the weights of a model by name. They are read from safetensors and never from pickle."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from podium.errors import ModelError
from podium.json_values import load_json
from podium.local.files.quantised import MAX_SCALE, SCALE_SUFFIX, VALUE_TYPES, Quantised, quantised_shape
from podium.local.files.tensor_file import TensorFile

__all__ = ["INDEX_FILE", "WEIGHTS_FILE", "Array", "Checkpoint", "weight_files"]

Array = np.ndarray[Any, np.dtype[Any]]
LAYER = re.compile(r"(^|\.)layers?\.\d+\.")  # in the names of a layer's tensors
BLOCK = 1 << 20  # how many numbers of a tensor are checked at a time
FLOAT_TYPES = ("float32", "float16", "bfloat16", "float64")
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"  # the file that names the weight files if there are several


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a folder, [] if there are none.

    If there is an index file, return the files that it names, whether they exist or not. Raises ModelError if the index file is
    damaged or names files outside the folder.
    """
    if (folder / WEIGHTS_FILE).exists():
        return [folder / WEIGHTS_FILE]
    index = folder / INDEX_FILE
    if not index.exists():
        return []
    try:
        shards = set(load_json(index)["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"{index} is damaged; download it again") from error
    if not all(isinstance(shard, str) and Path(shard).name == shard for shard in shards):
        raise ModelError(f"{index} names files outside its folder; do not use this model")
    return sorted(folder / shard for shard in shards)


class Checkpoint:
    """The tensors of one or more safetensors files, by name without `prefix`.

    `is_quantised`: whether matrices may be stored as whole numbers with scales, which is what config.json says.

    Raises ModelNotFound if a file is missing, and ModelError if a file is damaged, if a tensor is missing, or if the whole
    numbers and scales of a matrix do not belong together.
    """

    def __init__(self, files: Sequence[Path], prefix: str = "", *, is_quantised: bool = False) -> None:
        self.files: list[Path] = []
        self._may_be_quantised = is_quantised
        self._stack = contextlib.ExitStack()
        self._stored: dict[str, tuple[TensorFile, str]] = {}  # by name, the file and the tensor's name in the file
        self._used_names: set[str] = set()  # the names of the tensors whose values or shapes were read
        self._open(files, lambda stored_name: stored_name.removeprefix(prefix))

    def add(self, files: Sequence[Path], prefix: str) -> None:
        """Add the tensors of more files, with a prefix before their names."""
        self._open(files, lambda stored_name: prefix + stored_name)

    def _open(self, files: Sequence[Path], rename: Callable[[str], str]) -> None:
        """Add the tensors of files. If that fails, all files are closed."""
        self.files += files
        with contextlib.ExitStack() as stack:
            stack.callback(self.close)
            for path in files:
                file = self._stack.enter_context(contextlib.closing(TensorFile(path)))
                for stored_name in file.tensors:
                    self._stored[rename(stored_name)] = file, stored_name
            if self._may_be_quantised:
                self._check_quantised()
            stack.pop_all()

    def __contains__(self, name: str) -> bool:
        return name in self._stored

    def __getitem__(self, name: str) -> Array:
        """Return a tensor in float32."""
        return np.ascontiguousarray(self.tensor(name), dtype=np.float32)

    def rows(self, name: str, ids: Sequence[int]) -> Array:
        """Return rows of a matrix in float32, without reading the others."""
        rows = self._read(name, lambda file, stored_name: file.read_rows(stored_name, ids))
        return self._checked(name, rows).astype(np.float32)

    def stored(self, name: str) -> Array:
        """Return a tensor in its stored type if that is float32 or float16; bfloat16 and float64 become float32."""
        tensor = self.tensor(name)
        return tensor if tensor.dtype in (np.float32, np.float16) else tensor.astype(np.float32)

    def tensor(self, name: str) -> Array:
        """Return a tensor as float32, float16 or bfloat16, as it is stored. A quantised matrix and float64 become float32."""
        if self.is_quantised(name):
            return self.quantised(name).widened()
        return self._checked(name, self._tensor(name))

    def _checked(self, name: str, tensor: Array) -> Array:
        """Return numbers of a tensor, float64 as float32. Raises ModelError for other types, NaN and infinity."""
        if tensor.dtype.name not in FLOAT_TYPES:
            raise ModelError(f"{self._title(name)} is stored as {tensor.dtype}; podium reads {', '.join(FLOAT_TYPES)}")
        if tensor.dtype == np.float64:
            with np.errstate(over="ignore"):  # numbers that are too large become infinite, and are refused
                tensor = tensor.astype(np.float32)
        if not _is_finite(tensor):
            raise ModelError(f"{self._title(name)} contains NaN or infinity; download the file again")
        return tensor

    def is_quantised(self, name: str) -> bool:
        """Whether a tensor is a matrix that is stored as whole numbers with scales. False if there is no such tensor."""
        return self._may_be_quantised and self._header(name)[0] in VALUE_TYPES

    def quantised(self, name: str) -> Quantised:
        """Return a matrix that is stored as whole numbers with scales."""
        scales = self.stored(name + SCALE_SUFFIX)
        if float(np.abs(scales).max()) > MAX_SCALE:
            raise ModelError(f"{self._title(name)} has scales that make its numbers infinite; download the file again")
        return Quantised(self._tensor(name), scales)

    def quantised_shapes(self, name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the shapes of a quantised matrix's values and scales, without reading them."""
        self._use(name)
        return self._header(name)[1], self._header(name + SCALE_SUFFIX)[1]

    def _tensor(self, name: str) -> Array:
        return self._read(name, TensorFile.read)

    def _read(self, name: str, read: Callable[[TensorFile, str], Array]) -> Array:
        """Return what `read` returns for the tensor's file and its name in the file."""
        try:
            return read(*self._use(name))
        except (OSError, ValueError) as error:
            raise ModelError(f"{self._title(name)} cannot be read; download the file again") from error

    def _title(self, name: str) -> str:
        """Return how errors call a tensor."""
        return f"{self.files[0].parent}: tensor {name!r}"

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor, which for a quantised matrix is that of the matrix."""
        self._use(name)
        return self._quantised_shape(name) if self.is_quantised(name) else self._header(name)[1]

    def dtypes(self) -> set[str]:
        """Return the types in which tensors are stored, as safetensors calls them: F32, F16, BF16 …"""
        return {self._header(name)[0] for name in self._stored}

    def _header(self, name: str) -> tuple[str, tuple[int, ...]]:
        """Return the type and shape in which a tensor is stored, ("", ()) if there is no such tensor."""
        if name not in self._stored:
            return "", ()
        file, stored_name = self._stored[name]
        tensor = file.tensors[stored_name]
        return tensor.dtype, tensor.shape

    def _check_quantised(self) -> None:
        """Raise ModelError if whole numbers have no scales of a matching shape, or scales no whole numbers."""
        for name in self._stored:
            values_name = name.removesuffix(SCALE_SUFFIX)
            if self.is_quantised(name):
                self._quantised_shape(name)
            elif values_name != name and not self.is_quantised(values_name):
                raise ModelError(
                    f"{self._title(name)} has scales, but {values_name!r} is not quantised; download the model again"
                )

    def _quantised_shape(self, name: str) -> tuple[int, int]:
        """Return the shape of a quantised matrix. Raises ModelError if its scales are missing or do not match."""
        values = self._header(name)
        scales = self._header(name + SCALE_SUFFIX)
        shape = quantised_shape(values, scales)
        if shape is None:
            raise ModelError(
                f"{self._title(name)} is {_described(values)}, and its scales ({SCALE_SUFFIX}) are {_described(scales)}, which "
                "do not belong together; download the model again"
            )
        return shape

    def unused_layers(self) -> list[str]:
        """Return the names of the layers' tensors that were not used. If there are any, config.json describes another model."""
        return sorted(name for name in self._stored.keys() - self._used_names if LAYER.search(name))

    def _use(self, name: str) -> tuple[TensorFile, str]:
        """Return a tensor's file and its name in the file, and mark the tensor as used. Raises ModelError if there is none."""
        if name not in self._stored:
            raise ModelError(f"{self.files[0].parent} has no tensor {name!r}; the checkpoint does not match its config.json")
        self._used_names |= {name, name + SCALE_SUFFIX}
        return self._stored[name]

    def close(self) -> None:
        self._stack.close()


def _is_finite(tensor: Array) -> bool:
    """Whether no number is NaN or infinite. It is computed block by block, because a large tensor's answers take memory."""
    numbers = tensor.reshape(-1)
    return all(np.isfinite(numbers[start : start + BLOCK]).all() for start in range(0, len(numbers), BLOCK))


def _described(stored: tuple[str, tuple[int, ...]]) -> str:
    """Describe a tensor by its type and shape, which are ("", ()) if it is missing."""
    return f"{stored[0]} of shape {stored[1]}" if stored[0] else "missing"
