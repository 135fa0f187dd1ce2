"""The highest rates of matrix products on this machine, by any library that is installed here, on all processors.

Prints a line of JSON: {"float32": GFLOP/s, "int8": GOP/s}. The products are of (rows, 1536) and (1536, 1536), with 128 to
2048 rows.
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
    """Return billions of operations a second, the best of many runs."""
    best, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        start = time.perf_counter()
        product()
        best = min(best, time.perf_counter() - start)
    return 2 * rows * SIZE * SIZE / best / 1e9


def numpy_products(rows: int) -> Iterator[tuple[str, Product]]:
    x, weight = np.ones((rows, SIZE), np.float32), np.ones((SIZE, SIZE), np.float32)
    yield "float32", lambda: x @ weight


def torch_products(rows: int) -> Iterator[tuple[str, Product]]:
    import torch

    x, weight = torch.ones(rows, SIZE), torch.ones(SIZE, SIZE)
    yield "float32", lambda: x @ weight
    x_int8, weight_int8 = torch.ones(rows, SIZE, dtype=torch.int8), torch.ones(SIZE, SIZE, dtype=torch.int8)
    yield "int8", lambda: torch._int_mm(x_int8, weight_int8)


def podium_products(rows: int) -> Iterator[tuple[str, Product]]:
    """Yield products of the native core's kernels, whose rows are divided among threads as pairs are."""
    from podium import _native
    from podium.local.runtimes.native.packed import pack_float32, pack_int8

    kernels = _native.instruction_sets()[0]
    weight = np.random.default_rng(0).standard_normal((SIZE, SIZE)).astype(np.float32)
    parts = [np.ones((rows // THREADS, SIZE), np.float32) for _ in range(THREADS)]
    results = [np.empty((rows // THREADS, SIZE), np.float32) for _ in range(THREADS)]
    packed = pack_float32(weight)
    packed_int8, scales, sums = pack_int8(weight)
    pool = ThreadPoolExecutor(THREADS)

    def multiply(x: np.ndarray, y: np.ndarray) -> None:
        _native.multiply(x=x, packed=packed, y=y, bias=None, activation="none", added=None, instruction_set=kernels)

    def multiply_int8(x: np.ndarray, y: np.ndarray) -> None:
        _native.multiply_int8(x=x, packed=packed_int8, scales=scales, sums=sums, y=y, instruction_set=kernels)

    yield "float32", lambda: list(pool.map(multiply, parts, results))
    yield "int8", lambda: list(pool.map(multiply_int8, parts, results))


def main() -> None:
    best = {"float32": 0.0, "int8": 0.0}
    for products in (numpy_products, torch_products, podium_products):
        for rows in ROWS:
            with contextlib.suppress(ImportError):
                for kind, product in products(rows):
                    best[kind] = max(best[kind], rate(product, rows))
    print(json.dumps(best))


if __name__ == "__main__":
    main()
