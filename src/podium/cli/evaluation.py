"""The option --metrics and the output of an evaluation, which `podium eval` and `podium compare` share."""

from __future__ import annotations

import click

from podium.cli.tables import print_rows
from podium.evaluation.evaluate import Evaluation
from podium.evaluation.metrics import DEFAULT_METRICS
from podium.evaluation.tables import cost_table, difference_table, mean_table, movement_tables, warnings

__all__ = ["metrics_option", "print_evaluation"]

MAX_MOVEMENTS = 3  # maximum number of rows in a table of the queries that changed most
MAX_QUERY_CHARACTERS = 60  # in these tables, a longer query is cut

metrics_option = click.option(
    "--metrics",
    default=",".join(DEFAULT_METRICS),
    show_default=True,
    help="Metrics of ir_measures, separated by commas. Systems are compared by the first one.",
)


def print_evaluation(evaluation: Evaluation) -> None:
    """Print the metrics, the differences to the baseline, the costs, and the queries that changed most. Notes go to stderr."""
    collection = evaluation.collection
    documents = f", {len(collection.documents)} documents" if collection.documents else ""
    print(f"{collection.name}: {len(collection.queries)} queries{documents}")
    tables = [mean_table(evaluation)]
    if evaluation.differences:
        tables.append(difference_table(evaluation))
    if any(system.score_kind for system in evaluation.systems):  # a run that was read from a file has no costs
        tables.append(cost_table(evaluation))
    for table in tables:
        print()
        print_rows(table.columns, table.rows)
    for system in evaluation.systems:
        if system.name not in evaluation.differences:
            continue
        for title, table in movement_tables(evaluation, system, MAX_MOVEMENTS):
            print(f"\n{system.name}, {title}")
            shortened_rows = [(*cells, query[:MAX_QUERY_CHARACTERS]) for *cells, query in table.rows]
            print_rows(table.columns, shortened_rows)
    for warning in warnings(evaluation):
        click.echo(f"note: {warning}", err=True)
