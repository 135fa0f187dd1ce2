"""Checkpoint, a model's weights by name, read from safetensors and never from pickle."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  registers bfloat16 with numpy, for safetensors
import numpy as np
from safetensors import SafetensorError, safe_open

from podium.errors import ModelError, ModelNotFound

__all__ = ["INDEX", "SINGLE", "Array", "Checkpoint", "digest_of", "weight_files"]

Array = np.ndarray[Any, np.dtype[Any]]
LAYER = re.compile(r"(^|\.)layers?\.\d+\.")
FLOATS = ("float32", "float16", "bfloat16", "float64")
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a folder, also those that are missing; [] if it has neither layout."""
    if (folder / SINGLE).exists():
        return [folder / SINGLE]
    index = folder / INDEX
    if not index.exists():
        return []
    try:
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"{index} is damaged; download it again") from error
    if not all(isinstance(shard, str) and Path(shard).name == shard for shard in shards):
        raise ModelError(f"{index} names files outside its folder; do not use this model")
    return sorted(folder / shard for shard in shards)


class Checkpoint:
    """The tensors of one or more safetensors files, by name without `prefix`.

    Raises ModelNotFound for a missing file, ModelError for a damaged one and for a missing tensor.
    """

    def __init__(self, files: Sequence[Path], prefix: str = "") -> None:
        self.files: list[Path] = []
        self._stack = contextlib.ExitStack()
        self._readers: dict[str, tuple[Any, str]] = {}  # a file's reader, and the tensor's name in the file
        self._used: set[str] = set()
        self._open(files, lambda stored_name: stored_name.removeprefix(prefix))

    def add(self, files: Sequence[Path], prefix: str) -> None:
        """Read more files, and put this prefix before the names of their tensors."""
        self._open(files, lambda stored_name: prefix + stored_name)

    def _open(self, files: Sequence[Path], rename: Callable[[str], str]) -> None:
        self.files += files
        for path in files:
            reader = self._stack.enter_context(_open_file(path))
            for stored_name in reader.keys():  # noqa: SIM118  not a dict
                self._readers[rename(stored_name)] = reader, stored_name

    def __contains__(self, name: str) -> bool:
        return name in self._readers

    def __getitem__(self, name: str) -> Array:
        """Return a tensor in float32."""
        return np.ascontiguousarray(self.stored(name), dtype=np.float32)

    def stored(self, name: str) -> Array:
        """Return a tensor as it is stored: float32, float16, or bfloat16 and float64 as float32."""
        reader, stored_name = self._reader(name)
        tensor_name = f"{self.files[0].parent}: tensor {name!r}"
        try:
            tensor: Array = reader.get_tensor(stored_name)
        except (SafetensorError, TypeError) as error:
            raise ModelError(f"{tensor_name} cannot be read; download the file again") from error
        if tensor.dtype.name not in FLOATS:
            raise ModelError(f"{tensor_name} is stored as {tensor.dtype}; podium reads {', '.join(FLOATS)}")
        if tensor.dtype not in (np.float32, np.float16):
            tensor = tensor.astype(np.float32)
        if not np.isfinite(tensor).all():
            raise ModelError(f"{tensor_name} contains NaN or infinity; download the file again")
        return tensor

    def shape(self, name: str) -> tuple[int, ...]:
        reader, stored_name = self._reader(name)
        return tuple(reader.get_slice(stored_name).get_shape())

    def dtypes(self) -> set[str]:
        """Return the types in which tensors are stored: F32, F16, BF16 …"""
        return {str(reader.get_slice(stored_name).get_dtype()) for reader, stored_name in self._readers.values()}

    def unused_layers(self) -> list[str]:
        """Return the tensors of layers that were never read: config.json describes another model."""
        return sorted(name for name in self._readers.keys() - self._used if LAYER.search(name))

    def _reader(self, name: str) -> tuple[Any, str]:
        if name not in self._readers:
            raise ModelError(f"{self.files[0].parent} has no tensor {name!r}; the checkpoint does not match its config.json")
        self._used.add(name)
        return self._readers[name]

    def digest(self) -> str:
        """Return a hash of the files' contents."""
        return digest_of(self.files)

    def close(self) -> None:
        self._stack.close()


@contextlib.contextmanager
def _open_file(path: Path) -> Iterator[Any]:
    try:
        reader = safe_open(str(path), framework="np")
    except FileNotFoundError as error:
        raise _missing(path) from error
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is damaged or incomplete; delete it and download it again") from error
    with reader:
        yield reader


def _missing(path: Path) -> ModelNotFound:
    return ModelNotFound(f"{path} is missing; download it from where the rest of the model came from")


def digest_of(files: Sequence[Path]) -> str:
    """Return a hash of the files' contents. Raises ModelNotFound."""
    return _digest(tuple((path, _version(path)) for path in files))


def _version(path: Path) -> tuple[int, ...]:
    """Return numbers that change with the file."""
    try:
        stat = path.stat()
    except FileNotFoundError as error:
        raise _missing(path) from error
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


@functools.lru_cache(maxsize=128)
def _digest(files: tuple[tuple[Path, tuple[int, ...]], ...]) -> str:
    """Read files once per process, unless they change: several parts of loading need the same hash."""
    digest = hashlib.sha256()
    for path, _ in files:
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()
