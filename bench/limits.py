"""Measure how late the event loop is while pairs are scored, and how memory grows with the number of documents.

.venv/dev/bin/python bench/limits.py
"""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import work

import podium

STORED = {None: "encodings stored in memory (the default)", 0: "no stored encodings (keep=0)"}
"""Argument `keep` → a description of it."""
MEMORY_SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
import podium, work
reranker = podium.load("podium-mini", precision={precision!r}, keep={keep!r})
texts = work.passages("short", {count})
reranker.rerank(work.QUERY, [f"{{text}} {{index}}" for index, text in enumerate(texts)])
print(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0])
"""


async def longest_delay(pair_count: int) -> float:
    """Return by how many seconds a timer on the event loop was late at most, while a call scored `pair_count` pairs."""
    texts = [f"{text} {index}" for index, text in enumerate(work.passages("short", pair_count))]
    delay = 0.0
    with podium.load("podium-mini") as reranker:
        task = asyncio.create_task(reranker.arerank(work.QUERY, texts))
        while not task.done():
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            delay = max(delay, time.perf_counter() - began - 0.001)
        assert len(await task) == pair_count
    return delay


def peak_memory(count: int, precision: str, keep: int | None) -> int:
    """Return the peak memory, in megabytes, of a process that reranks `count` documents.

    `keep` is 0 if no encodings are stored, None for podium's default.
    """
    script = MEMORY_SCRIPT.format(folder=str(Path(__file__).parent), count=count, precision=precision, keep=keep)
    # The script reads VmHWM and not ru_maxrss, which would include the parent's memory at the time of the fork.
    return int(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True).stdout) // 1024


def main() -> None:
    delays = sorted(asyncio.run(longest_delay(512)) * 1000 for _ in range(5))
    print(f"event loop while 512 pairs are scored: late by {delays[2]:.1f} ms (median of 5 runs; worst {delays[-1]:.1f} ms)")
    for precision, (keep, stored) in itertools.product(("float32", "int8"), STORED.items()):
        few = peak_memory(100, precision, keep)
        many = peak_memory(10_000, precision, keep)
        print(f"{precision}, {stored}: peak memory {few} MB for 100 documents, {many} MB for 10,000: {many / few:.2f}×")


if __name__ == "__main__":
    main()
