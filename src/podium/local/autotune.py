"""Which runtime and precision a model runs in where that is left to podium: measured once per machine and model.

What was measured is kept in the cache directory; `podium check` shows it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import numpy as np

from podium.atomic import atomic_write
from podium.local import build as network
from podium.local.cache import cache_folder
from podium.local.cpu import cpu_name
from podium.local.graph import Precision
from podium.local.runtimes import Runtime, RuntimeName
from podium.local.spec import Spec

__all__ = ["Choice", "choose"]

Load = Callable[[Spec, Precision, RuntimeName], Runtime]
PRECISIONS: tuple[Precision, ...] = ("float32", "int8")
# int8 moves scores a little; for less than this it is not worth it.
WORTH = 1.2
# Lengths of what is measured: some short texts and a longer one, as search results are.
TEXTS, SECONDS = (64, 64, 64, 64, 64, 256), 0.1


@dataclass(frozen=True, slots=True)
class Choice:
    """A runtime and a precision, and the tokens per second on one thread of all that were compared, if any were."""

    runtime: RuntimeName
    precision: Precision
    measured: dict[str, float]

    def __str__(self) -> str:
        rates = ", ".join(f"{name} {rate:,.0f}" for name, rate in sorted(self.measured.items(), key=lambda each: -each[1]))
        return f"fastest of those measured here, in tokens/s on one thread: {rates}" if rates else "nothing to choose from"


def choose(
    spec: Spec, precision: Precision | Literal["auto"], runtime: RuntimeName | Literal["auto"], load: Load = network.load
) -> Choice:
    """Return what to run a model in. `load` makes its network. Raises UnsupportedModel where it can't run as was asked."""
    runtimes = network.runtimes_for(spec, runtime)
    precisions = (("float32",) if spec.family is None else PRECISIONS) if precision == "auto" else (precision,)
    pairs = [(one, other) for one in runtimes for other in precisions]
    if len(pairs) == 1:
        return Choice(*pairs[0], {})
    path = _path(spec)
    kept = _kept(path)
    if any(_name(*pair) not in kept for pair in pairs):
        if not _can_be_kept(path):
            return Choice(*pairs[0], {})
        kept |= {_name(*pair): _rate(load(spec, pair[1], pair[0]), spec) for pair in pairs if _name(*pair) not in kept}
        with contextlib.suppress(OSError), atomic_write(path) as file:
            file.write(json.dumps(kept).encode())
    return _best(pairs, kept)


def _best(pairs: Sequence[tuple[RuntimeName, Precision]], rates: dict[str, float]) -> Choice:
    def worth(pair: tuple[RuntimeName, Precision]) -> float:
        return rates[_name(*pair)] / (WORTH if pair[1] == "int8" else 1)

    return Choice(*max(pairs, key=worth), {_name(*pair): rates[_name(*pair)] for pair in pairs})


def _name(runtime: RuntimeName, precision: Precision) -> str:
    return f"{runtime} {precision}"


def _path(spec: Spec) -> Path:
    """Return where the answer for this model, machine and software is kept."""
    about = (spec.digest, cpu_name(), *map(_version, ("podium", "onnxruntime")), platform.python_version())
    return cache_folder() / "chosen" / f"{hashlib.sha256(repr(about).encode()).hexdigest()[:32]}.json"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from its sources
        return ""


def _kept(path: Path) -> dict[str, float]:
    try:
        kept = json.loads(path.read_bytes())
        return {str(name): float(rate) for name, rate in kept.items() if 0 < float(rate) < 1e12}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _can_be_kept(path: Path) -> bool:
    """Say whether the cache directory can be written: else every start would measure again."""
    there = next(each for each in path.parents if each.exists())
    return there.is_dir() and os.access(there, os.W_OK)


def _rate(runtime: Runtime, spec: Spec) -> float:
    """Return tokens per second on one thread, the best of several runs over about a tenth of a second."""
    draw = np.random.default_rng(0)
    vocabulary = int(spec.config.get("vocab_size", 1000))
    ids = [draw.integers(0, vocabulary, min(length, spec.max_length), np.int32) for length in TEXTS]
    segments = [(np.arange(len(each)) > len(each) // 4).astype(np.int32) for each in ids]
    best, began = 0.0, time.perf_counter()
    while not best or time.perf_counter() - began < SECONDS:
        start = time.perf_counter()
        runtime.run(ids, segments)
        best = max(best, sum(map(len, ids)) / (time.perf_counter() - start))
    return best
