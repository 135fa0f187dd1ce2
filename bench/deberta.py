"""Measure the speed of a DeBERTa-v3-base with random weights in float32, and its share of the speed of matrix products.

    .venv/dev/bin/python bench/deberta.py [--runtime onnx] [--tokens 150]

The texts of all runs have the same length. The operations are those of the products: with weights, of queries with keys, and of
weights with values. Those with relative positions, which only DeBERTa has, are given separately. Writes a checkpoint of 330 MB
under .bench/, whose vocabulary is small, because speed does not depend on it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from podium.local.build import load
from podium.local.runtimes import Runtime, Variant
from podium.local.runtimes.native.runtime import NativeRuntime
from podium.local.spec import read_spec

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests" / "support"))
from checkpoints import write_random  # noqa: E402  in that folder

FOLDER = ROOT / ".bench" / "deberta-base"
SMALL_MODEL = ROOT / "tests" / "parity" / "deberta-v3"
LAYERS, WIDTH, INTERMEDIATE, HEADS = 12, 768, 3072, 12
SHAPE = {
    "hidden_size": WIDTH,
    "pooler_hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": INTERMEDIATE,
    "max_position_embeddings": 512,
    "position_buckets": 256,
}
THREADS = len(os.sched_getaffinity(0))
ROUNDS = 7
RUNS = 6  # per thread and round
RANDOM = np.random.default_rng(0)


def operations(token_count: int) -> tuple[float, float]:
    """Return the billions of operations for a text: those of every transformer, and those with relative positions."""
    weights = 4 * WIDTH * WIDTH + 2 * WIDTH * INTERMEDIATE
    pairs = 2 * token_count * token_count * WIDTH  # products of queries and keys, or of keys and distances, and so on
    transformer = LAYERS * (2 * weights * token_count + 2 * pairs) / 1e9
    return transformer, LAYERS * 2 * pairs / 1e9


def seconds_per_text(runtime: Runtime, token_count: int) -> float:
    """Return the least time per text of several rounds, in which every thread runs as many texts at once as usual."""
    count = max(runtime.tokens_at_once // token_count, 1)
    ids = [RANDOM.integers(5, 300, token_count).astype(np.int32) for _ in range(count)]
    segments = [np.zeros(token_count, np.int32)] * count
    best = float("inf")
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in range(ROUNDS):
            start = time.perf_counter()
            list(pool.map(lambda _: runtime.run(ids, segments), range(RUNS * THREADS)))
            best = min(best, (time.perf_counter() - start) / (RUNS * THREADS * count))
    return best


def print_steps(runtime: NativeRuntime, token_count: int) -> None:
    """Print the milliseconds of each kind of step, for one text on one thread."""
    network = runtime.network
    ids = RANDOM.integers(5, 300, token_count).astype(np.int32)
    seconds = np.zeros(len(network.step_names()))
    for _ in range(ROUNDS):
        network.run(ids, np.zeros_like(ids), np.array([0, token_count]), np.empty((1, 1), np.float32), seconds)
    kinds = dict.fromkeys(network.step_names())
    for kind in kinds:
        total = sum(time for name, time in zip(network.step_names(), seconds, strict=True) if name == kind)
        print(f"  {kind:26s} {total / ROUNDS * 1000:8.2f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runtime", choices=("native", "onnx"), default="native")
    parser.add_argument("--tokens", type=int, nargs="*", default=[83, 150, 310, 512])
    arguments = parser.parse_args()
    if not (FOLDER / "model.safetensors").exists():
        write_random(FOLDER, SMALL_MODEL, **SHAPE)
    command = [sys.executable, Path(__file__).parent / "peak.py"]
    peak = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])["float32"]
    print(f"best matrix product here: {peak:.0f} GFLOP/s")
    runtime = load(read_spec(FOLDER), Variant(arguments.runtime, "float32"))
    for token_count in arguments.tokens:
        seconds = seconds_per_text(runtime, token_count)
        transformer, relative = operations(token_count)
        print(
            f"{token_count} tokens: {1 / seconds:.1f} texts/s, {transformer / seconds / peak:.0%} of the best matrix product "
            f"({(transformer + relative) / seconds / peak:.0%} with the products of relative positions)"
        )
        if isinstance(runtime, NativeRuntime):
            print_steps(runtime, token_count)


if __name__ == "__main__":
    main()
