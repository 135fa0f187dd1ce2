"""The best rates of matrix products that this machine reaches, by whatever is installed here, on all its processors.

Prints a line of JSON: {"float32": GFLOP/s, "int8": GOP/s}. Products of (rows, 1536) and (1536, 1536), rows 128 to 2048.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

SIZE, ROWS, SECONDS = 1536, (128, 512, 2048), 0.4
THREADS = len(os.sched_getaffinity(0))
Product = Callable[[], object]


def rate(product: Product, rows: int) -> float:
    """Return billions of operations a second, the best of many."""
    best, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        start = time.perf_counter()
        product()
        best = min(best, time.perf_counter() - start)
    return 2 * rows * SIZE * SIZE / best / 1e9


def numpys(rows: int) -> Iterator[tuple[str, Product]]:
    x, weight = np.ones((rows, SIZE), np.float32), np.ones((SIZE, SIZE), np.float32)
    yield "float32", lambda: x @ weight


def torchs(rows: int) -> Iterator[tuple[str, Product]]:
    import torch

    x, weight = torch.ones(rows, SIZE), torch.ones(SIZE, SIZE)
    yield "float32", lambda: x @ weight
    small, whole = torch.ones(rows, SIZE, dtype=torch.int8), torch.ones(SIZE, SIZE, dtype=torch.int8)
    yield "int8", lambda: torch._int_mm(small, whole)


def podiums(rows: int) -> Iterator[tuple[str, Product]]:
    """The native core's own kernels, the rows shared out among threads as pairs are."""
    from podium import _native
    from podium.local.runtimes.native.packed import pack_float32, pack_int8

    kernels = _native.instruction_sets()[0]
    weight = np.random.default_rng(0).standard_normal((SIZE, SIZE)).astype(np.float32)
    parts = [np.ones((rows // THREADS, SIZE), np.float32) for _ in range(THREADS)]
    results = [np.empty((rows // THREADS, SIZE), np.float32) for _ in range(THREADS)]
    packed, whole = pack_float32(weight), pack_int8(weight)
    pool = ThreadPoolExecutor(THREADS)

    def exact(x: np.ndarray, y: np.ndarray) -> None:
        _native.multiply(x, packed, y, None, "none", None, kernels)

    def near(x: np.ndarray, y: np.ndarray) -> None:
        _native.multiply_int8(x, *whole, y, kernels)

    yield "float32", lambda: list(pool.map(exact, parts, results))
    yield "int8", lambda: list(pool.map(near, parts, results))


def main() -> None:
    best = {"float32": 0.0, "int8": 0.0}
    for found in (numpys, torchs, podiums):
        for rows in ROWS:
            with contextlib.suppress(ImportError):
                for kind, product in found(rows):
                    best[kind] = max(best[kind], rate(product, rows))
    print(json.dumps(best))


if __name__ == "__main__":
    main()
