"""Measure how precision and pooling of stored encodings change the quality of rankings, compared with float32.

    .venv/dev/bin/python bench/encodings.py FOLDER… [--model podium-mini] [--queries 30]

FOLDER is a test collection that `podium eval` reads. The program prints, for each variant, means over the collections: nDCG@10
of BM25's first 100 documents, Kendall's τ with float32's order of its first 20, and the largest difference of a logit.
"""

from __future__ import annotations

import argparse
from dataclasses import astuple
from pathlib import Path

import numpy as np
from precision import Row, compare

from podium.load import local_scorer

VARIANTS = (
    {"precision": "float32", "encoding": "float16"},
    {"precision": "float32", "encoding": "int8"},
    {"precision": "float32", "encoding": "int8", "pooling": 2},
    {"precision": "float32", "encoding": "int8", "pooling": 3},
    {"precision": "int8", "encoding": "int8"},
)
MEMORY_BYTES = 4_000_000_000  # enough for all encodings, so that a text is encoded only once per variant


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--model", default="podium-mini")
    parser.add_argument("--queries", type=int, default=30)
    options = parser.parse_args()
    exact_scorer = local_scorer(options.model, precision="float32", encoding="float32", keep=MEMORY_BYTES)
    print("| options | float32, nDCG@10 | nDCG@10 | difference | Kendall τ of 20 | max Δ logit |\n|---|---|---|---|---|---|")
    for variant in VARIANTS:
        scorer = local_scorer(options.model, **variant, keep=MEMORY_BYTES)
        rows = [compare(folder, [exact_scorer, scorer], options.queries) for folder in options.folders]
        mean = Row(*np.mean([astuple(row) for row in rows], axis=0))
        name = ", ".join(f"{option}={value!r}" for option, value in variant.items())
        figures = mean.line("").split(" | ", 2)[2]  # without the columns of the collection and the number of queries
        print(f"| `{name}` | {figures}", flush=True)


if __name__ == "__main__":
    main()
