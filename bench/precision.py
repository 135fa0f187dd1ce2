"""What int8 costs on test collections: nDCG@10 and the order of the first 20, compared with float32.

    .venv/dev/bin/python bench/precision.py FOLDER… [--model podium-mini] [--runtime native] [--queries 60]

FOLDER is a collection that `podium eval` reads. Prints, per collection: the mean nDCG@10 of BM25's first 100 documents
reranked in float32 and in int8, the mean Kendall τ of the two orders of float32's first 20, and the largest difference of a
logit.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

from podium.cli.first_stages import first_stage
from podium.evaluation.collections import read_collection
from podium.evaluation.evaluate import first_run
from podium.evaluation.metrics import per_query
from podium.load import local_scorer

METRIC, FIRST, CANDIDATES = "nDCG@10", 20, 100


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    queries: float
    float32: float
    int8: float
    kendall: float
    difference: float

    def line(self, name: str) -> str:
        ndcg = f"{self.float32:.4f} | {self.int8:.4f} | {self.int8 - self.float32:+.4f}"
        return f"| {name} | {self.queries:.0f} | {ndcg} | {self.kendall:.4f} | {self.difference:.3f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--model", default="podium-mini")
    parser.add_argument("--runtime", default="native")
    parser.add_argument("--queries", type=int, default=60)
    options = parser.parse_args()
    scorers = [local_scorer(options.model, precision=name, runtime=options.runtime) for name in ("float32", "int8")]
    header = "| collection | queries | float32 | int8 | difference | Kendall τ of 20 | max Δ logit |"
    print(f"{header}\n|---|---|---|---|---|---|---|")
    rows = []
    for folder in options.folders:
        rows.append(compare(folder, scorers, options.queries))
        print(rows[-1].line(folder.name), flush=True)
    print(Row(*np.mean([astuple(row) for row in rows], axis=0)).line("mean"))


def compare(folder: Path, scorers, count: int) -> Row:
    collection = read_collection(folder)
    queries = random.Random(0).sample(sorted(collection.queries), min(count, len(collection.queries)))
    collection = replace(
        collection,
        queries={query: collection.queries[query] for query in queries},
        qrels={query: collection.qrels[query] for query in queries},
    )
    candidates = first_run(collection, first_stage(collection, None, None, None), CANDIDATES, lambda done: None).run
    runs, taus, difference = ({}, {}), [], 0.0
    for query, scores in candidates.items():
        names = list(scores)
        texts = [collection.documents[name] for name in names]
        raw = [np.array(scorer.score(collection.queries[query], texts).raw) for scorer in scorers]
        for run, logits in zip(runs, raw, strict=True):
            order = np.argsort(-logits, kind="stable")  # the order of a run breaks ties
            run[query] = {names[index]: float(logits[index]) for index in order}
        first = np.argsort(-raw[0])[:FIRST]
        if len(first) > 1:
            taus.append(kendalltau(raw[0][first], raw[1][first]).statistic)
        difference = max(difference, float(np.abs(raw[0] - raw[1]).max(initial=0)))
    means = [float(np.mean(list(per_query([METRIC], collection.qrels, run)[METRIC].values()))) for run in runs]
    return Row(len(queries), *means, float(np.mean(taus)), difference)


if __name__ == "__main__":
    main()
