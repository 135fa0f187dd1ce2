"""podium compare: compare TREC run files, written by podium eval or by other tools."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from podium.cli.evaluation import metrics_option, print_evaluation
from podium.errors import InvalidInput
from podium.evaluation.collections import Collection, read_qrels, read_queries
from podium.evaluation.evaluate import System, compared
from podium.evaluation.metrics import checked_metrics
from podium.evaluation.runs import read_run
from podium.inputs import comma_list

__all__ = ["compare"]


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="A.run B.run …")
@click.option("--qrels", required=True, metavar="FILE", help="Judgments: TSV or TREC.")
@click.option("--queries", metavar="FILE", help="Compare only these queries, and show their texts.")
@metrics_option
def compare(runs: Sequence[str], qrels: str, queries: str | None, metrics: str) -> None:
    """Compare TREC runs. The first is the baseline.

    Judged queries that are in no run are left out, as podium eval leaves them out. A note has their number.
    """
    names = [Path(file).stem for file in runs]
    if len(runs) < 2 or len(set(names)) < len(names):
        raise InvalidInput("compare needs two or more runs, in files of different names")
    metric_names = checked_metrics(comma_list(metrics))
    systems = [System(name, read_run(file)) for name, file in zip(names, runs, strict=True)]
    collection, left_out = _collection(systems, qrels, queries)
    print_evaluation(compared(collection, systems[0], systems[1:], metric_names))
    if left_out:
        total = left_out + len(collection.queries)
        click.echo(f"note: {left_out} of {total} judged queries are in no run and were left out", err=True)


def _collection(systems: Sequence[System], qrels_file: str, queries_file: str | None) -> tuple[Collection, int]:
    """Return the judged queries that are in a run, and the number of those that are in none."""
    judged = {query: grades for query, grades in read_qrels(qrels_file).items() if any(grade > 0 for grade in grades.values())}
    in_runs = {query for system in systems for query in system.run}
    if not judged.keys() & in_runs:
        raise InvalidInput(f"no run has a query that {qrels_file} judges; do their ids match?")
    texts = dict.fromkeys(judged, "")
    if queries_file:
        texts = {query: text for query, text in read_queries(queries_file).items() if query in judged}
        if not texts:
            raise InvalidInput(f"{queries_file} has no query that {qrels_file} judges; do their ids match?")
    qrels = {query: grades for query, grades in judged.items() if query in texts and query in in_runs}
    if not qrels:
        raise InvalidInput(f"no run has a query that {queries_file} names; do their ids match?")
    collection = Collection(Path(qrels_file).name, {}, {query: texts[query] for query in qrels}, qrels)
    return collection, len(texts) - len(qrels)
