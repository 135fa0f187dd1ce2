"""Measure late interaction with stored encodings: the time of a ranking, the bytes of an encoding, and the time of encoding.

    .venv/dev/bin/python bench/late.py [--rounds 200] [--model podium-mini] [--redis redis://localhost]

The time of a ranking is that of `Reranker.rerank`: encoding the query, reading the encodings, comparing and sorting. Every call
has another query, so only the documents' encodings are reused. The model runs on two threads on every machine.
"""

from __future__ import annotations

import argparse
import itertools
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

MEMORY_BYTES = 1_000_000_000  # enough for the encodings of all documents
# How many documents are ranked → how many milliseconds it should take at most.
TARGETS = {100: 3.0, 1000: 15.0}
REDIS_TARGETS = {100: 8.0}
WARM_UP_CALLS = 5
THREADS = 2


def milliseconds(rerank: Callable[[str], object], rounds: int) -> tuple[float, float]:
    """Return the median and the 95th percentile of the milliseconds of `rounds` calls, with another query in every call."""
    times = []
    for query in itertools.islice(work.queries(), rounds + WARM_UP_CALLS):
        began = time.perf_counter()
        rerank(query)
        times.append(1000 * (time.perf_counter() - began))
    times = sorted(times[WARM_UP_CALLS:])
    return statistics.median(times), times[int(0.95 * len(times))]


def measure(scorer: LateInteraction, store: EncodingStore, count: int, rounds: int) -> dict[str, float]:
    """Return the figures of rankings of `count` documents whose encodings are in a store."""
    texts = [f"{text} {index}" for index, text in enumerate(work.passages("short", count))]
    scorer = scorer.with_store(store)
    began = time.perf_counter()
    scorer.encode(texts)
    encode_seconds = time.perf_counter() - began
    keys = [scorer.encoding_key(text) for text in texts]
    encoding_bytes = sum(map(len, store.get(keys).values())) / count
    reranker = podium.Reranker(scorer)
    median, percentile_95 = milliseconds(lambda query: reranker.rerank(query, texts, limit=10), rounds)
    assert reranker.rerank(work.QUERY, texts).usage.encoded == 0, "an encoding was not in the store"
    if isinstance(store, RedisEncodings):
        store.delete(keys)
    return {"median_ms": median, "p95_ms": percentile_95, "encode_ms": 1000 * encode_seconds, "bytes": encoding_bytes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="podium-mini")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--precision", choices=["float32", "int8"])
    parser.add_argument("--pooling", type=int, default=1)
    parser.add_argument("--redis", metavar="URL", help="also measure this Redis; the encodings are deleted afterwards")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    arguments = parser.parse_args()
    options = {"precision": arguments.precision, "pooling": arguments.pooling, "threads": THREADS}
    rows = {}
    with podium.load(arguments.model, **options) as reranker, tempfile.TemporaryDirectory() as folder:
        scorer = reranker.scorer
        network = f"{scorer.precision} on {scorer.runtime}"
        print(f"{arguments.model}, {network}, {scorer.encoding_precision} encodings, {THREADS} threads")
        stores: dict[str, tuple[EncodingStore, dict[int, float]]] = {
            "memory": (MemoryEncodings(MEMORY_BYTES), TARGETS),
            "folder": (FolderEncodings(Path(folder) / "encodings"), TARGETS),
        }
        if arguments.redis:
            redis_values = RedisValues(arguments.redis, purpose="the benchmark's store")
            stores["redis"] = (RedisEncodings(redis_values, prefix="podium:bench:late:"), REDIS_TARGETS)
        for name, (store, targets) in stores.items():
            for count, target in targets.items():
                row = measure(scorer, store, count, arguments.rounds)
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
