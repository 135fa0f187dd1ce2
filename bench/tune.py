"""Tune on half of the queries of each development collection, and measure the selected settings on the other half.

    .venv/dev/bin/python bench/tune.py FOLDER [--queries 300] [--reranker podium-mini] [--embed NAME] [--out table.md]

FOLDER has a README.md with a table of collections, whose second column is "dev" or "report", and a folder for each collection.
BM25 finds 100 candidates for each query. The queries are divided at random, always in the same way. A collection's gain is the
mean difference to the plain reranker on the other half, with a bootstrap interval of 95 %. The last row is the mean over
collections; for its interval, queries are resampled in each collection.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from podium.cli.first_stages import first_stage
from podium.evaluation.collections import Collection, read_collection
from podium.evaluation.evaluate import first_stage_run
from podium.evaluation.metrics import cutoff_of
from podium.evaluation.runs import Run
from podium.evaluation.significance import difference
from podium.progress import bar
from podium.tuning.scoring import Workbench
from podium.tuning.tune import tune

METRIC = "nDCG@10"
CANDIDATES = 100
RESAMPLES = 10_000
HEADER = (
    "| collection | queries | selected setting | plain | selected | gain on the other half | estimate by tune |",
    "|---|---|---|---|---|---|---|",
)


def development_collections(folder: Path) -> Iterator[Path]:
    """Yield the folders of the collections that the table marks as "dev"."""
    for names in re.findall(r"^\| ([^|]+) \| dev \|", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE):
        yield from (folder / name.strip() for name in names.split(","))


def halves(collection: Collection, most: int | None) -> tuple[Collection, Collection]:
    """Return the collection with each half of its queries, or of `most` queries drawn at random."""
    ids = list(collection.queries)
    order = np.random.default_rng(0).permutation(len(ids))[:most]
    middle = len(order) // 2
    return tuple(  # type: ignore[return-value]
        replace(
            collection,
            queries={ids[i]: collection.queries[ids[i]] for i in sorted(part)},
            qrels={ids[i]: collection.qrels[ids[i]] for i in sorted(part)},
        )
        for part in (order[:middle], order[middle:])
    )


def candidates(collection: Collection) -> Run:
    with first_stage(collection) as stage:
        return first_stage_run(collection, stage, CANDIDATES, lambda count: None).run


def measured(folder: Path, names: Sequence[str], most: int | None, embed: str | None) -> tuple[str, np.ndarray]:
    """Return the table's row for a collection, and the gain of each query of the other half."""
    first, second = halves(read_collection(folder), most)
    tuned = tune(
        first,
        candidates(first),
        names,
        metric=METRIC,
        candidates=CANDIDATES,
        embed=embed,
        open_bar=lambda total, label: bar(total, is_shown=sys.stderr.isatty(), label=f"{folder.name}: {label}"),
    )
    with Workbench(second, candidates(second)) as workbench:
        plain, selected = (workbench.values(setting, METRIC, cutoff_of(METRIC)) for setting in (tuned.plain, tuned.selected))
    gain = difference(dict(zip(second.queries, selected, strict=True)), dict(zip(second.queries, plain, strict=True)))
    estimate = tuned.selection.gain
    cells = (
        folder.name,
        f"{len(first.queries)} + {len(second.queries)}",
        str(tuned.selected) if tuned.selection.selected_index else "plain",
        f"{np.mean(plain):.4f}",
        f"{np.mean(selected):.4f}",
        f"{gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]",
        f"{estimate.mean:+.4f} [{estimate.low:+.4f}, {estimate.high:+.4f}]",
    )
    return f"| {' | '.join(cells)} |", np.array(selected) - np.array(plain)


def mean_row(gains: Sequence[np.ndarray]) -> str:
    """Return the row of the mean over collections."""
    generator = np.random.default_rng(0)
    means = [
        np.mean([values[generator.integers(0, len(values), len(values))].mean() for values in gains]) for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    mean = np.mean([values.mean() for values in gains])
    return f"| **mean** |  |  |  |  | {mean:+.4f} [{low:+.4f}, {high:+.4f}] |  |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--queries", type=int, help="at most this many queries of each collection, both halves together")
    parser.add_argument("--reranker", action="append", help="as for podium tune; podium-mini if there is none")
    parser.add_argument("--embed", help="embedder with which Neighbours is tried, as for podium tune")
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    arguments = parser.parse_args()
    lines = list(HEADER)
    gains = []
    print(*HEADER, sep="\n", flush=True)
    for folder in development_collections(arguments.folder):
        row, values = measured(folder, arguments.reranker or ["podium-mini"], arguments.queries, arguments.embed)
        gains.append(values)
        lines.append(row)
        print(row, flush=True)
    lines.append(mean_row(gains))
    print(lines[-1])
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
