"""Two promises, measured: how long the event loop waits while pairs are scored, and memory by the number of documents.

.venv/dev/bin/python bench/limits.py
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import work

import podium

MEMORY = """
import sys
sys.path.insert(0, {folder!r})
import podium, work
reranker = podium.load("podium-mini", precision={precision!r})
texts = work.passages("short", {count})
reranker.rerank(work.QUERY, [f"{{text}} {{index}}" for index, text in enumerate(texts)])
print(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0])
"""


async def longest_wait(pairs: int) -> float:
    """Return the longest time, in seconds, that the event loop was late while a call scored `pairs` pairs."""
    texts = [f"{text} {index}" for index in range(-(-pairs // 100)) for text in work.passages("short")][:pairs]
    late = 0.0
    with podium.load("podium-mini") as reranker:
        task = asyncio.create_task(reranker.arerank(work.QUERY, texts))
        while not task.done():
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            late = max(late, time.perf_counter() - began - 0.001)
        assert len(await task) == pairs
    return late


def peak_memory(count: int, precision: str) -> int:
    """Return the megabytes that a process needs at most to rerank `count` documents."""
    script = MEMORY.format(folder=str(Path(__file__).parent), count=count, precision=precision)
    # VmHWM rather than ru_maxrss, which starts with the memory of the parent at the fork
    return int(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True).stdout) // 1024


def main() -> None:
    waits = sorted(asyncio.run(longest_wait(512)) * 1000 for _ in range(5))
    print(f"event loop while 512 pairs are scored: longest wait {waits[2]:.1f} ms (median of 5; most {waits[-1]:.1f} ms)")
    for precision in ("float32", "int8"):
        few, many = peak_memory(100, precision), peak_memory(10_000, precision)
        print(f"{precision}: peak memory {few} MB for 100 documents, {many} MB for 10,000: {many / few:.2f}×")


if __name__ == "__main__":
    main()
