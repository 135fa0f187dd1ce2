"""Measure the first stage: nDCG@10 of the embedded index by text, vector and hybrid search, on test collections.

    python bench/candidates.py FOLDER… [--embed MODEL]
    python bench/candidates.py FOLDER… --redis redis://localhost:6379

FOLDER has corpus.jsonl.gz {_id, title, text}, queries.jsonl {_id, text} and qrels.tsv. Needs `pip install ir_measures`.
With --redis, an index on that server is measured by text instead, with each form that a query over two fields can have.
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


def read_collection(folder: Path):
    """Return documents by id, queries by id, and judgments. Queries without a relevant document are left out."""
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        documents = {document["_id"]: document for document in map(json.loads, lines)}
    judgments: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, grade = line.split("\t")
        judgments.setdefault(query, {})[document] = int(float(grade))
    qrels = {query: grades for query, grades in judgments.items() if max(grades.values()) > 0}
    queries = [json.loads(line) for line in (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()]
    return documents, {query["_id"]: query["text"] for query in queries if query["_id"] in qrels}, qrels


def ndcg(qrels, run) -> float:
    return ir_measures.calc_aggregate([nDCG @ 10], qrels, run)[nDCG @ 10]


def measure(index, queries, qrels, mode, fusion, weight):
    """Return nDCG@10 and the mean milliseconds of a query."""
    index.fusion = fusion
    index.text_weight = weight
    began = time.perf_counter()
    run = {
        query: {document["source_key"]: document["source_score"] for document in index.search(text, DEPTH, mode=mode)}
        for query, text in queries.items()
    }
    seconds = (time.perf_counter() - began) / len(queries)
    return ndcg(qrels, run), 1000 * seconds


def measure_redis(url, documents, queries, qrels):
    """Yield nDCG@10 of a query over the union of the fields, as podium sends it, and of one that names each field."""
    from podium.sources.redis import admin, commands, replies
    from podium.sources.redis.index import RedisIndex
    from podium.sources.redis.server import Server
    from podium.sources.redis.words import words

    index = RedisIndex(url, NAME, text=["title", "text"])
    index.prepare(len(documents))
    load_into(index, documents.items(), lambda done: None)
    index.finish()
    index.close()
    server = Server.from_url(url, NAME, 60.0)
    # Weights that are nearly equal keep the fields in separate clauses.
    forms = {"union": {"title": 1.0, "text": 1.0}, "each field": {"title": 1.0, "text": 1.000001}, "text alone": {"text": 1.0}}
    for form, weights in forms.items():
        run = {}
        for query, text in queries.items():
            page = commands.CommandOptions(NAME, weights, DEPTH, None, ("_id",), None, 60_000)
            command = commands.text_command(page, words(text))
            rows = replies.search_documents(server.execute(*command), scored=True) if words(text) else []
            run[query] = {row.key.rpartition(":")[2]: row.score for row in rows}
        yield form, ndcg(qrels, run)
    server.close()
    admin.drop(url, NAME)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--embed", metavar="MODEL")
    parser.add_argument("--redis", metavar="URL")
    arguments = parser.parse_args()
    embed = Embedder(arguments.embed) if arguments.embed else None
    settings = [("text", "rrf", TEXT_WEIGHT)]
    if embed:
        settings += [("vector", "rrf", TEXT_WEIGHT), ("hybrid", "rrf", TEXT_WEIGHT)]
        settings += [("hybrid", "weighted", weight) for weight in (0.3, 0.4, 0.5, 0.6)]
    for folder in arguments.folders:
        documents, queries, qrels = read_collection(folder)
        if arguments.redis:
            for form, score in measure_redis(arguments.redis, documents, queries, qrels):
                print(f"{folder.name:24} Redis, {form:14} nDCG@10 {score:.4f}", flush=True)
            continue
        index = EmbeddedIndex.create(None, text=["title", "text"], embed=embed)
        index.add(documents.values(), ids=documents)
        for mode, fusion, weight in settings:
            score, milliseconds = measure(index, queries, qrels, mode, fusion, weight)
            name = f"{mode} ({fusion}, {weight})" if mode == "hybrid" else mode
            print(f"{folder.name:24} {name:20} nDCG@10 {score:.4f}   {milliseconds:6.1f} ms a query", flush=True)


if __name__ == "__main__":
    main()
