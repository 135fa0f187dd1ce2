"""Measure how fast this machine can multiply matrices on all processors, with the fastest library that is installed.

Prints a line of JSON: {"float32": GFLOP/s, "int8": GOP/s}. The matrices have the shapes (rows, 1536) and (1536, 1536), with 128
to 2048 rows. The libraries are numpy, PyTorch and podium's native core.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

SIZE = 1536
ROW_COUNTS = (128, 512, 2048)
SECONDS = 0.4  # how long a product is repeated
THREADS = len(os.sched_getaffinity(0))
Product = Callable[[], object]
"""A function that multiplies two matrices."""


def rate(product: Product, row_count: int) -> float:
    """Return the billions of operations per second in the fastest of many runs."""
    best_seconds = float("inf")
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        product()
        best_seconds = min(best_seconds, time.perf_counter() - start)
    return 2 * row_count * SIZE * SIZE / best_seconds / 1e9


# The following functions yield the precisions that a library has, each with a product.


def numpy_products(row_count: int) -> Iterator[tuple[str, Product]]:
    x = np.ones((row_count, SIZE), np.float32)
    weight = np.ones((SIZE, SIZE), np.float32)
    yield "float32", lambda: x @ weight


def torch_products(row_count: int) -> Iterator[tuple[str, Product]]:
    import torch

    x = torch.ones(row_count, SIZE)
    weight = torch.ones(SIZE, SIZE)
    yield "float32", lambda: x @ weight
    x_int8 = torch.ones(row_count, SIZE, dtype=torch.int8)
    weight_int8 = torch.ones(SIZE, SIZE, dtype=torch.int8)
    yield "int8", lambda: torch._int_mm(x_int8, weight_int8)


def podium_products(row_count: int) -> Iterator[tuple[str, Product]]:
    """Yield products by the native core's kernels. The rows are divided among threads, as the core divides pairs."""
    from podium import _native
    from podium.local.runtimes.native.packed import pack_floats, pack_int8

    instruction_set = _native.instruction_sets()[0]
    weight = np.random.default_rng(0).standard_normal((SIZE, SIZE)).astype(np.float32)
    parts = [np.ones((row_count // THREADS, SIZE), np.float32) for _ in range(THREADS)]
    results = [np.empty((row_count // THREADS, SIZE), np.float32) for _ in range(THREADS)]
    packed = pack_floats(weight)
    packed_int8, scales, sums = pack_int8(weight)
    pool = ThreadPoolExecutor(THREADS)

    def multiply(x: np.ndarray, y: np.ndarray) -> None:
        _native.multiply(x=x, packed=packed, y=y, bias=None, activation="none", added=None, instruction_set=instruction_set)

    def multiply_int8(x: np.ndarray, y: np.ndarray) -> None:
        _native.multiply_int8(x=x, packed=packed_int8, scales=scales, sums=sums, y=y, instruction_set=instruction_set)

    yield "float32", lambda: list(pool.map(multiply, parts, results))
    yield "int8", lambda: list(pool.map(multiply_int8, parts, results))


def main() -> None:
    best_rates = {"float32": 0.0, "int8": 0.0}
    for products in (numpy_products, torch_products, podium_products):
        for row_count in ROW_COUNTS:
            with contextlib.suppress(ImportError):  # The library is not installed.
                for precision, product in products(row_count):
                    best_rates[precision] = max(best_rates[precision], rate(product, row_count))
    print(json.dumps(best_rates))


if __name__ == "__main__":
    main()
