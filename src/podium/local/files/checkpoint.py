"""Checkpoint, the weights of a model by name. They are read from safetensors and never from pickle."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from podium.errors import ModelError, ModelNotFound
from podium.json_values import load_json
from podium.local.files.quantised import MAX_SCALE, SCALE_SUFFIX, VALUE_TYPES, Quantised, quantised_shape
from podium.regular_files import open_regular_file

__all__ = ["INDEX_FILE", "WEIGHTS_FILE", "Array", "Checkpoint", "digest_of", "weight_files"]

Array = np.ndarray[Any, np.dtype[Any]]
LAYER = re.compile(r"(^|\.)layers?\.\d+\.")  # in the names of a layer's tensors
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
        self._readers: dict[str, tuple[Any, str]] = {}  # by name, the file's reader and the tensor's name in the file
        self._used_names: set[str] = set()  # the names of the tensors whose values or shapes were read
        self._open(files, lambda stored_name: stored_name.removeprefix(prefix))

    def add(self, files: Sequence[Path], prefix: str) -> None:
        """Add the tensors of more files, with a prefix before their names."""
        self._open(files, lambda stored_name: prefix + stored_name)

    def _open(self, files: Sequence[Path], rename: Callable[[str], str]) -> None:
        self.files += files
        for path in files:
            reader = self._stack.enter_context(_open_file(path))
            for stored_name in reader.keys():  # noqa: SIM118  not a dict
                self._readers[rename(stored_name)] = reader, stored_name
        if self._may_be_quantised:
            self._check_quantised()

    def __contains__(self, name: str) -> bool:
        return name in self._readers

    def __getitem__(self, name: str) -> Array:
        """Return a tensor in float32."""
        return np.ascontiguousarray(self.tensor(name), dtype=np.float32)

    def rows(self, name: str, ids: Sequence[int]) -> Array:
        """Return rows of a matrix in float32, without reading the others."""

        def read(reader: Any, stored_name: str) -> Array:
            tensor = reader.get_slice(stored_name)
            return np.stack([tensor[row] for row in ids])

        return self._checked(name, self._read(name, read)).astype(np.float32)

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
        if not np.isfinite(tensor).all():
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
        self._reader(name)
        return self._header(name)[1], self._header(name + SCALE_SUFFIX)[1]

    def _tensor(self, name: str) -> Array:
        return self._read(name, lambda reader, stored_name: reader.get_tensor(stored_name))

    def _read(self, name: str, read: Callable[[Any, str], Array]) -> Array:
        """Return what `read` returns for the tensor's file and its name in the file."""
        reader, stored_name = self._reader(name)
        if self._header(name)[0] == "BF16":
            import ml_dtypes  # noqa: F401  registers bfloat16 with numpy, for safetensors; other models start faster without it
        try:
            return read(reader, stored_name)
        except (SafetensorError, TypeError) as error:
            raise ModelError(f"{self._title(name)} cannot be read; download the file again") from error

    def _title(self, name: str) -> str:
        """Return how errors call a tensor."""
        return f"{self.files[0].parent}: tensor {name!r}"

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor, which for a quantised matrix is that of the matrix."""
        self._reader(name)
        return self._quantised_shape(name) if self.is_quantised(name) else self._header(name)[1]

    def dtypes(self) -> set[str]:
        """Return the types in which tensors are stored, as safetensors calls them: F32, F16, BF16 …"""
        return {self._header(name)[0] for name in self._readers}

    def _header(self, name: str) -> tuple[str, tuple[int, ...]]:
        """Return the type and shape in which a tensor is stored, ("", ()) if there is no such tensor."""
        if name not in self._readers:
            return "", ()
        reader, stored_name = self._readers[name]
        header = reader.get_slice(stored_name)
        return str(header.get_dtype()), tuple(header.get_shape())

    def _check_quantised(self) -> None:
        """Raise ModelError if whole numbers have no scales of a matching shape, or scales no whole numbers."""
        for name in self._readers:
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
        return sorted(name for name in self._readers.keys() - self._used_names if LAYER.search(name))

    def _reader(self, name: str) -> tuple[Any, str]:
        if name not in self._readers:
            raise ModelError(f"{self.files[0].parent} has no tensor {name!r}; the checkpoint does not match its config.json")
        self._used_names |= {name, name + SCALE_SUFFIX}
        return self._readers[name]

    def digest(self) -> str:
        """Return a hash of the contents of all files."""
        return digest_of(self.files)

    def close(self) -> None:
        self._stack.close()


@contextlib.contextmanager
def _open_file(path: Path) -> Iterator[Any]:
    """Yield the reader of a safetensors file. Raises ModelNotFound or ModelError."""
    try:
        open_regular_file(path).close()  # because safetensors would wait for a named pipe
        reader = safe_open(str(path), framework="np")
    except FileNotFoundError as error:
        raise _missing_file(path) from error
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is damaged or incomplete; delete it and download it again") from error
    with reader:
        yield reader


def _described(stored: tuple[str, tuple[int, ...]]) -> str:
    """Describe a tensor by its type and shape, which are ("", ()) if it is missing."""
    return f"{stored[0]} of shape {stored[1]}" if stored[0] else "missing"


def _missing_file(path: Path) -> ModelNotFound:
    return ModelNotFound(f"{path} is missing; download it from where the rest of the model came from")


def digest_of(files: Sequence[Path]) -> str:
    """Return a hash of the files' contents. Raises ModelNotFound if a file is missing."""
    return _digest(tuple((path, _file_version(path)) for path in files))


def _file_version(path: Path) -> tuple[int, ...]:
    """Return numbers that change whenever the file changes. Raises ModelError for a named pipe, which cannot be read twice."""
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise _missing_file(path) from error
    if not stat.S_ISREG(status.st_mode):
        raise ModelError(f"{path} is not a regular file; download it again")
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@functools.lru_cache(maxsize=128)
def _digest(files: tuple[tuple[Path, tuple[int, ...]], ...]) -> str:
    """Return a hash of the files' contents. `files` are (path, version). It is cached, because loading needs it repeatedly."""
    digest = hashlib.sha256()
    for path, _ in files:
        with path.open("rb") as file:
            while block := file.read(1 << 22):  # 4 MiB
                digest.update(block)
    return digest.hexdigest()
