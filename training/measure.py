"""The model card's table: every collection of a folder, BM25's first 100 documents reranked, nDCG@10.

    python training/measure.py --collections FOLDER --parent FOLDER [--queries 30] [--out table.md]

It is `podium eval` over many folders: the same candidates, rerankers, metrics and tests, beside the parent's cosine and its
fusion with BM25, which a reranker must beat to be worth its time. Scores are kept, so that a second run asks for new ones only.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import podium
from podium.cli.first_stages import first_stage
from podium.compose.cached import CachedScorer
from podium.compose.stores.sqlite import ScoreStore
from podium.evaluation.collections import Collection, read_collection
from podium.evaluation.evaluate import Evaluation, System, compared, first_run, rerank_run
from podium.evaluation.runs import Run
from podium.load import identity
from podium.ranking import Reranker

METRIC, CANDIDATES = "nDCG@10", 100
DEV = ("adi", "cranfield", "wikiqa-dev", "cosqa-dev", "squad2-dev-half", "climate-fever-evidence")  # one may tune on these
DEV += ("xquad-en", "xquad-es", "xquad-ar")
MORE = ("scifact", "nfcorpus-preprocessed")  # three times the queries: these have targets
TEXT_WEIGHT = 0.3  # of BM25 in the fusion, as podium's own hybrid search has it


class Cosines:
    """The parent's cosine of a query and a document, each document embedded once."""

    def __init__(self, parent: Path) -> None:
        self._embedder = podium.Embedder(parent, precision="int8")

    def runs(self, collection: Collection, baseline: Run) -> tuple[Run, Run]:
        """Return the candidates by cosine, and by its fusion with the first stage's scores."""
        needed = sorted({name for found in baseline.values() for name in found})
        rows = dict(zip(needed, self._embedder.embed_documents([collection.documents[name] for name in needed]), strict=True))
        cosine, fused = {}, {}
        for query, found in baseline.items():
            if not found:
                cosine[query] = fused[query] = {}
                continue
            asked = self._embedder.embed_query(collection.queries[query])
            values = np.stack([rows[name] for name in found]) @ asked
            mixed = TEXT_WEIGHT * _spread(np.array(list(found.values()))) + (1 - TEXT_WEIGHT) * _spread(values)
            cosine[query] = best_first(found, values.tolist())
            fused[query] = best_first(found, mixed.tolist())
        return cosine, fused


def best_first(documents: Iterable[str], scores: Iterable[float]) -> dict[str, float]:
    """Return a query's part of a run, in which the order is what counts."""
    return dict(sorted(zip(documents, scores, strict=True), key=lambda each: -each[1]))


def _spread(scores: np.ndarray) -> np.ndarray:
    return (scores - scores.min()) / max(scores.max() - scores.min(), 1e-9)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--collections", type=Path, required=True)
    asked.add_argument("--parent", type=Path, required=True, help="sentence-transformers/all-MiniLM-L6-v2")
    asked.add_argument(
        "--queries", type=int, default=30, help=f"drawn from each collection; thrice as many from {' and '.join(MORE)}"
    )
    asked.add_argument("--names", nargs="+")
    asked.add_argument("--int8", action="store_true", help="a row for int8, too")
    asked.add_argument("--scores", type=Path, default=Path("measured.sqlite"))
    asked.add_argument("--out", type=Path, default=Path("measured.md"))
    given = asked.parse_args()
    names = given.names or sorted(path.parent.name for path in given.collections.glob("*/queries.jsonl"))
    cosines, rows = Cosines(given.parent), []
    for name in names:
        found = _evaluated(given.collections / name, given.queries * (3 if name in MORE else 1), cosines, given)
        rows.append(_row(found))
        given.out.write_text(_table(rows, given.int8))
        print(rows[-1], flush=True)


def _evaluated(folder: Path, count: int, cosines: Cosines, given: argparse.Namespace) -> Evaluation:
    collection = read_collection(folder)
    if count < len(collection.queries):
        kept = random.Random(0).sample(sorted(collection.queries), count)
        queries, qrels = ({query: all_of[query] for query in kept} for all_of in (collection.queries, collection.qrels))
        collection = replace(collection, queries=queries, qrels=qrels)
    baseline = first_run(collection, first_stage(collection, None, None, None), CANDIDATES, lambda done: None)
    cosine, fused = cosines.runs(collection, baseline.run)
    systems = [System("cosine", cosine), System("fused", fused)]
    systems += [_reranked(collection, baseline, precision, given.scores) for precision in ("float32", "int8")[: 1 + given.int8]]
    return compared(collection, baseline, systems, (METRIC,))


def _reranked(collection: Collection, baseline: System, precision: str, scores: Path) -> System:
    store = ScoreStore(scores)
    with podium.load("podium-mini", precision=precision) as reranker:
        scorer = CachedScorer(reranker.scorer, store, identity(reranker.scorer))
        name = "podium-mini" if precision == "float32" else precision
        system = rerank_run(collection, baseline.run, Reranker(scorer), name, lambda done: None, lambda: scorer.known)
    store.close()
    return system


def _row(found: Evaluation) -> Mapping[str, object]:
    values = {system.name: found.mean(system.name, METRIC) for system in (found.baseline, *found.systems)}
    gained = found.differences["podium-mini"]
    return {"name": found.collection.name, "queries": len(found.collection.queries), **values, "gained": gained}


def _table(rows: Sequence[Mapping[str, object]], int8: bool) -> str:
    columns = ["first stage", "cosine", "fused", "podium-mini"] + ["int8"] * int8
    titles = ["collection", "queries", "BM25", *columns[1:], "Δ to BM25 (95 %)"]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for row in rows:
        values = [f"{row[column]:.3f}" for column in columns]
        best = max(range(len(values)), key=lambda at: values[at])
        values[best] = f"**{values[best]}**"
        gained = row["gained"]
        interval = f"{gained.mean:+.3f} ({gained.low:+.3f} … {gained.high:+.3f})"
        star = "*" if row["name"] in DEV else ""
        lines.append(f"| {row['name']}{star} | {row['queries']} | {' | '.join(values)} | {interval} |")
    means = [f"{sum(float(row[column]) for row in rows) / len(rows):.3f}" for column in columns]
    lines.append(f"| **mean** | | {' | '.join(means)} | |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
