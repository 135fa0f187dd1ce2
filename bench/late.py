"""Late interaction with stored encodings, measured: time per ranking, bytes per document, and encoding from scratch.

    .venv/dev/bin/python bench/late.py [--rounds 200] [--model podium-mini] [--redis redis://localhost]

Times are those of `Reranker.rerank`: encoding the query, reading the encodings, comparing, sorting. Queries differ, so nothing
but the documents' encodings is reused. Two threads, whatever the machine has.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import work

import podium
from podium.encodings import EncodingStore
from podium.encodings.folder import FolderEncodings
from podium.encodings.memory import MemoryEncodings
from podium.encodings.redis import RedisEncodings
from podium.local.late.scorer import LateInteraction
from podium.redis_values import RedisValues

MEMORY = 1_000_000_000
TARGETS = {100: 3.0, 1000: 15.0}  # documents → milliseconds
REDIS_TARGETS = {100: 8.0}
THREADS = 2


def milliseconds(rerank: Callable[[str], object], rounds: int) -> tuple[float, float]:
    """Return the median and the 95th percentile."""
    times = []
    for query, _ in zip(work.queries(), range(rounds + 5), strict=False):
        began = time.perf_counter()
        rerank(query)
        times.append(1000 * (time.perf_counter() - began))
    times = sorted(times[5:])
    return statistics.median(times), times[int(0.95 * len(times))]


def measured(scorer: LateInteraction, store: EncodingStore, count: int, rounds: int) -> dict[str, float]:
    """Measure rankings of `count` documents whose encodings are in a store."""
    texts = [f"{text} {index}" for index, text in enumerate(work.passages("short", count))]
    stored = scorer.with_store(store)
    scorer.store = MemoryEncodings(0)
    began = time.perf_counter()
    stored.encode(texts)
    seconds = time.perf_counter() - began
    keys = [stored.encoding_key(text) for text in texts]
    encoding_bytes = sum(map(len, store.get(keys).values())) / count
    reranker = podium.Reranker(stored)
    median, percentile_95 = milliseconds(lambda query: reranker.rerank(query, texts, limit=10), rounds)
    assert reranker.rerank(work.QUERY, texts).usage.encoded == 0
    if isinstance(store, RedisEncodings):
        store.delete(keys)
    return {"median_ms": median, "p95_ms": percentile_95, "encode_ms": 1000 * seconds, "bytes": encoding_bytes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="podium-mini")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--precision", choices=["float32", "int8"])
    parser.add_argument("--pooling", type=int, default=1)
    parser.add_argument("--redis", metavar="URL", help="a Redis to measure, too; its encodings are deleted afterwards")
    parser.add_argument("--out", type=Path, help="a JSON file for the numbers")
    arguments = parser.parse_args()
    options = {"precision": arguments.precision, "pooling": arguments.pooling, "threads": THREADS}
    rows = {}
    with podium.load(arguments.model, **options) as reranker, tempfile.TemporaryDirectory() as folder:
        scorer = reranker.scorer
        network = f"{scorer.precision} on {scorer.runtime}"
        print(f"{arguments.model}, {network}, {scorer.encoding_precision} encodings, {THREADS} threads")
        stores: dict[str, tuple[EncodingStore, dict[int, float]]] = {
            "memory": (MemoryEncodings(MEMORY), TARGETS),
            "folder": (FolderEncodings(Path(folder) / "encodings"), TARGETS),
        }
        if arguments.redis:
            values = RedisValues(arguments.redis, "the benchmark's store")
            stores["redis"] = (RedisEncodings(values, "podium:bench:late:"), REDIS_TARGETS)
        for name, (store, targets) in stores.items():
            for count, target in targets.items():
                row = measured(scorer, store, count, arguments.rounds)
                rows[f"{name} {count}"] = row
                ratio = row["encode_ms"] / row["median_ms"]
                print(
                    f"{name}, {count:4} documents: median {row['median_ms']:.2f} ms (target {target:g}), p95 "
                    f"{row['p95_ms']:.2f} ms, {row['bytes']:,.0f} bytes per document; {ratio:.0f} times faster than encoding"
                )
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
