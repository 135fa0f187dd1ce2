"""Measure what compositions cost: cached scores, nesting, and a cascade of two models on a collection.

    .venv/dev/bin/python bench/compose.py overhead
    .venv/dev/bin/python bench/compose.py cascade COLLECTION STRONG [--precision int8] [--pooling 3] [--queries 300]
    .venv/dev/bin/python bench/compose.py keep EMBEDDER COLLECTION … [--queries 150]
    .venv/dev/bin/python bench/compose.py neighbours EMBEDDER COLLECTION … [--queries 150]

COLLECTION is a folder in BEIR's layout. STRONG and EMBEDDER are models, as for podium.load and podium.Embedder.
`keep` compares numbers of documents that the strong scorer of a cascade scores with keep="auto": podium-mini is the strong
scorer, and the cosine of the embedder's vectors, or the score of BM25, the cheap one.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
import numpy as np
import work

import podium
from podium.compose.cached import CachedScorer
from podium.compose.stores.memory import MemoryScores
from podium.compose.stores.redis import RedisScores
from podium.evaluation.collections import Collection, read_collection
from podium.evaluation.evaluate import Run, System, first_stage_run, rerank_run
from podium.evaluation.metrics import metric_values
from podium.scorers import BaseScorer, as_scorer
from podium.texts import documents_of
from podium.types import Scores
from redis_server import running_redis

ROUNDS = 21
CANDIDATES = 100
STORED_BYTES = 2_000_000_000  # enough for the encodings of all candidates
KEEPS = (10, 20, 30, 50, "auto", CANDIDATES)


def milliseconds(
    calls: dict[str, Callable[[], object]], rounds: int = ROUNDS, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Return the times of each call in each round. In a round, every call runs once, in random order."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    generator = random.Random(0)
    for _ in range(rounds):
        for name in generator.sample(list(calls), len(calls)):
            began = clock()
            calls[name]()
            times[name].append(1000 * (clock() - began))
    return times


def print_cached(texts: list[str], folder: Path) -> None:
    """Print the times of 100 cached pairs, from memory and from a Redis on loopback."""
    mini = as_scorer(podium.load("podium-mini"))
    with running_redis(folder) as url:
        scorers = {"memory": CachedScorer(mini, MemoryScores()), "Redis on loopback": CachedScorer(mini, RedisScores(url))}
        calls = {
            f"{name}, {kind}": call
            for name, scorer in scorers.items()
            for kind, call in {
                "scorer": lambda scorer=scorer: scorer.score(work.QUERY, texts),
                "reranker": lambda scorer=scorer: podium.Reranker(scorer).rerank(work.QUERY, texts),
            }.items()
        }
        for name, times in milliseconds(calls, 10 * ROUNDS).items():
            median = statistics.median(times)
            print(f"{len(texts)} cached pairs, {name}: {median:.3f} ms, {1000 * median / len(texts):.1f} µs per pair")


def print_nesting(texts: list[str]) -> None:
    """Print how much more processor time nested compositions take than the scorer alone. Nothing is stored or cached.

    The time of the processors is measured because other programs on the machine hardly change it.
    """
    mini: BaseScorer = as_scorer(podium.load("podium-mini", keep=0))
    scorers = {
        "alone": mini,
        "Fallback": podium.Fallback(mini),
        "Passages": podium.Passages(mini),
        "Fallback(Passages(Fallback))": podium.Fallback(podium.Passages(podium.Fallback(mini))),
        "Cascade(-, Fallback(Passages)), all kept": podium.Cascade(mini, podium.Fallback(podium.Passages(mini)), keep=1000),
        "Fused(Fallback(Passages))": podium.Fused(podium.Fallback(podium.Passages(mini))),
    }
    rerankers = {name: podium.Reranker(scorer) for name, scorer in scorers.items()}
    documents = [{"text": text, "source_score": float(-rank)} for rank, text in enumerate(texts)]
    calls = {name: lambda reranker=reranker: reranker.rerank(work.QUERY, documents) for name, reranker in rerankers.items()}
    times = milliseconds(calls, clock=time.process_time)
    alone = times["alone"]
    print(f"{len(texts)} documents, podium-mini alone: {statistics.median(alone):.1f} ms of processor time, {ROUNDS} rounds")
    for name in list(scorers)[1:]:
        ratios = [nested / plain for nested, plain in zip(times[name], alone, strict=True)]
        print(f"  {name}: {100 * (statistics.median(ratios) - 1):+.2f} % (median of the ratios in each round)")


def first_stage(collection: Collection) -> Callable[[str, str, int], Run]:
    """Return a function that finds candidates by BM25."""
    index = podium.EmbeddedIndex.create(None, text=["text"])
    index.add([{"id": document_id, "text": text} for document_id, text in collection.documents.items()])
    return lambda query_id, text, count: {hit["id"]: hit["source_score"] for hit in index.search(text, count)}


def mean_ndcg(collection: Collection, system: System) -> float:
    values = metric_values(("nDCG@10",), collection.qrels, system.run)["nDCG@10"]
    return statistics.mean(values[query_id] for query_id in system.run)


def baseline_of(collection: Collection, query_count: int) -> System:
    """Return BM25's candidates of the first queries."""
    baseline = first_stage_run(collection, first_stage(collection), CANDIDATES, lambda count: None)
    return System(baseline.name, dict(list(baseline.run.items())[:query_count]))


def print_systems(collection: Collection, baseline: System, rerankers: dict[str, podium.Reranker]) -> None:
    print(f"BM25, {CANDIDATES} candidates of {len(baseline.run)} queries: nDCG@10 {mean_ndcg(collection, baseline):.4f}")
    for name, reranker in rerankers.items():
        began, processor_began = time.perf_counter(), time.process_time()
        system = rerank_run(collection, baseline.run, reranker, name, lambda count: None)
        wall_time = 1000 * (time.perf_counter() - began) / len(baseline.run)
        processor_time = 1000 * (time.process_time() - processor_began) / len(baseline.run)
        times = f"{wall_time:.0f} ms per query, {processor_time:.0f} ms of processor time"
        print(f"{name}: nDCG@10 {mean_ndcg(collection, system):.4f}, {times}", flush=True)


def print_cascade(folder: str, strong_name: str, precision: Any, pooling: int, query_count: int) -> None:
    collection = read_collection(folder)
    baseline = baseline_of(collection, query_count)
    mini = podium.load("podium-mini", keep=STORED_BYTES, pooling=pooling)
    if encoder := as_scorer(mini).encoder:  # as podium index does it for an index, so that only queries are encoded below
        encoder.encode(sorted({collection.documents[name] for scores in baseline.run.values() for name in scores}))
    # podium-mini as the strong scorer stores nothing, so that it reads all texts, as a cross-encoder does.
    strong = podium.load(strong_name, precision=precision, keep=0 if strong_name == "podium-mini" else None)
    rerankers = {f"podium-mini, int8, pooling {pooling}, stored": mini, f"strong: {strong_name}": strong}
    for keep in (10, 20, 30, "auto"):
        rerankers[f"Cascade(podium-mini, strong, keep={keep})"] = podium.Reranker(podium.Cascade(mini, strong, keep=keep))
    print_systems(collection, baseline, rerankers)


class Cosine(BaseScorer):
    """A scorer by the cosine of an embedder's vectors, which stay in memory."""

    model, score_kind = "cosine", "similarity"

    def __init__(self, embedder: podium.Embedder) -> None:
        self._embedder = embedder
        self._rows: dict[str, np.ndarray] = {}

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        if missing := [text for text in dict.fromkeys(texts) if text not in self._rows]:
            self._rows.update(zip(missing, _unit_rows(self._embedder(missing)), strict=True))
        query_row = _unit_rows(np.asarray(self._embedder.embed_query(query))[None])[0]
        return Scores([float(self._rows[text] @ query_row) for text in texts])


class FirstStageScore(BaseScorer):
    """A scorer whose scores are those of the first stage."""

    model, score_kind, reads_documents = "BM25", "logit", True

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        return Scores([document["source_score"] for document in documents_of(texts) or ()])


def _unit_rows(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def print_keep(embedder_name: str, folders: list[str], query_count: int) -> None:
    """Print the mean nDCG@10, and the mean number of documents that the strong scorer scored, for each `keep`."""
    strong = CachedScorer(as_scorer(podium.load("podium-mini", keep=STORED_BYTES)), MemoryScores(10_000_000))
    cheap_scorers = {"cosine": Cosine(podium.Embedder(embedder_name)), "BM25": FirstStageScore()}
    print("| collection | cheap scorer | " + " | ".join(f"keep={keep}" for keep in KEEPS) + ' | scored with "auto" |')
    print("|---|---|" + "---|" * (len(KEEPS) + 1))
    for folder in folders:
        collection = read_collection(folder)
        baseline = baseline_of(collection, query_count)
        for name, cheap in cheap_scorers.items():
            systems = []
            for keep in KEEPS:
                reranker = podium.Reranker(podium.Cascade(cheap, strong, keep=keep))
                rankings = {
                    query_id: reranker.rerank(collection.queries[query_id], collection.ranked_documents(scores))
                    for query_id, scores in baseline.run.items()
                }
                systems.append((keep, rankings))
            cells = [f"{mean_ndcg(collection, system_of(baseline, rankings)):.4f}" for _, rankings in systems]
            (automatic,) = (rankings for keep, rankings in systems if keep == "auto")
            counts = [sum(result.scored_by == strong.model for result in ranking) for ranking in automatic.values()]
            print(f"| {Path(folder).name} | {name} | {' | '.join(cells)} | {statistics.mean(counts):.0f} |", flush=True)


def system_of(baseline: System, rankings: dict[str, podium.Ranking]) -> System:
    """Return the run of rankings of the baseline's candidates."""
    run = {}
    for query_id, ranking in rankings.items():
        ids = list(baseline.run[query_id])
        run[query_id] = {ids[result.index]: float(-result.rank) for result in ranking}
    return System("cascade", run)


def print_neighbours(embedder_name: str, folders: list[str], query_count: int) -> None:
    embedder = podium.Embedder(embedder_name)
    mini = podium.load("podium-mini")
    for folder in folders:
        print(folder)
        collection = read_collection(folder)
        rerankers = {"podium-mini": mini, "Neighbours(podium-mini)": podium.Reranker(podium.Neighbours(mini, embedder))}
        print_systems(collection, baseline_of(collection, query_count), rerankers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("overhead")
    cascade = commands.add_parser("cascade")
    cascade.add_argument("collection")
    cascade.add_argument("strong")
    cascade.add_argument("--precision", choices=["float32", "int8"], help="of the strong model")
    cascade.add_argument("--pooling", type=int, default=1, help="of podium-mini")
    cascade.add_argument("--queries", type=int, default=300)
    for command in ("keep", "neighbours"):
        with_embedder = commands.add_parser(command)
        with_embedder.add_argument("embedder")
        with_embedder.add_argument("collections", nargs="+")
        with_embedder.add_argument("--queries", type=int, default=150)
    arguments = parser.parse_args()
    if arguments.command == "cascade":
        print_cascade(arguments.collection, arguments.strong, arguments.precision, arguments.pooling, arguments.queries)
    elif arguments.command == "keep":
        print_keep(arguments.embedder, arguments.collections, arguments.queries)
    elif arguments.command == "neighbours":
        print_neighbours(arguments.embedder, arguments.collections, arguments.queries)
    else:
        texts = work.passages("short")
        with tempfile.TemporaryDirectory() as folder:
            print_cached(texts, Path(folder))
        print_nesting(texts)


if __name__ == "__main__":
    main()
