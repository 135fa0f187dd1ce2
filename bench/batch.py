"""Measure batch jobs: their overhead, their memory, and whether their results are those of a plain loop.

python bench/batch.py make 1000000 large.parquet    # pairs of queries and passages of a collection in ../shared/data
python bench/batch.py overhead large.parquet        # the time of a job and of one call of rerank_many, on 20,000 pairs
python bench/batch.py memory podium-mini small.parquet large.parquet    # the peak memory of jobs, each in a process
.venv/ray/bin/python bench/batch.py cluster large.parquet OUT    # a job on three nodes, one is killed (after make test-ray)
python bench/batch.py equal large.parquet OUT       # compare the first 20,000 rows of a job's output with a plain loop
"""

from __future__ import annotations

import gzip
import itertools
import json
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import podium

COLLECTION = Path(__file__).parents[2] / "shared" / "data" / "nq-open-gold"
DOCUMENTS_PER_QUERY = 100
SAMPLE_PAIRS = 20_000
ROUNDS = 3


def make(count: str, path: str, collection: str = str(COLLECTION)) -> None:
    """Write pairs, 100 per query, with random documents. A number before a text makes every text different."""
    with gzip.open(Path(collection) / "corpus.jsonl.gz", "rt") as lines:
        documents = [json.loads(line)["text"] for line in lines]
    queries = [json.loads(line)["text"] for line in (Path(collection) / "queries.jsonl").read_text().splitlines()]
    generator = random.Random(1)
    schema = pa.schema([(name, pa.string()) for name in ("query_id", "query", "id", "text")])
    with pq.ParquetWriter(path, schema) as writer:
        for begin in range(0, int(count), 10_000):
            rows = []
            for number in range(begin, min(int(count), begin + 10_000)):
                query = number // DOCUMENTS_PER_QUERY
                document = generator.randrange(len(documents))
                texts = (queries[query % len(queries)], f"d{document}", f"{number} {documents[document]}")
                rows.append(dict(zip(schema.names, (f"q{query}", *texts), strict=True)))
            writer.write_table(pa.Table.from_pylist(rows, schema))


def overhead(path: str, pairs: str = str(SAMPLE_PAIRS)) -> None:
    """Print the seconds of a job and of rerank_many, in turns, without stored encodings.

    The processor's time is comparable also if other programs run.
    """
    with tempfile.TemporaryDirectory() as folder, podium.load("podium-mini", keep=0) as reranker:
        table = next(pq.ParquetFile(path).iter_batches(int(pairs)))
        sample = Path(folder) / "sample.parquet"
        pq.write_table(pa.Table.from_batches([table]), sample)
        groups = [list(rows) for _, rows in itertools.groupby(table.to_pylist(), lambda row: row["query_id"])]
        queries = [rows[0]["query"] for rows in groups]
        texts = [[row["text"] for row in rows] for rows in groups]
        for number in range(ROUNDS):
            began = (time.perf_counter(), time.process_time())
            reranker.rerank_many(queries, texts)
            between = (time.perf_counter(), time.process_time())
            podium.batch(sample, Path(folder) / str(number), reranker=reranker)
            ended = (time.perf_counter(), time.process_time())
            for name, start, middle, end in zip(("elapsed", "processor"), began, between, ended, strict=True):
                in_memory, in_files = middle - start, end - middle
                change = in_files / in_memory - 1
                print(f"{name}: {in_memory:.2f} s in memory, {in_files:.2f} s as a job, {change:+.1%}", flush=True)


def job(path: str, out: str, model: str = "podium-mini") -> None:
    """Run a job in this process, and print its time and its peak memory."""
    result = podium.batch(path, out, reranker=model)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    speed = result.computed_pairs / result.seconds
    print(f"{path}: {result.pairs:,} pairs, {result.seconds:.1f} s, {speed:,.0f} pairs/s, peak {peak:.0f} MB", flush=True)


def memory(model: str, *paths: str) -> None:
    for path in paths:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([sys.executable, __file__, "job", path, folder, model], check=True)


def cluster(path: str, out: str, model: str = "podium-mini") -> None:
    """Run a job on a Ray cluster of three nodes on this machine, and kill one of them when three parts are complete."""
    import ray
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "node_ip_address": "127.0.0.2", "object_store_memory": 100_000_000}
    nodes = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    workers = [nodes.add_node(**node) for _ in range(2)]

    def kill_a_node() -> None:
        while len(list((Path(out) / "parts").glob("part-*"))) < 3:
            time.sleep(1)
        nodes.remove_node(workers[0], allow_graceful=False)
        print("a node was killed", flush=True)

    threading.Thread(target=kill_a_node, daemon=True).start()
    result = podium.batch(path, out, reranker=model, engine="ray", ray_address=nodes.address)
    print(f"{result.pairs:,} pairs in {result.parts} parts on three nodes, {result.seconds:.1f} s", flush=True)
    ray.shutdown()
    nodes.shutdown()


def equal(path: str, out: str, model: str = "podium-mini") -> None:
    """Compare every result of the first 20,000 pairs with those of a loop over `rerank`."""
    rows = next(pq.ParquetFile(path).iter_batches(SAMPLE_PAIRS)).to_pylist()
    expected = []
    with podium.load(model) as reranker:
        for query_id, group in itertools.groupby(rows, lambda row: row["query_id"]):
            pairs = list(group)
            for result in reranker.rerank(pairs[0]["query"], [pair["text"] for pair in pairs]):
                counts = (result.tokens, result.dropped_tokens)
                expected.append((query_id, pairs[result.index]["id"], result.index, result.rank, result.score, *counts))
    columns = ["query_id", "id", "index", "rank", "score", "tokens", "dropped_tokens"]
    results = []
    for part in sorted((Path(out) / "parts").iterdir()):
        results += [tuple(row.values()) for row in pq.read_table(part, columns=columns).to_pylist()]
        if len(results) >= len(expected):
            break
    same = sum(result == other for result, other in zip(results, expected, strict=False))
    print(f"{same:,} of {len(expected):,} rows are equal to those of a plain loop")


if __name__ == "__main__":
    {function.__name__: function for function in (make, overhead, job, memory, cluster, equal)}[sys.argv[1]](*sys.argv[2:])
