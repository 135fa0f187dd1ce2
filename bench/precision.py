"""Measure how int8 changes the quality of rankings on test collections, compared with float32.

    .venv/dev/bin/python bench/precision.py FOLDER… [--model podium-mini] [--runtime native] [--queries 60]

FOLDER is a test collection that `podium eval` reads. BM25's first 100 documents are reranked in float32 and in int8. The
program prints, for each collection, both means of nDCG@10, the mean of Kendall's τ between the two orders of float32's first 20
documents, and the largest difference of a logit.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

from podium.cli.first_stages import first_stage
from podium.evaluation.collections import read_collection
from podium.evaluation.evaluate import first_stage_run
from podium.evaluation.metrics import metric_values
from podium.load import local_scorer
from podium.scorers import BaseScorer

METRIC = "nDCG@10"
TOP_DOCUMENTS = 20  # how many of float32's first documents Kendall's τ compares
CANDIDATES = 100


@dataclass(frozen=True)
class Row:
    """The figures of one collection, or their means. `float32` and `int8` are the values of METRIC."""

    queries: float
    float32: float
    int8: float
    kendall: float
    difference: float

    def line(self, name: str) -> str:
        """Return the row of the table in Markdown."""
        ndcg = f"{self.float32:.4f} | {self.int8:.4f} | {self.int8 - self.float32:+.4f}"
        return f"| {name} | {self.queries:.0f} | {ndcg} | {self.kendall:.4f} | {self.difference:.3f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--model", default="podium-mini")
    parser.add_argument("--runtime", default="native")
    parser.add_argument("--queries", type=int, default=60)
    options = parser.parse_args()
    scorers = [local_scorer(options.model, precision=precision, runtime=options.runtime) for precision in ("float32", "int8")]
    header = "| collection | queries | float32 | int8 | difference | Kendall τ of 20 | max Δ logit |"
    print(f"{header}\n|---|---|---|---|---|---|---|")
    rows = []
    for folder in options.folders:
        rows.append(compare(folder, scorers, options.queries))
        print(rows[-1].line(folder.name), flush=True)
    print(Row(*np.mean([astuple(row) for row in rows], axis=0)).line("mean"))


def compare(folder: Path, scorers: Sequence[BaseScorer], query_count: int) -> Row:
    """Return the figures of a collection, from at most `query_count` random queries. The scorers are float32 and int8."""
    collection = read_collection(folder)
    query_ids = random.Random(0).sample(sorted(collection.queries), min(query_count, len(collection.queries)))
    collection = replace(
        collection,
        queries={query_id: collection.queries[query_id] for query_id in query_ids},
        qrels={query_id: collection.qrels[query_id] for query_id in query_ids},
    )
    with first_stage(collection) as stage:
        candidates = first_stage_run(collection, stage, CANDIDATES, lambda done: None).run
    runs: tuple[dict[str, dict[str, float]], ...] = ({}, {})
    taus = []
    difference = 0.0
    for query_id, first_stage_scores in candidates.items():
        document_ids = list(first_stage_scores)
        texts = [collection.documents[document_id] for document_id in document_ids]
        float32_logits, int8_logits = (np.array(scorer.score(collection.queries[query_id], texts).raw) for scorer in scorers)
        for run, logits in zip(runs, (float32_logits, int8_logits), strict=True):
            order = np.argsort(-logits, kind="stable")  # Ties keep the order of the first stage.
            run[query_id] = {document_ids[index]: float(logits[index]) for index in order}
        top = np.argsort(-float32_logits)[:TOP_DOCUMENTS]
        if len(top) > 1:
            taus.append(kendalltau(float32_logits[top], int8_logits[top]).statistic)
        difference = max(difference, float(np.abs(float32_logits - int8_logits).max(initial=0)))
    means = [float(np.mean(list(metric_values([METRIC], collection.qrels, run)[METRIC].values()))) for run in runs]
    return Row(len(query_ids), *means, float(np.mean(taus)), difference)


if __name__ == "__main__":
    main()
