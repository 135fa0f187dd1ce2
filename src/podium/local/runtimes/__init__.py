"""The inference runtimes, and the variants in which a model can run.

A runtime's result for a text never depends on the texts that are computed with it.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
from collections.abc import Sequence
from types import ModuleType
from typing import Literal, NamedTuple, Protocol

from podium.errors import ModelError
from podium.local.files.checkpoint import Array
from podium.schedule import Helpers

__all__ = [
    "ARITHMETIC_VERSION",
    "NO_CORE",
    "Precision",
    "PrecisionOption",
    "Runtime",
    "RuntimeName",
    "RuntimeOption",
    "SharedWork",
    "Variant",
    "has_onnx_runtime",
    "native_core",
]

RuntimeName = Literal["native", "onnx"]
Precision = Literal["float32", "int8"]
RuntimeOption = Literal["native", "onnx", "auto"]
PrecisionOption = Literal["float32", "int8", "auto"]
ARITHMETIC_VERSION = 2
"""A part of the identity of scores and encodings. It changes with the native core's arithmetic, if only in the last bits."""
ONNX_PACKAGES = ("onnxruntime", "onnx")  # those of the extra "onnx"
SUBINTERPRETER = "not in a subinterpreter"  # a part of the native core's error
NO_CORE = "there was no C++ compiler, or it failed; install one and then podium again"


class Variant(NamedTuple):
    """A runtime and a precision in which a model can run."""

    runtime: RuntimeName
    precision: Precision

    def __str__(self) -> str:
        return f"{self.runtime} {self.precision}"


class SharedWork(Helpers, Protocol):
    """Texts of one call, by index, that several threads can compute together.

    - `lengths`: how many tokens of each text are computed.
    - `groups`: the number of each text's group. Texts of different groups are not computed in one call of `run`.
    """

    lengths: list[int]
    groups: list[int]

    def run(self, indices: Sequence[int]) -> Array:
        """Return the network's outputs for the texts, as `Runtime.run` does. Raises CancelledError after `cancel`."""
        ...


class Runtime(Protocol):
    """A loaded network. `run` may be called from several threads at once; each call computes on its own thread.

    `tokens_at_once`: how many tokens the texts of one call of `run` should have together. 1 means one text per call.
    """

    tokens_at_once: int

    def run(self, ids: Sequence[Array], segments: Sequence[Array]) -> Array:
        """Return the network's outputs, float32 of shape (texts, outputs), or (tokens of all texts, outputs).

        The second shape is that of networks with a row per token. `ids` and `segments` have one array of shape (tokens,) per
        text.
        """
        ...

    def shared_work(self, ids: Sequence[Array], segments: Sequence[Array], shared_tokens: Sequence[int]) -> SharedWork | None:
        """Return the work on texts that several threads compute together, None if each text is computed on one thread.

        `shared_tokens` has the number of the first tokens that each text has in common with other texts.
        """
        ...


@functools.cache
def native_core() -> ModuleType | None:
    """Return podium._native, or None if podium was installed without it, which is logged once.

    Raises ModelError in a subinterpreter, in which neither the core nor the tokenizers and ONNX Runtime can run.
    """
    try:
        return importlib.import_module("podium._native")
    except ImportError as error:
        if SUBINTERPRETER in str(error):
            raise ModelError(f"{error}; load the model there (with mod_wsgi: WSGIApplicationGroup %{{GLOBAL}})") from error
        log = logging.getLogger("podium")
        log.warning("local models run on ONNX Runtime, without podium's native core: %s (%s)", NO_CORE, error)
        return None


def has_onnx_runtime() -> bool:
    """Whether the packages of the extra "onnx" are installed. They are not imported, which takes time."""
    return all(importlib.util.find_spec(package) for package in ONNX_PACKAGES)
