"""The choice of runtime and precision that is left to podium: the fastest, measured once per machine and model.

The measurements are kept in the cache directory; `podium check` shows them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from podium.atomic import atomic_write
from podium.local.cache import cache_folder
from podium.local.cpu import cpu_name
from podium.local.runtimes import Runtime, Variant
from podium.local.spec import Spec

__all__ = ["Choice", "Load", "choose", "measure"]

Load = Callable[[Spec, Variant], Runtime]
INT8_ADVANTAGE = 1.2  # int8 changes scores a little, so it must be this much faster
TOKENS = (64, 64, 64, 64, 64, 256)  # of the texts that are measured: short ones and a longer one, like search results
SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Choice:
    """A variant, and the tokens per second on one thread of all that were compared, if any were."""

    variant: Variant
    measured: Mapping[Variant, float] = field(default_factory=dict)

    def __str__(self) -> str:
        if not self.measured:
            return "nothing to choose from"
        fastest_first = sorted(self.measured.items(), key=lambda item: -item[1])
        rates = ", ".join(f"{variant} {rate:,.0f}" for variant, rate in fastest_first)
        return f"fastest of those measured here, in tokens/s on one thread: {rates}"


def choose(spec: Spec, variants: Sequence[Variant], load: Load) -> Choice:
    """Return the fastest of the variants; the first if there is one, or if measurements cannot be stored.

    `load` loads the model, see `measure`.
    """
    if len(variants) == 1:
        return Choice(variants[0])
    path = _path(spec)
    stored = _stored_rates(path)
    rates = {variant: stored[str(variant)] for variant in variants if str(variant) in stored}
    if missing := [variant for variant in variants if variant not in rates]:
        if not _is_writable(path):  # every start would measure again
            return Choice(variants[0])
        rates |= measure(spec, missing, load)
        _store(path, stored | {str(variant): rate for variant, rate in rates.items()})
    return Choice(max(variants, key=lambda variant: _adjusted(variant, rates[variant])), rates)


def measure(spec: Spec, variants: Sequence[Variant], load: Load) -> dict[Variant, float]:
    """Return the tokens per second of each variant on one thread, the best of several runs over about a tenth of a second."""
    return {variant: _rate(load(spec, variant), spec) for variant in variants}


def _adjusted(variant: Variant, rate: float) -> float:
    return rate / INT8_ADVANTAGE if variant.precision == "int8" else rate


def _rate(runtime: Runtime, spec: Spec) -> float:
    draw = np.random.default_rng(0)
    vocabulary = int(spec.config.get("vocab_size", 1000))
    ids = [draw.integers(0, vocabulary, min(length, spec.max_length), np.int32) for length in TOKENS]
    segments = [(np.arange(len(text)) > len(text) // 4).astype(np.int32) for text in ids]
    best, began = 0.0, time.perf_counter()
    while not best or time.perf_counter() - began < SECONDS:
        start = time.perf_counter()
        runtime.run(ids, segments)
        best = max(best, sum(map(len, ids)) / (time.perf_counter() - start))
    return best


# Where measurements are stored.


def _path(spec: Spec) -> Path:
    """Return the file of this model, machine and software."""
    key = (spec.digest, cpu_name(), *map(_version, ("podium", "onnxruntime")), platform.python_version())
    return cache_folder() / "chosen" / f"{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.json"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # podium runs from its sources
        return ""


def _stored_rates(path: Path) -> dict[str, float]:
    try:
        stored = json.loads(path.read_bytes())
        return {name: float(rate) for name, rate in stored.items() if 0 < float(rate) < 1e12}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _store(path: Path, rates: Mapping[str, float]) -> None:
    with contextlib.suppress(OSError), atomic_write(path) as file:
        file.write(json.dumps(rates).encode())


def _is_writable(path: Path) -> bool:
    folder = next(parent for parent in path.parents if parent.exists())
    return folder.is_dir() and os.access(folder, os.W_OK)
