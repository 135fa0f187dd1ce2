"""int8 weights, which are computed once per checkpoint and stored in the cache directory.

The quantisation is symmetric, with a scale per output channel, and rounds to nearest. The runtime quantises the activations
while it computes.
"""

from __future__ import annotations

import contextlib

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from podium.atomic import atomic_write
from podium.checksums import checksum
from podium.local.cache import cache_folder, delete_unused, mark_used
from podium.local.files.checkpoint import Array

__all__ = ["Int8Weights", "quantise"]

LAYOUT = "v1"  # Part of the file's name. Change it whenever the layout of the file changes.


def quantise(weight: Array) -> tuple[Array, Array]:
    """Return a float32 weight of shape (outputs, inputs) as int8 of shape (inputs, outputs), and a scale per output."""
    scale = np.maximum(np.abs(weight).max(axis=1), np.float32(1e-12)) / np.float32(127)
    rounded = np.rint(weight / scale[:, None]).astype(np.int8)
    return np.ascontiguousarray(rounded.T), scale.astype(np.float32)


class Int8Weights:
    """The int8 weights of the checkpoint with this digest, by name. They are read from the cache directory if possible."""

    def __init__(self, digest: str) -> None:
        self.path = cache_folder() / "int8" / f"{digest}-{LAYOUT}.safetensors"
        self._arrays: dict[str, Array] = {}
        self._is_changed = False
        # A file that cannot be read is replaced, because a damaged cache must not be an error.
        with contextlib.suppress(FileNotFoundError, SafetensorError, OSError), safe_open(str(self.path), "np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
            if (file.metadata() or {}).get("checksum") == _checksum(arrays):
                self._arrays = arrays
                mark_used(self.path)

    def get(self, name: str, inputs: int, outputs: int) -> tuple[Array, Array] | None:
        """Return the weight and scales of this name. None if they are missing, invalid, or do not have these sizes."""
        weight = self._arrays.get(f"{name}.int8")
        scale = self._arrays.get(f"{name}.scale")
        if weight is None or scale is None or weight.shape != (inputs, outputs) or scale.shape != (outputs,):
            return None
        is_valid = weight.dtype == np.int8 and scale.dtype == np.float32 and bool(np.isfinite(scale).all() and weight.any())
        return (weight, scale) if is_valid else None

    def add(self, name: str, weight: Array) -> tuple[Array, Array]:
        """Quantise a float32 weight, and return the int8 weight and the scales as `get` does."""
        quantised, scale = quantise(weight)
        self._arrays |= {f"{name}.int8": quantised, f"{name}.scale": scale}
        self._is_changed = True
        return quantised, scale

    def save(self) -> None:
        """Write the file if a weight was added. If the disk is read-only or full, the next start quantises again."""
        if self._is_changed:
            with contextlib.suppress(OSError, SafetensorError), atomic_write(self.path) as file:
                file.write(save(self._arrays, {"checksum": _checksum(self._arrays)}))
            delete_unused(self.path.parent)


def _checksum(arrays: dict[str, Array]) -> str:
    """Return a checksum of the arrays. Without it, damaged weights would only be noticed by their wrong scores."""
    result = 0
    for name, array in sorted(arrays.items()):
        result = checksum(array.data, checksum(f"{name} {array.dtype} {array.shape}".encode(), result))
    return f"{result:08x}"
