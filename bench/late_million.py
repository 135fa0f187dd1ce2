"""Measure a folder of stored encodings with a million documents: time to write it, size, memory, and time of a ranking.

    .venv/dev/bin/python bench/late_million.py [--documents 1000000] [--folder FOLDER]

This measures the store and not the model, whose speed bench/late.py measures. So only 1,000 passages of about 83 tokens are
encoded, and their encodings are stored repeatedly, under the keys of different documents. Needs 10.5 KB of disk per document.
"""

from __future__ import annotations

import argparse
import itertools
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
from podium.encodings.folder import FolderEncodings
from podium.encodings.memory import MemoryEncodings
from podium.load import local_scorer
from podium.local.late.scorer import LateInteraction

PASSAGE_COUNT = 1_000
BATCH_DOCUMENTS = 1_000  # how many encodings are written at once
THREADS = 2
RANKINGS = 200
MEMORY_BYTES = 1_000_000_000  # enough for the encodings of all passages
CANDIDATE_COUNTS = (100, 1_000)  # how many documents a ranking has


def document_text(number: int) -> str:
    return f"document {number}"


def encodings_by_key(scorer: LateInteraction, document_count: int) -> Iterator[dict[bytes, bytes]]:
    """Yield the encodings of passages under the keys of `document_count` documents, in batches."""
    memory_scorer = scorer.with_store(MemoryEncodings(MEMORY_BYTES))
    # The number makes the passages different from each other.
    passages = [f"{text} {number}" for number, text in enumerate(work.passages("short", PASSAGE_COUNT))]
    memory_scorer.encode(passages)  # puts the encodings into its store
    passage_keys = [memory_scorer.encoding_key(text) for text in passages]
    encodings = [bytes(encoding) for encoding in memory_scorer.store.get(passage_keys).values()]
    for start in range(0, document_count, BATCH_DOCUMENTS):
        numbers = range(start, min(start + BATCH_DOCUMENTS, document_count))
        yield {scorer.encoding_key(document_text(number)): encodings[number % PASSAGE_COUNT] for number in numbers}


def memory_megabytes() -> dict[str, int]:
    """Return the memory of this process in MB: its own (RssAnon), and that of the files that it has mapped (RssFile)."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    return {name: int(lines[name].split()[0]) // 1024 for name in ("RssAnon", "RssFile")}


def ranking_milliseconds(scorer: LateInteraction, document_count: int, candidate_count: int) -> list[float]:
    """Return the sorted milliseconds of rankings of random documents.

    The documents differ from query to query, but a second call of this function with the same counts ranks the same ones.
    """
    reranker = podium.Reranker(scorer)
    generator = random.Random(1)
    times = []
    for query in itertools.islice(work.queries(), RANKINGS):
        texts = [document_text(number) for number in generator.sample(range(document_count), candidate_count)]
        began = time.perf_counter()
        ranking = reranker.rerank(query, texts, limit=10)
        times.append(1000 * (time.perf_counter() - began))
        assert ranking.usage.encoded == 0, "an encoding was not in the store"
    return sorted(times)


def measure(folder: Path, document_count: int) -> None:
    """Write encodings into the folder, rank documents by them, and print the figures."""
    scorer = local_scorer("podium-mini", threads=THREADS, keep=0)
    assert isinstance(scorer, LateInteraction)
    store = FolderEncodings(folder)
    write_seconds = 0.0
    for batch in encodings_by_key(scorer, document_count):
        began = time.perf_counter()
        store.put(batch)
        write_seconds += time.perf_counter() - began
    store.close()
    size = sum(path.stat().st_size for path in folder.iterdir())
    figures = f"written in {write_seconds:.0f} s, {size / 1e9:.2f} GB, {size / document_count / 1000:.1f} KB per document"
    print(f"{document_count:,} documents: {figures}")
    memory_before = memory_megabytes()
    folder_scorer = scorer.with_store(FolderEncodings(folder))
    began = time.perf_counter()
    podium.Reranker(folder_scorer).rerank(work.QUERY, [document_text(0)])
    open_seconds = time.perf_counter() - began
    growth = memory_megabytes()["RssAnon"] - memory_before["RssAnon"]
    print(f"opened, and one document ranked, in {open_seconds:.2f} s; this took {growth} MB of memory besides mapped files")
    for candidate_count in CANDIDATE_COUNTS:
        for name in ("first", "again"):  # The second time, the system has the pages of these documents in memory.
            times = ranking_milliseconds(folder_scorer, document_count, candidate_count)
            median = statistics.median(times)
            percentile_95 = times[int(0.95 * len(times))]
            print(f"{candidate_count:5} documents, {name}: median {median:.2f} ms, p95 {percentile_95:.2f} ms")
    memory = memory_megabytes()
    print(f"memory {memory['RssAnon']} MB, and {memory['RssFile']} MB of mapped files, which the system can take back")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="folder in which the temporary folder is created (default: the system's)")
    arguments = parser.parse_args()
    if arguments.folder:
        arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        measure(Path(folder) / "encodings", arguments.documents)


if __name__ == "__main__":
    main()
