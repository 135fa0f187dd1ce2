"""Measure a folder of stored encodings with a million documents: time to write it, size, memory, and time of a ranking.

    .venv/dev/bin/python bench/late_million.py [--documents 1000000] [--folder FOLDER]

The encodings are those of 1,000 passages of about 83 tokens, stored again and again under the keys of other documents: what is
measured is the store, not the model, whose speed bench/late.py measures. Needs 10.5 KB of disk for each document.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import work

import podium
from podium.encodings import KeyMaker
from podium.encodings.folder import FolderEncodings
from podium.encodings.memory import MemoryEncodings
from podium.load import local_scorer
from podium.local.late.scorer import LateInteraction

PASSAGES, BATCH, THREADS, RANKINGS = 1_000, 1_000, 2, 200
MEMORY = 1_000_000_000
COUNTS = (100, 1_000)  # documents of a ranking


def document(number: int) -> str:
    return f"document {number}"


def batches(scorer: LateInteraction, count: int) -> Iterator[dict[bytes, bytes]]:
    """Yield encodings of passages under the keys of `count` documents."""
    memory = scorer.with_store(MemoryEncodings(MEMORY))
    passages = [f"{text} {number}" for number, text in enumerate(work.passages("short", PASSAGES))]
    memory.encode(passages)
    encodings = [bytes(encoding) for encoding in memory.store.get([memory.encoding_key(text) for text in passages]).values()]
    keys = KeyMaker(scorer.encoding_identity)
    for start in range(0, count, BATCH):
        numbers = range(start, min(start + BATCH, count))
        yield {keys.key(document(number)): encodings[number % PASSAGES] for number in numbers}


def memory_megabytes() -> dict[str, int]:
    """Return this process's own memory and that of mapped files, in MB."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    return {name: int(lines[name].split()[0]) // 1024 for name in ("RssAnon", "RssFile")}


def rankings(scorer: LateInteraction, total: int, count: int, seed: int) -> list[float]:
    """Return the milliseconds of rankings of `count` random documents."""
    reranker, draw, times = podium.Reranker(scorer), random.Random(seed), []
    for query, _ in zip(work.queries(), range(RANKINGS), strict=False):
        texts = [document(number) for number in draw.sample(range(total), count)]
        began = time.perf_counter()
        ranking = reranker.rerank(query, texts, limit=10)
        times.append(1000 * (time.perf_counter() - began))
        assert ranking.usage.encoded == 0
    return sorted(times)


def measure(folder: Path, count: int) -> None:
    scorer = local_scorer("podium-mini", threads=THREADS, keep=0)
    assert isinstance(scorer, LateInteraction)
    written = FolderEncodings(folder)
    writing = 0.0
    for batch in batches(scorer, count):
        began = time.perf_counter()
        written.put(batch)
        writing += time.perf_counter() - began
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{count:,} documents: written in {writing:.0f} s, {size / 1e9:.2f} GB, {size / count / 1000:.1f} KB per document")
    written.close()
    before = memory_megabytes()
    stored = scorer.with_store(FolderEncodings(folder))
    began = time.perf_counter()
    podium.Reranker(stored).rerank(work.QUERY, [document(0)])
    seconds, grown = time.perf_counter() - began, memory_megabytes()["RssAnon"] - before["RssAnon"]
    print(f"opened in {seconds:.2f} s, which takes {grown} MB of memory besides mapped files")
    for candidates in COUNTS:
        for name, seed in (("first", 1), ("again", 1)):
            times = rankings(stored, count, candidates, seed)
            median, percentile_95 = statistics.median(times), times[int(0.95 * len(times))]
            print(f"{candidates:5} documents, {name}: median {median:.2f} ms, p95 {percentile_95:.2f} ms")
    after = memory_megabytes()
    print(f"memory {after['RssAnon']} MB, and {after['RssFile']} MB of mapped files, which the system can take back")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where to write, a temporary folder by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        measure(Path(folder) / "encodings", arguments.documents)


if __name__ == "__main__":
    main()
