"""What the embedded index costs as it grows: building, memory, and a query's time, from 10,000 to 1,000,000 passages.

    python bench/index.py [--vectors] [SIZE …]

Passages are made, not read: 60 words each on average, drawn as often as words are in English text (Zipf), and so are the
queries, of 2 to 9 words. Each size is measured in a process of its own. `--vectors` adds random vectors of 384 dimensions,
the worst case for a graph; the embedder's own time is not in these figures.
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
BATCH, WORDS, QUERIES, LIMIT = 20_000, 300_000, 200, 100
CUMULATIVE = np.cumsum(1 / (np.arange(1, WORDS + 1) + 2.7))
CUMULATIVE /= CUMULATIVE[-1]


def passages(count: int, seed: int):
    rng = np.random.default_rng(seed)
    made = 0
    while made < count:
        lengths = rng.poisson(60, min(BATCH, count - made)) + 1
        words = drawn(rng, int(lengths.sum())).astype(str)
        ends = np.cumsum(lengths)
        yield [f"word{' word'.join(words[end - size : end])}" for end, size in zip(ends, lengths, strict=True)]
        made += len(lengths)


def drawn(rng, count: int):
    """Return the ranks of words as they are drawn from English text: proportional to 1 / (rank + 2.7), after Mandelbrot."""
    return np.searchsorted(CUMULATIVE, rng.random(count)) + 1


def queries(seed: int) -> list[str]:
    """Words of a query are rarer than those of a text: the hundred commonest are left out, as stop-words are."""
    rng = np.random.default_rng(seed)
    made = []
    while len(made) < QUERIES:
        words = [word for word in drawn(rng, 60) if word > 100][: rng.integers(2, 10)]
        made.append(" ".join(f"word{word}" for word in words))
    return [query for query in made if query]


class RandomVectors:
    model = "random"

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)

    def embed_documents(self, texts):
        # One sentence has one vector, so that the index knows its embedder again.
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


def timed(index, mode: str) -> tuple[float, float]:
    """Return the median and the 95th percentile of a query's milliseconds, after ten that don't count."""
    taken = []
    for query in queries(7):
        began = time.perf_counter()
        index.search(query, LIMIT, mode=mode)
        taken.append(1000 * (time.perf_counter() - began))
    return float(np.median(taken[10:])), float(np.percentile(taken[10:], 95))


def measure(count: int, vectors: bool) -> dict:
    folder = Path(tempfile.mkdtemp(prefix="podium-bench-"))
    try:
        embed = RandomVectors() if vectors else None
        index = EmbeddedIndex.create(folder, embed=embed)
        seconds = 0.0
        for batch in passages(count, seed=1):
            began = time.perf_counter()
            index.add(batch)
            seconds += time.perf_counter() - began
        built = peak_megabytes()
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
        began = time.perf_counter()
        index = EmbeddedIndex.open(folder, embed=embed)
        opened = time.perf_counter() - began
        times = {mode: timed(index, mode) for mode in (("text", "vector", "hybrid") if vectors else ("text",))}
        return {"count": count, "seconds": seconds, "peak": built, "size": size, "opened": opened, "times": times}
    finally:
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES)
    parser.add_argument("--vectors", action="store_true")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.alone:
        print(json.dumps(measure(asked.sizes[0], asked.vectors)))
        return
    for count in asked.sizes:
        command = [sys.executable, __file__, str(count), "--alone", *(["--vectors"] if asked.vectors else [])]
        found = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
        times = "   ".join(f"{mode} {p50:.1f} ms (p95 {p95:.1f})" for mode, (p50, p95) in found["times"].items())
        built = f"built in {found['seconds']:.1f} s ({count / found['seconds']:,.0f}/s), peak {found['peak']:,} MB"
        kept = f"{found['size']:,.0f} MB on disk, opened in {1000 * found['opened']:.0f} ms"
        print(f"{count:9,} passages   {built}, {kept}   {times}", flush=True)


if __name__ == "__main__":
    main()
