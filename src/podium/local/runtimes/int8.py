"""int8 weights: made once per checkpoint, kept in the cache directory, mapped from there afterwards.

Per output channel, symmetric, round to nearest; activations are quantised while running, by the runtime.
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

__all__ = ["Quantised", "quantise"]

LAYOUT = "v1"  # change it when the same weights would be stored differently


def quantise(weight: Array) -> tuple[Array, Array]:
    """Return a float32 weight of shape (outputs, inputs) as int8 (inputs, outputs) and a scale per output."""
    scale = np.maximum(np.abs(weight).max(axis=1), np.float32(1e-12)) / np.float32(127)
    whole = np.rint(weight / scale[:, None]).astype(np.int8)
    return np.ascontiguousarray(whole.T), scale.astype(np.float32)


class Quantised:
    """The int8 weights of one checkpoint by name. What is not in the file yet is added by `keep`, written by `save`."""

    def __init__(self, digest: str) -> None:
        self.path = cache_folder() / "int8" / f"{digest}-{LAYOUT}.safetensors"
        self._arrays: dict[str, Array] = {}
        self._new = False
        # A file that cannot be read is made again: a cache is never a reason to fail.
        with contextlib.suppress(FileNotFoundError, SafetensorError, OSError), safe_open(str(self.path), "np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
            if (file.metadata() or {}).get("checksum") == _checksum(arrays):
                self._arrays = arrays

    def get(self, name: str, inputs: int, outputs: int) -> tuple[Array, Array] | None:
        """Return what is kept under a name, None if there is nothing, or not what fits."""
        whole, scale = self._arrays.get(f"{name}.int8"), self._arrays.get(f"{name}.scale")
        if whole is None or scale is None or whole.shape != (inputs, outputs) or scale.shape != (outputs,):
            return None
        sound = whole.dtype == np.int8 and scale.dtype == np.float32 and bool(np.isfinite(scale).all() and whole.any())
        return (whole, scale) if sound else None

    def keep(self, name: str, weight: Array) -> tuple[Array, Array]:
        self._arrays[f"{name}.int8"], self._arrays[f"{name}.scale"] = quantise(weight)
        self._new = True
        return self._arrays[f"{name}.int8"], self._arrays[f"{name}.scale"]

    def save(self) -> None:
        """Write what is new."""
        if not self._new:
            return
        # A read-only or full disk costs time on the next start, nothing else.
        with contextlib.suppress(OSError, SafetensorError), atomic_write(self.path) as file:
            file.write(save(self._arrays, {"checksum": _checksum(self._arrays)}))


def _checksum(arrays: dict[str, Array]) -> str:
    """Return what tells whether any of the arrays was damaged on the disk, where damage would only show in scores."""
    total = 0
    for name, array in sorted(arrays.items()):
        total = checksum(array.data, checksum(f"{name} {array.dtype} {array.shape}".encode(), total))
    return f"{total:08x}"
