"""Who multiplies the matrices: one file per runtime, each with its Graph. All compute a pair alone or as if it were."""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Sequence
from typing import Any, Literal, Protocol

from podium.local.files.checkpoint import Array

__all__ = ["NO_CORE", "Runtime", "RuntimeName", "native_core"]

RuntimeName = Literal["native", "onnx"]
NO_CORE = "there was no C++ compiler, or one that failed; install one and then podium again to have it"


class Runtime(Protocol):
    """A loaded network. `run` may be called from several threads at once; each call computes on its own thread."""

    name: RuntimeName
    tokens_at_once: int  # how many tokens' texts are best given to one `run`; 1: one text at a time

    def run(self, ids: Sequence[Array], segments: Sequence[Array]) -> Array:
        """Return what pairs or texts give, float32 of shape (texts, outputs). Each of `ids` has shape (tokens,)."""
        ...


@functools.cache
def native_core() -> Any:
    """Return podium's native core, or None where it was not built; the log then says so, once."""
    try:
        return importlib.import_module("podium._native")
    except ImportError as error:
        log = logging.getLogger("podium")
        log.warning("local models run on ONNX Runtime, without podium's native core: %s (%s)", NO_CORE, error)
        return None
