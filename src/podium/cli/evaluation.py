"""What `podium eval` and `podium compare` share: the metrics option, and how an evaluation is printed."""

from __future__ import annotations

import click

from podium.cli.tables import print_rows
from podium.evaluation.evaluate import Evaluation
from podium.evaluation.metrics import DEFAULT_METRICS
from podium.evaluation.tables import Table, cost_table, difference_table, mean_table, movement_tables, warnings

__all__ = ["metrics_option", "print_evaluation"]

MAX_MOVEMENTS, MAX_QUERY = 3, 60

metrics_option = click.option(
    "--metrics",
    default=",".join(DEFAULT_METRICS),
    show_default=True,
    help="Metrics of ir_measures, separated by commas. Systems are compared in the first.",
)


def print_evaluation(evaluation: Evaluation) -> None:
    """Print the metrics, the differences to the baseline, the cost, and the queries that changed most; warnings on stderr."""
    collection = evaluation.collection
    documents = f", {len(collection.documents)} documents" if collection.documents else ""
    print(f"{collection.name}: {len(collection.queries)} queries{documents}")
    _print_table(mean_table(evaluation))
    if evaluation.differences:
        _print_table(difference_table(evaluation))
    if any(system.score_kind for system in evaluation.systems):  # scored in this process, not read from a run
        _print_table(cost_table(evaluation))
    for system in evaluation.systems:
        if system.name not in evaluation.differences:
            continue
        for title, table in movement_tables(evaluation, system, MAX_MOVEMENTS):
            print(f"\n{system.name}, {title}")
            print_rows(table.columns, [(*row[:-1], row[-1][:MAX_QUERY]) for row in table.rows])
    for warning in warnings(evaluation):
        click.echo(f"note: {warning}", err=True)


def _print_table(table: Table) -> None:
    print()
    print_rows(table.columns, table.rows)
