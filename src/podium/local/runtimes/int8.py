"""int8 weights, computed once per checkpoint and kept in the cache directory.

Per output channel, symmetric, rounded to nearest. Activations are quantised by the runtime, while it computes.
"""

from __future__ import annotations

import contextlib

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from podium.atomic import atomic_write
from podium.checksums import checksum
from podium.local.cache import cache_folder
from podium.local.files.checkpoint import Array

__all__ = ["Int8Weights", "quantise"]

LAYOUT = "v1"  # to be changed with the layout of the file


def quantise(weight: Array) -> tuple[Array, Array]:
    """Return a float32 weight of shape (outputs, inputs) as int8 of shape (inputs, outputs), and a scale per output."""
    scale = np.maximum(np.abs(weight).max(axis=1), np.float32(1e-12)) / np.float32(127)
    rounded = np.rint(weight / scale[:, None]).astype(np.int8)
    return np.ascontiguousarray(rounded.T), scale.astype(np.float32)


class Int8Weights:
    """The int8 weights of the checkpoint with this digest, by name. `add` adds one, `save` writes the file."""

    def __init__(self, digest: str) -> None:
        self.path = cache_folder() / "int8" / f"{digest}-{LAYOUT}.safetensors"
        self._arrays: dict[str, Array] = {}
        self._changed = False
        # A file that cannot be read is replaced: a cache is never a reason to fail.
        with contextlib.suppress(FileNotFoundError, SafetensorError, OSError), safe_open(str(self.path), "np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
            if (file.metadata() or {}).get("checksum") == _checksum(arrays):
                self._arrays = arrays

    def get(self, name: str, inputs: int, outputs: int) -> tuple[Array, Array] | None:
        """Return the weight and scales of this name, None if there are none of these sizes."""
        weight, scale = self._arrays.get(f"{name}.int8"), self._arrays.get(f"{name}.scale")
        if weight is None or scale is None or weight.shape != (inputs, outputs) or scale.shape != (outputs,):
            return None
        valid = weight.dtype == np.int8 and scale.dtype == np.float32 and bool(np.isfinite(scale).all() and weight.any())
        return (weight, scale) if valid else None

    def add(self, name: str, weight: Array) -> tuple[Array, Array]:
        """Quantise a float32 weight and return what `get` returns for it."""
        quantised, scale = quantise(weight)
        self._arrays |= {f"{name}.int8": quantised, f"{name}.scale": scale}
        self._changed = True
        return quantised, scale

    def save(self) -> None:
        """Write the file, if something was added. On a read-only or full disk, the next start quantises again."""
        if self._changed:
            with contextlib.suppress(OSError, SafetensorError), atomic_write(self.path) as file:
                file.write(save(self._arrays, {"checksum": _checksum(self._arrays)}))


def _checksum(arrays: dict[str, Array]) -> str:
    """Return a checksum of the arrays: damaged weights would otherwise show in scores only."""
    total = 0
    for name, array in sorted(arrays.items()):
        total = checksum(array.data, checksum(f"{name} {array.dtype} {array.shape}".encode(), total))
    return f"{total:08x}"
