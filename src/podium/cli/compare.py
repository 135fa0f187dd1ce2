"""podium compare: TREC run files, of podium eval or of other tools, beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from podium.cli.eval import print_evaluation
from podium.errors import InvalidInput
from podium.evaluation.collections import Collection, read_qrels, read_queries
from podium.evaluation.evaluate import System, compared
from podium.evaluation.metrics import DEFAULT_METRICS, checked_metrics
from podium.evaluation.runs import read_run
from podium.inputs import comma_list

__all__ = ["compare"]


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="A.run B.run …")
@click.option("--qrels", required=True, metavar="FILE", help="Judgments: TSV, or TREC's.")
@click.option("--queries", metavar="FILE", help="Compare these queries only, and show their texts.")
@click.option(
    "--metrics", default=",".join(DEFAULT_METRICS), show_default=True, help="As ir_measures names them; the first decides."
)
def compare(runs: Sequence[str], qrels: str, queries: str | None, metrics: str) -> None:
    """Compare TREC runs; the first is the baseline.

    Judged queries that no run has are left out, as podium eval leaves them out; a note says how many.
    """
    names = [Path(each).stem for each in runs]
    if len(runs) < 2 or len(set(names)) < len(names):
        raise InvalidInput("compare needs two or more runs, in files of different names")
    chosen, graded = checked_metrics(comma_list(metrics)), read_qrels(qrels)
    judged = {query: grades for query, grades in graded.items() if any(grade > 0 for grade in grades.values())}
    texts = read_queries(queries) if queries else {}
    systems = [System(name, read_run(file)) for name, file in zip(names, runs, strict=True)]
    if not any(judged.keys() & system.run.keys() for system in systems):
        raise InvalidInput(f"no run has a query that {qrels} judges; do their ids match?")
    if texts and not judged.keys() & texts.keys():
        raise InvalidInput(f"{queries} has no query that {qrels} judges; do their ids match?")
    wanted = {query: grades for query, grades in judged.items() if not texts or query in texts}
    found = {query for system in systems for query in system.run}
    compared_qrels = {query: grades for query, grades in wanted.items() if query in found}
    if not compared_qrels:
        raise InvalidInput(f"no run has a query that {queries or qrels} names; do their ids match?")
    collection = Collection(Path(qrels).name, {}, {query: texts.get(query, "") for query in compared_qrels}, compared_qrels)
    print_evaluation(compared(collection, systems[0], systems[1:], chosen))
    if left_out := len(wanted) - len(compared_qrels):
        note = f"{left_out} of {len(wanted)} judged queries are in no run and were left out"
        click.echo(f"note: {note}", err=True)
