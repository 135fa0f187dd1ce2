"""How good the first stage is: nDCG@10 of the embedded index by text, vector and hybrid search, on test collections.

    python bench/candidates.py FOLDER… [--embed MODEL]
    python bench/candidates.py FOLDER… --redis redis://localhost:6379

FOLDER holds corpus.jsonl.gz {_id, title, text}, queries.jsonl {_id, text} and qrels.tsv. Needs `pip install ir_measures`.
With --redis, an index of that server is measured by text instead, in both forms that a query over two fields can have.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from pathlib import Path

import ir_measures
from ir_measures import nDCG

from podium import EmbeddedIndex, Embedder
from podium.sources.fusion import TEXT_WEIGHT
from podium.sources.loading import load_into

DEPTH = 100
NAME = "podium-bench"


def read(folder: Path):
    """Return documents by id, queries by id, and judgments; queries without a relevant document don't count."""
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        documents = {each["_id"]: each for each in map(json.loads, lines)}
    judged: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, grade = line.split("\t")
        judged.setdefault(query, {})[document] = int(float(grade))
    qrels = {query: grades for query, grades in judged.items() if max(grades.values()) > 0}
    queries = [json.loads(line) for line in (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()]
    return documents, {each["_id"]: each["text"] for each in queries if each["_id"] in qrels}, qrels


def measured(index, queries, qrels, mode, fusion, weight):
    index.fusion, index.text_weight = fusion, weight
    began = time.perf_counter()
    run = {
        query: {found["source_key"]: found["source_score"] for found in index.search(text, DEPTH, mode=mode)}
        for query, text in queries.items()
    }
    took = (time.perf_counter() - began) / len(queries)
    return ir_measures.calc_aggregate([nDCG @ 10], qrels, run)[nDCG @ 10], 1000 * took


def measured_on_redis(url, documents, queries, qrels):
    """Print nDCG@10 of a query over the union of the fields, as podium's are, and of one that names each field on its own."""
    from podium.sources.redis import admin as redis_admin
    from podium.sources.redis import commands as redis_queries
    from podium.sources.redis import replies as redis_wire
    from podium.sources.redis.index import RedisIndex
    from podium.sources.redis.server import Server
    from podium.sources.redis.words import words

    index, name = RedisIndex(url, NAME, text=["title", "text"]), NAME
    index.prepare(len(documents))
    load_into(index, documents.items(), lambda done: None)
    index.finish()
    index.close()
    server = Server.from_url(url, name, 60.0, {})
    # Weights that are nearly the same keep the fields in clauses of their own.
    forms = {"union": {"title": 1.0, "text": 1.0}, "each field": {"title": 1.0, "text": 1.000001}, "text alone": {"text": 1.0}}
    for form, weights in forms.items():
        run = {}
        for query, text in queries.items():
            request = redis_queries.Page(name, weights, DEPTH, None, ("_id",), None, 60_000)
            command = redis_queries.text_command(request, words(text))
            rows = redis_wire.search_documents(server.execute(*command), scored=True) if words(text) else []
            run[query] = {row.key.rpartition(":")[2]: row.score for row in rows}
        yield form, ir_measures.calc_aggregate([nDCG @ 10], qrels, run)[nDCG @ 10]
    server.close()
    redis_admin.drop(url, name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--embed", metavar="MODEL")
    parser.add_argument("--redis", metavar="URL")
    asked = parser.parse_args()
    embed = Embedder(asked.embed) if asked.embed else None
    ways = [("text", "rrf", TEXT_WEIGHT)]
    if embed:
        ways += [
            ("vector", "rrf", TEXT_WEIGHT),
            ("hybrid", "rrf", TEXT_WEIGHT),
            *(("hybrid", "weighted", weight) for weight in (0.3, 0.4, 0.5, 0.6)),
        ]
    for folder in asked.folders:
        documents, queries, qrels = read(folder)
        if asked.redis:
            for form, score in measured_on_redis(asked.redis, documents, queries, qrels):
                print(f"{folder.name:24} Redis, {form:14} nDCG@10 {score:.4f}", flush=True)
            continue
        index = EmbeddedIndex.create(None, text=["title", "text"], embed=embed)
        index.add(documents.values(), ids=documents)
        for mode, fusion, weight in ways:
            score, milliseconds = measured(index, queries, qrels, mode, fusion, weight)
            how = f"{mode} ({fusion}, {weight})" if mode == "hybrid" else mode
            print(f"{folder.name:24} {how:20} nDCG@10 {score:.4f}   {milliseconds:6.1f} ms a query", flush=True)


if __name__ == "__main__":
    main()
