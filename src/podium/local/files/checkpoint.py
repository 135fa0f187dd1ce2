"""A checkpoint's weights, read by name from safetensors. Never from pickle; nothing here knows what a weight is for."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  teaches numpy the name bfloat16, which safetensors asks it for
import numpy as np
from safetensors import SafetensorError, safe_open

from podium.errors import ModelError, ModelNotFound

__all__ = ["SINGLE", "Array", "Checkpoint", "digest_of", "weight_files"]

Array = np.ndarray[Any, np.dtype[Any]]
LAYER = re.compile(r"(^|\.)layers?\.\d+\.")
FLOATS = ("float32", "float16", "bfloat16", "float64")
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a folder, whether they are all there or not; none if it has neither layout."""
    if (folder / SINGLE).exists():
        return [folder / SINGLE]
    if not (folder / INDEX).exists():
        return []
    try:
        shards = set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"{folder / INDEX} is damaged; delete it and bring it again") from error
    if not all(isinstance(shard, str) and Path(shard).name == shard for shard in shards):
        raise ModelError(f"{folder / INDEX} names files outside its own folder; it is not to be trusted")
    return sorted(folder / shard for shard in shards)


class Checkpoint:
    """The tensors of one or more safetensors files under their names, less a prefix that some of them carry.

    `names` are all of them, with the prefix off. Raises ModelError where a file is damaged or a tensor is missing.
    """

    def __init__(self, files: Sequence[Path], prefix: str = "") -> None:
        self.files: list[Path] = []
        self._stack = contextlib.ExitStack()
        self._readers: dict[str, tuple[Any, str]] = {}
        self._read: set[str] = set()
        self._open(files, lambda stored: stored.removeprefix(prefix))

    def add(self, files: Sequence[Path], prefix: str) -> None:
        """Read more files, whose tensors get this prefix in front of their names."""
        self._open(files, lambda stored: prefix + stored)

    def _open(self, files: Sequence[Path], name: Callable[[str], str]) -> None:
        self.files += files
        for path in files:
            reader = self._stack.enter_context(_opened(path))
            for stored in reader.keys():  # noqa: SIM118  not a dict
                self._readers[name(stored)] = (reader, stored)

    @property
    def names(self) -> set[str]:
        return set(self._readers)

    def __contains__(self, name: str) -> bool:
        return name in self._readers

    def __getitem__(self, name: str) -> Array:
        """Return a tensor in float32, whatever it is stored in."""
        return np.ascontiguousarray(self.stored(name), dtype=np.float32)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._reader(name)[0].get_slice(self._readers[name][1]).get_shape())

    def unread_layers(self) -> list[str]:
        """Return the tensors of encoder layers that nobody asked for: what reads the rest has the wrong description."""
        return sorted(name for name in self.names - self._read if LAYER.search(name))

    def _reader(self, name: str) -> tuple[Any, str]:
        if name not in self._readers:
            raise ModelError(f"{self.files[0].parent} has no tensor {name!r}; the checkpoint does not match its config.json")
        self._read.add(name)
        return self._readers[name]

    def stored(self, name: str) -> Array:
        """Return a tensor as it is stored: float32, float16, or float32 made of bfloat16 or float64."""
        reader, stored = self._reader(name)
        try:
            tensor: Array = reader.get_tensor(stored)
        except (SafetensorError, TypeError) as error:
            raise ModelError(f"{self.files[0].parent}: tensor {name!r} cannot be read; bring the file again") from error
        if tensor.dtype.name not in FLOATS:
            where = f"{self.files[0].parent}: tensor {name!r}"
            raise ModelError(f"{where} is stored as {tensor.dtype}; podium reads {', '.join(FLOATS)}")
        if tensor.dtype not in (np.float32, np.float16):
            tensor = tensor.astype(np.float32)
        if not np.isfinite(tensor).all():
            raise ModelError(f"{self.files[0].parent}: tensor {name!r} holds NaN or infinity; the checkpoint is damaged")
        return tensor

    def kinds(self) -> set[str]:
        """Return what the tensors are stored as: F32, F16, BF16 …"""
        return {str(reader.get_slice(stored).get_dtype()) for reader, stored in self._readers.values()}

    def digest(self) -> str:
        """Return a hash of the files' content."""
        return digest_of(self.files)

    def close(self) -> None:
        self._stack.close()


def _missing(path: Path) -> ModelNotFound:
    return ModelNotFound(f"{path} is missing; bring it from where the rest of the model came from")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        reader = safe_open(str(path), framework="np")
    except FileNotFoundError as error:
        raise _missing(path) from error
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is damaged or cut short; delete it and bring it again") from error
    with reader:
        yield reader


def digest_of(files: Sequence[Path]) -> str:
    """Return a hash of files' content. Raises ModelNotFound."""
    return _digest(tuple((path, _stamp(path)) for path in files))


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except FileNotFoundError as error:
        raise _missing(path) from error
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@functools.lru_cache(maxsize=128)
def _digest(files: tuple[tuple[Path, tuple[int, ...]], ...]) -> str:
    """Read files once per process, unless they change: several parts of loading ask for the same hash."""
    hashed = hashlib.sha256()
    for path, _ in files:
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                hashed.update(block)
    return hashed.hexdigest()
