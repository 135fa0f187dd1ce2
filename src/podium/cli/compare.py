"""podium compare: compare TREC run files, written by podium eval or by other tools."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from podium.cli.evaluation import metrics_option, print_evaluation
from podium.errors import InvalidInput
from podium.evaluation.collections import Collection, read_qrels, read_queries
from podium.evaluation.evaluate import System, compare_systems
from podium.evaluation.metrics import checked_metrics
from podium.evaluation.runs import read_run
from podium.inputs import comma_list

__all__ = ["compare"]


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="A.run B.run …")
@click.option("--qrels", required=True, metavar="FILE", help="File of judgments: TSV or TREC.")
@click.option("--queries", metavar="FILE", help="File of queries. Only these queries are compared, and their texts are shown.")
@metrics_option
def compare(runs: Sequence[str], qrels: str, queries: str | None, metrics: str) -> None:
    """Compare TREC runs. The first run is the baseline.

    A run is a file, or the output folder of podium batch --output run. All judged queries count, as in podium eval: the metrics
    of a query that a run does not have are 0. To compare fewer queries, name their file with --queries.
    """
    names = [Path(file).stem for file in runs]
    if len(runs) < 2 or len(set(names)) < len(names):
        raise InvalidInput("compare needs two or more runs, in files or folders of different names")
    metric_names = checked_metrics(comma_list(metrics))
    systems = [System(name, read_run(file)) for name, file in zip(names, runs, strict=True)]
    collection = _collection(systems, qrels, queries)
    print_evaluation(compare_systems(collection, systems[0], systems[1:], metric_names))


def _collection(systems: Sequence[System], qrels_file: str, queries_file: str | None) -> Collection:
    """Return the judged queries as a collection without documents.

    A query is judged if it has a relevant document. Queries that are not in `queries_file` are ignored. Without that file, all
    queries are used, and their texts are empty.
    """
    judged = {
        query_id: grades for query_id, grades in read_qrels(qrels_file).items() if any(grade > 0 for grade in grades.values())
    }
    ids_in_runs = {query_id for system in systems for query_id in system.run}
    if not judged.keys() & ids_in_runs:
        raise InvalidInput(f"no run has a query that {qrels_file} judges; do their ids match?")
    texts = dict.fromkeys(judged, "")
    if queries_file:
        texts = {query_id: text for query_id, text in read_queries(queries_file).items() if query_id in judged}
        if not texts:
            raise InvalidInput(f"{queries_file} has no query that {qrels_file} judges; do their ids match?")
    if not texts.keys() & ids_in_runs:
        raise InvalidInput(f"no run has a query that {queries_file} names; do their ids match?")
    qrels = {query_id: judged[query_id] for query_id in texts}
    return Collection(Path(qrels_file).name, {}, texts, qrels)
