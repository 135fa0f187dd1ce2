"""Measure the first stage: nDCG@10 of the embedded index by text, vector and hybrid search, on test collections.

    python bench/candidates.py FOLDER… [--embed MODEL]
    python bench/candidates.py FOLDER… --redis redis://localhost:6379

FOLDER has corpus.jsonl.gz {_id, title, text}, queries.jsonl {_id, text} and qrels.tsv. Needs `pip install ir_measures`.
With --redis, text search of an index on that server is measured instead, for several forms of a query over two fields.
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

DEPTH = 100  # how many documents a search returns
INDEX_NAME = "podium-bench"  # the index on Redis, which is dropped afterwards


def read_collection(folder: Path):
    """Return documents by id, queries by id, and judgments. Queries without a relevant document are left out."""
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        documents = {document["_id"]: document for document in map(json.loads, lines)}
    judgments: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query_id, document_id, grade = line.split("\t")
        judgments.setdefault(query_id, {})[document_id] = int(float(grade))
    qrels = {query_id: grades for query_id, grades in judgments.items() if max(grades.values()) > 0}
    queries = [json.loads(line) for line in (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()]
    return documents, {query["_id"]: query["text"] for query in queries if query["_id"] in qrels}, qrels


def ndcg(qrels, run) -> float:
    return ir_measures.calc_aggregate([nDCG @ 10], qrels, run)[nDCG @ 10]


def measure(index, queries, qrels, mode, fusion, text_weight):
    """Return nDCG@10 and the mean milliseconds of a query."""
    index.fusion = fusion
    index.text_weight = text_weight
    began = time.perf_counter()
    run = {
        query_id: {document["source_key"]: document["source_score"] for document in index.search(query, DEPTH, mode=mode)}
        for query_id, query in queries.items()
    }
    seconds = (time.perf_counter() - began) / len(queries)
    return ndcg(qrels, run), 1000 * seconds


def measure_redis(url, documents, queries, qrels):
    """Yield the name and the nDCG@10 of each form of a query.

    The forms search the union of the fields, as podium does, or each field in a clause of its own, or the field `text` only.
    """
    from podium.sources.redis import admin, commands, replies
    from podium.sources.redis.index import RedisIndex
    from podium.sources.redis.server import Server
    from podium.sources.redis.words import words

    index = RedisIndex(url, INDEX_NAME, text=["title", "text"])
    index.prepare(len(documents))
    load_into(index, documents.items(), lambda done: None)
    index.finish()
    index.close()
    server = Server.from_url(url, INDEX_NAME, timeout=60.0)
    # Weights that are nearly equal keep the fields in separate clauses.
    forms = {"union": {"title": 1.0, "text": 1.0}, "each field": {"title": 1.0, "text": 1.000001}, "text alone": {"text": 1.0}}
    for form, weights in forms.items():
        run = {}
        options = commands.CommandOptions(
            index=INDEX_NAME, weights=weights, count=DEPTH, return_fields=("_id",), timeout_ms=60_000
        )
        for query_id, query in queries.items():
            command = commands.text_command(options, words(query))
            hits = replies.search_documents(server.execute(*command), scored=True) if words(query) else []
            run[query_id] = {hit.key.rpartition(":")[2]: hit.score for hit in hits}
        yield form, ndcg(qrels, run)
    server.close()
    admin.drop(url, INDEX_NAME)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--embed", metavar="MODEL")
    parser.add_argument("--redis", metavar="URL")
    arguments = parser.parse_args()
    embed = Embedder(arguments.embed) if arguments.embed else None
    variants = [("text", "rrf", TEXT_WEIGHT)]  # (mode, fusion, weight of text)
    if embed:
        variants += [("vector", "rrf", TEXT_WEIGHT), ("hybrid", "rrf", TEXT_WEIGHT)]
        variants += [("hybrid", "weighted", weight) for weight in (0.3, 0.4, 0.5, 0.6)]
    for folder in arguments.folders:
        documents, queries, qrels = read_collection(folder)
        if arguments.redis:
            for form, score in measure_redis(arguments.redis, documents, queries, qrels):
                print(f"{folder.name:24} Redis, {form:14} nDCG@10 {score:.4f}", flush=True)
            continue
        index = EmbeddedIndex.create(None, text=["title", "text"], embed=embed)
        index.add(documents.values(), ids=documents)
        for mode, fusion, text_weight in variants:
            score, milliseconds = measure(index, queries, qrels, mode, fusion, text_weight)
            name = f"{mode} ({fusion}, {text_weight})" if mode == "hybrid" else mode
            print(f"{folder.name:24} {name:20} nDCG@10 {score:.4f}   {milliseconds:6.1f} ms a query", flush=True)


if __name__ == "__main__":
    main()
