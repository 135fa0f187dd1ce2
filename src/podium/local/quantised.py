"""int8 weights: made once per checkpoint, kept in the cache directory, mapped from there afterwards.

Per output channel, symmetric, round to nearest; activations are quantised while running, by the runtime.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from podium.local.checkpoint import Array

__all__ = ["Quantised", "cache_folder", "quantise"]

LAYOUT = "v1"  # change it when the same weights would be stored differently


def cache_folder() -> Path:
    """Return podium's own cache directory: PODIUM_CACHE, or podium under the user's cache directory."""
    if given := os.environ.get("PODIUM_CACHE"):
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "podium"


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
            self._arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict

    def get(self, name: str) -> tuple[Array, Array] | None:
        if f"{name}.int8" not in self._arrays or f"{name}.scale" not in self._arrays:
            return None
        return self._arrays[f"{name}.int8"], self._arrays[f"{name}.scale"]

    def keep(self, name: str, weight: Array) -> tuple[Array, Array]:
        self._arrays[f"{name}.int8"], self._arrays[f"{name}.scale"] = quantise(weight)
        self._new = True
        return self._arrays[f"{name}.int8"], self._arrays[f"{name}.scale"]

    def save(self) -> None:
        """Write what is new, whole or not at all: two processes that race each write their own and the last one stays."""
        if not self._new:
            return
        with contextlib.suppress(OSError):  # a read-only or full disk costs time on the next start, nothing else
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, unfinished = tempfile.mkstemp(dir=self.path.parent, suffix=".unfinished")
            os.close(descriptor)
            try:
                save_file(self._arrays, unfinished)
                os.replace(unfinished, self.path)
            except BaseException:
                os.unlink(unfinished)
                raise
