"""What int8 costs: nDCG@10 and the order of the first 20, beside float32, on test collections.

    .venv/dev/bin/python bench/precision.py FOLDER… [--model podium-mini] [--runtime native] [--queries 60]

FOLDER is a collection that `podium eval` reads. Per collection: the mean nDCG@10 of BM25's first 100 documents reranked in
float32 and in int8, the mean Kendall τ of the two orders of float32's first 20, and the largest difference of a logit.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

from podium.cli.first_stages import first_stage
from podium.evaluation.collections import read_collection
from podium.evaluation.evaluate import first_run
from podium.evaluation.metrics import per_query
from podium.load import local_scorer

METRIC, FIRST, CANDIDATES = "nDCG@10", 20, 100


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("folders", type=Path, nargs="+")
    asked.add_argument("--model", default="podium-mini")
    asked.add_argument("--runtime", default="native")
    asked.add_argument("--queries", type=int, default=60)
    given = asked.parse_args()
    scorers = [local_scorer(given.model, precision=precision, runtime=given.runtime) for precision in ("float32", "int8")]
    print(
        "| collection | queries | float32 | int8 | difference | Kendall τ of 20 | max Δ logit |\n|---|---|---|---|---|---|---|"
    )
    means = []
    for folder in given.folders:
        means.append(measured(folder, scorers, given.queries))
        line(folder.name, *means[-1])
    line("mean", *np.mean(means, axis=0))


def line(name: str, queries: float, exact: float, near: float, tau: float, apart: float) -> None:
    print(f"| {name} | {queries:.0f} | {exact:.4f} | {near:.4f} | {near - exact:+.4f} | {tau:.4f} | {apart:.3f} |", flush=True)


def measured(folder: Path, scorers, count: int) -> tuple[float, float, float, float, float]:
    collection = read_collection(folder)
    drawn = random.Random(0).sample(sorted(collection.queries), min(count, len(collection.queries)))
    collection = replace(
        collection,
        queries={query: collection.queries[query] for query in drawn},
        qrels={query: collection.qrels[query] for query in drawn},
    )
    find = first_stage(collection, None, None, None)
    candidates = first_run(collection, find, CANDIDATES, lambda done: None).run
    runs, taus, apart = ({}, {}), [], 0.0
    for query, found in candidates.items():
        texts = [collection.documents[name] for name in found]
        raw = [np.array(scorer.score(collection.queries[query], texts).raw) for scorer in scorers]
        for run, logits in zip(runs, raw, strict=True):
            order = np.argsort(-logits, kind="stable")  # the order is what counts in a run
            run[query] = {list(found)[at]: float(logits[at]) for at in order}
        first = np.argsort(-raw[0])[:FIRST]
        if len(first) > 1:
            taus.append(kendalltau(raw[0][first], raw[1][first]).statistic)
        apart = max(apart, float(np.abs(raw[0] - raw[1]).max(initial=0)))
    means = [float(np.mean(list(per_query([METRIC], collection.qrels, run)[METRIC].values()))) for run in runs]
    return len(drawn), *means, float(np.mean(taus)), apart


if __name__ == "__main__":
    main()
