"""Write the table of the model card: nDCG@10 of reranking BM25's first 100 documents, for every collection in a folder.

    python training/measure.py --collections FOLDER --parent FOLDER [--queries 100] [--out table.md]

The script does what `podium eval` does, for many folders and two more systems: the parent's cosine, and its fusion with BM25,
which a reranker must beat to be worth its time. Scores are stored, so that a second run computes only new ones.
"""

from __future__ import annotations

import argparse
import contextlib
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import podium
from podium.cli.first_stages import first_stage
from podium.compose.cached import CachedScorer
from podium.compose.stores.sqlite import SqliteScores
from podium.evaluation.collections import Collection, read_collection
from podium.evaluation.evaluate import Evaluation, System, compare_systems, first_stage_run, rerank_run
from podium.evaluation.runs import Run
from podium.evaluation.significance import Difference, difference

METRIC = "nDCG@10"
CANDIDATES = 100
DEV = ("adi", "cranfield", "wikiqa-dev", "cosqa-dev", "squad2-dev-half", "climate-fever-evidence")
DEV += ("xquad-en", "xquad-es", "xquad-ar")
"""The collections that the model's settings were chosen on."""
ON_MORE_QUERIES = ("scifact", "nfcorpus-preprocessed")
"""The collections that are measured on three times as many queries."""
TEXT_WEIGHT = 0.3  # the weight of BM25 in the fusion, as in podium's hybrid search


class Cosines:
    """Orders candidates by the cosine of query and document, with vectors of the parent."""

    def __init__(self, parent: Path) -> None:
        self._embedder = podium.Embedder(parent, precision="int8")

    def runs(self, collection: Collection, baseline: Run) -> tuple[Run, Run]:
        """Return two runs of the baseline's documents: ordered by cosine, and by its fusion with the first stage's scores."""
        document_ids = sorted({document_id for scores in baseline.values() for document_id in scores})
        texts = [collection.documents[document_id] for document_id in document_ids]
        vectors = dict(zip(document_ids, self._embedder.embed_documents(texts), strict=True))
        cosine: dict[str, dict[str, float]] = {}
        fused: dict[str, dict[str, float]] = {}
        for query_id, scores in baseline.items():
            if not scores:
                cosine[query_id] = {}
                fused[query_id] = {}
                continue
            query_vector = self._embedder.embed_query(collection.queries[query_id])
            cosines = np.stack([vectors[document_id] for document_id in scores]) @ query_vector
            mixed = TEXT_WEIGHT * _scaled(np.array(list(scores.values()))) + (1 - TEXT_WEIGHT) * _scaled(cosines)
            cosine[query_id] = best_first(scores, cosines.tolist())
            fused[query_id] = best_first(scores, mixed.tolist())
        return cosine, fused


def best_first(documents: Iterable[str], scores: Iterable[float]) -> dict[str, float]:
    """Return the documents and scores of one query in a run, ordered by score."""
    return dict(sorted(zip(documents, scores, strict=True), key=lambda item: -item[1]))


def _scaled(scores: np.ndarray) -> np.ndarray:
    """Return scores scaled to 0 to 1."""
    return (scores - scores.min()) / max(scores.max() - scores.min(), 1e-9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--collections", type=Path, required=True)
    parser.add_argument("--parent", type=Path, required=True, help="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument(
        "--queries",
        type=int,
        default=100,
        help=f"number of queries from each collection; 3 times as many are drawn from {' and '.join(ON_MORE_QUERIES)}",
    )
    parser.add_argument("--names", nargs="+")
    parser.add_argument("--float32", action="store_true", help="also measure float32, beside the default, which is int8")
    parser.add_argument("--scores", type=Path, default=Path("measured.sqlite"))
    parser.add_argument("--out", type=Path, default=Path("measured.txt"))
    arguments = parser.parse_args()
    names = arguments.names or sorted(path.parent.name for path in arguments.collections.glob("*/queries.jsonl"))
    cosines = Cosines(arguments.parent)
    rows = []
    for name in names:
        query_count = arguments.queries * (3 if name in ON_MORE_QUERIES else 1)
        rows.append(_row(_evaluation(arguments.collections / name, query_count, cosines, arguments)))
        arguments.out.write_text(_table(rows, arguments.float32))
        print(rows[-1], flush=True)


def _evaluation(folder: Path, query_count: int, cosines: Cosines, arguments: argparse.Namespace) -> Evaluation:
    """Return the evaluation of all systems on at most `query_count` random queries of a collection."""
    collection = read_collection(folder)
    if query_count < len(collection.queries):
        sample = random.Random(0).sample(sorted(collection.queries), query_count)
        queries = {query_id: collection.queries[query_id] for query_id in sample}
        qrels = {query_id: collection.qrels[query_id] for query_id in sample}
        collection = replace(collection, queries=queries, qrels=qrels)
    with first_stage(collection) as stage:
        baseline = first_stage_run(collection, stage, CANDIDATES, lambda count: None)
    cosine, fused = cosines.runs(collection, baseline.run)
    systems = [System("cosine", cosine), System("fused", fused)]
    systems.append(_reranked(collection, baseline, "int8", "podium-mini", arguments.scores))
    if arguments.float32:
        systems.append(_reranked(collection, baseline, "float32", "float32", arguments.scores))
    return compare_systems(collection, baseline, systems, (METRIC,))


def _reranked(collection: Collection, baseline: System, precision: str, name: str, scores: Path) -> System:
    with contextlib.closing(SqliteScores(scores)) as store, podium.load("podium-mini", precision=precision) as loaded:
        reranker = loaded.with_scorer(CachedScorer(loaded.scorer, store))
        return rerank_run(collection, baseline.run, reranker, name, lambda count: None)


def _row(evaluation: Evaluation) -> Mapping[str, object]:
    means = {system.name: evaluation.mean(system.name, METRIC) for system in (evaluation.baseline, *evaluation.systems)}
    differences = {
        "to_bm25": evaluation.differences["podium-mini"],
        "to_fused": difference(evaluation.values["podium-mini"][METRIC], evaluation.values["fused"][METRIC]),
    }
    collection = evaluation.collection
    return {"name": collection.name, "queries": len(collection.queries), **means, **differences}


def _table(rows: Sequence[Mapping[str, object]], has_float32: bool) -> str:
    columns = ["first stage", "cosine", "fused", "podium-mini"] + (["float32"] if has_float32 else [])
    titles = ["collection", "queries", "BM25", *columns[1:], "Δ to BM25 (95 %)", "Δ to fused (95 %)"]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for row in rows:
        values = [f"{row[column]:.3f}" for column in columns]
        best = max(range(len(values)), key=values.__getitem__)
        values[best] = f"**{values[best]}**"
        intervals = " | ".join(_with_interval(row[key]) for key in ("to_bm25", "to_fused"))
        star = "*" if row["name"] in DEV else ""
        lines.append(f"| {row['name']}{star} | {row['queries']} | {' | '.join(values)} | {intervals} |")
    means = [f"{sum(float(row[column]) for row in rows) / len(rows):.3f}" for column in columns]
    lines.append(f"| **mean** | | {' | '.join(means)} | | |")
    return "\n".join(lines) + "\n"


def _with_interval(gain: Difference) -> str:
    return f"{gain.mean:+.3f} ({gain.low:+.3f} … {gain.high:+.3f})"


if __name__ == "__main__":
    main()
