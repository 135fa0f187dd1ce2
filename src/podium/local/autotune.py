"""The choice of the fastest runtime and precision for a model, by measurements that are made once per machine and model.

They are stored in the cache directory. `podium check` shows them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from podium.atomic import atomic_write
from podium.json_values import load_json
from podium.local.cache import cache_folder
from podium.local.cpu import cpu_name
from podium.local.runtimes import Runtime, Variant
from podium.local.spec import Spec

__all__ = ["Choice", "Load", "choose", "measure"]

Load = Callable[[Spec, Variant], Runtime]
INT8_ADVANTAGE = 1.2  # int8 is chosen only if it is faster by this factor, because it changes scores a little.
TEXT_LENGTHS = (64, 64, 64, 64, 64, 256)  # the measured texts' numbers of tokens: mostly short, like those of search results
MEASUREMENT_SECONDS = 0.1  # how long a variant is run
LOCK_SECONDS = 60  # how long to wait for another process that measures; longer than loading and measuring takes


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen variant, and the tokens per second on one thread of all variants that were compared, {} if none were."""

    variant: Variant
    measured: Mapping[Variant, float] = field(default_factory=dict)

    def __str__(self) -> str:
        if not self.measured:
            return "nothing to choose from"
        fastest_first = sorted(self.measured.items(), key=lambda item: -item[1])
        rates = ", ".join(f"{variant} {rate:,.0f}" for variant, rate in fastest_first)
        return f"fastest of those measured here, in tokens/s on one thread: {rates}"


def choose(spec: Spec, variants: Sequence[Variant], load: Load) -> Choice:
    """Return the fastest variant, or the first one if there are no others or if measurements cannot be stored.

    `load` returns the model's network in a variant. int8 must be faster than float32 by INT8_ADVANTAGE.
    """
    if len(variants) == 1:
        return Choice(variants[0])
    path = _measurements_path(spec)
    rates = _stored_rates(path)
    if any(str(variant) not in rates for variant in variants):
        if not _is_writable(path):  # Every start would measure again.
            return Choice(variants[0])
        with _measuring_alone(path):
            rates = _stored_rates(path)  # Another process may have measured in the meantime, and both must choose the same.
            missing = [variant for variant in variants if str(variant) not in rates]
            rates |= {str(variant): rate for variant, rate in measure(spec, missing, load).items()}
            _store(path, rates)
    measured = {variant: rates[str(variant)] for variant in variants}
    return Choice(max(variants, key=lambda variant: _adjusted(variant, measured[variant])), measured)


def measure(spec: Spec, variants: Sequence[Variant], load: Load) -> dict[Variant, float]:
    """Return the tokens per second of each variant on one thread, the best of several runs within MEASUREMENT_SECONDS."""
    return {variant: _tokens_per_second(load(spec, variant), spec) for variant in variants}


def _adjusted(variant: Variant, rate: float) -> float:
    """Return the rate by which variants are compared."""
    return rate / INT8_ADVANTAGE if variant.precision == "int8" else rate


def _tokens_per_second(runtime: Runtime, spec: Spec) -> float:
    random = np.random.default_rng(0)
    vocabulary = int(spec.config.get("vocab_size", 1000))
    ids = [random.integers(0, vocabulary, min(length, spec.max_length), np.int32) for length in TEXT_LENGTHS]
    # The first quarter of the tokens is the query, the others are the text.
    segments = [(np.arange(len(text_ids)) > len(text_ids) // 4).astype(np.int32) for text_ids in ids]
    token_count = sum(map(len, ids))
    best_rate = 0.0
    end = time.perf_counter() + MEASUREMENT_SECONDS
    while not best_rate or time.perf_counter() < end:
        start = time.perf_counter()
        runtime.run(ids, segments)
        best_rate = max(best_rate, token_count / (time.perf_counter() - start))
    return best_rate


def _measurements_path(spec: Spec) -> Path:
    """Return the file with the measurements of this model on this machine with this software."""
    key = (spec.digest, cpu_name(), *map(_package_version, ("podium", "onnxruntime")), platform.python_version())
    return cache_folder() / "chosen" / f"{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.json"


def _package_version(package: str) -> str:
    from importlib import metadata  # imported here, because most models do not need it, and the import is slow

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # such as podium itself, if it runs from its sources without being installed
        return ""


def _stored_rates(path: Path) -> dict[str, float]:
    """Return the stored measurements by the variants' names, without impossible ones; {} if the file is missing or damaged."""
    try:
        rates = load_json(path)
        return {name: float(rate) for name, rate in rates.items() if 0 < float(rate) < 1e12}
    except (OSError, ValueError, AttributeError, TypeError, OverflowError):
        return {}


def _store(path: Path, rates: Mapping[str, float]) -> None:
    with contextlib.suppress(OSError), atomic_write(path) as file:
        file.write(json.dumps(rates).encode())


@contextlib.contextmanager
def _measuring_alone(path: Path) -> Iterator[None]:
    """Keep other processes and threads from measuring for the file `path` during the block.

    If one of them is measuring now, this waits for it, at most LOCK_SECONDS.
    """
    import filelock

    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # also filelock.Timeout
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(filelock.FileLock(path.with_suffix(".lock")).acquire(timeout=LOCK_SECONDS))
        yield


def _is_writable(path: Path) -> bool:
    """Whether the file can be created, with its folders."""
    # Unlike the methods of Path, these functions return False for a path below a folder that may not be entered.
    folder = next(parent for parent in path.parents if os.path.exists(parent))
    return os.path.isdir(folder) and os.access(folder, os.W_OK)
