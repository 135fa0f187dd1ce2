"""Measure the embedded index at several sizes: the time of building it, memory, size on disk, and the time of a query.

    python bench/index.py [--vectors] [SIZE …]

SIZE is a number of passages; by default 10,000, 100,000 and 1,000,000. Every size is measured in its own process. The passages
are generated. They have 60 words on average, with the frequencies of words in English text (Zipf). Queries have 2 to 9 of these
words. `--vectors` adds random vectors of 384 dimensions, which are the worst case for a graph. An embedder's time is not
included.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from podium import EmbeddedIndex

SIZES = (10_000, 100_000, 1_000_000)
BATCH = 20_000  # how many passages are added at once
VOCABULARY = 300_000  # how many different words there are
QUERIES = 200
LIMIT = 100
CUMULATIVE = np.cumsum(1 / (np.arange(1, VOCABULARY + 1) + 2.7))
CUMULATIVE /= CUMULATIVE[-1]
"""The cumulative frequencies of the words, the most frequent first."""


def passages(count: int, seed: int):
    """Yield `count` passages in lists of BATCH."""
    rng = np.random.default_rng(seed)
    for start in range(0, count, BATCH):
        lengths = rng.poisson(60, min(BATCH, count - start)) + 1
        words = random_words(rng, int(lengths.sum())).astype(str)
        ends = np.cumsum(lengths)
        yield [f"word{' word'.join(words[end - size : end])}" for end, size in zip(ends, lengths, strict=True)]


def random_words(rng, count: int):
    """Return the ranks of random words, from 1. As in English text, a word's frequency is proportional to 1 / (rank + 2.7).

    The formula is Mandelbrot's.
    """
    return np.searchsorted(CUMULATIVE, rng.random(count)) + 1


def queries(seed: int) -> list[str]:
    """Return random queries without the hundred most frequent words, because stop words are left out of queries."""
    rng = np.random.default_rng(seed)
    word_lists = [[word for word in random_words(rng, 60) if word > 100][: rng.integers(2, 10)] for _ in range(QUERIES)]
    return [" ".join(f"word{word}" for word in words) for words in word_lists if words]


class RandomVectors:
    """An embedder that returns random vectors."""

    model = "random"

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)

    def embed_documents(self, texts):
        # A single text always has the same vector, so that the index recognizes its embedder.
        if len(texts) == 1:
            return np.random.default_rng(1).normal(size=(1, 384)).astype(np.float32)
        return self._rng.normal(size=(len(texts), 384)).astype(np.float32)

    def embed_query(self, query):
        return self._rng.normal(size=384).astype(np.float32)

    def __call__(self, texts):
        return self.embed_documents(texts)


def peak_megabytes() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def query_milliseconds(index, mode: str) -> tuple[float, float]:
    """Return the median and the 95th percentile of the milliseconds of queries. The first ten are a warm-up."""
    milliseconds = []
    for query in queries(7):
        began = time.perf_counter()
        index.search(query, LIMIT, mode=mode)
        milliseconds.append(1000 * (time.perf_counter() - began))
    return float(np.median(milliseconds[10:])), float(np.percentile(milliseconds[10:], 95))


def measure(count: int, with_vectors: bool) -> dict:
    """Build an index of `count` passages, query it, and return the figures."""
    folder = Path(tempfile.mkdtemp(prefix="podium-bench-"))
    try:
        embed = RandomVectors() if with_vectors else None
        index = EmbeddedIndex.create(folder, embed=embed)
        build_seconds = 0.0
        for batch in passages(count, seed=1):
            began = time.perf_counter()
            index.add(batch)
            build_seconds += time.perf_counter() - began
        peak_mb = peak_megabytes()
        disk_mb = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
        began = time.perf_counter()
        index = EmbeddedIndex.open(folder, embed=embed)
        open_seconds = time.perf_counter() - began
        modes = ("text", "vector", "hybrid") if with_vectors else ("text",)
        query_ms = {mode: query_milliseconds(index, mode) for mode in modes}
        sizes = {"peak_mb": peak_mb, "disk_mb": disk_mb}
        return {"build_seconds": build_seconds, "open_seconds": open_seconds, "query_ms": query_ms, **sizes}
    finally:
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES)
    parser.add_argument("--vectors", action="store_true")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)  # for the process that measures one size
    arguments = parser.parse_args()
    if arguments.alone:
        print(json.dumps(measure(arguments.sizes[0], arguments.vectors)))
        return
    for count in arguments.sizes:
        command = [sys.executable, __file__, str(count), "--alone", *(["--vectors"] if arguments.vectors else [])]
        result = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
        times = "   ".join(f"{mode} {p50:.1f} ms (p95 {p95:.1f})" for mode, (p50, p95) in result["query_ms"].items())
        seconds = result["build_seconds"]
        build = f"built in {seconds:.1f} s ({count / seconds:,.0f}/s), peak {result['peak_mb']:,} MB"
        disk = f"{result['disk_mb']:,.0f} MB on disk, opened in {1000 * result['open_seconds']:.0f} ms"
        print(f"{count:9,} passages   {build}, {disk}   {times}", flush=True)


if __name__ == "__main__":
    main()
