"""podium batch: rerank the queries of files of any size, and verify the results."""

from __future__ import annotations

import contextlib
import difflib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from podium.batch import PART_SIZE, BatchResult, Plan, plan_batch, verify_batch
from podium.batch import batch as run_batch
from podium.batch.verification import job_model
from podium.cli.options import POSITIVE, by_option, limit_option, model_option, model_options
from podium.cli.tables import print_rows
from podium.errors import Argument, InvalidInput
from podium.inputs import comma_list, refuse
from podium.load import load
from podium.prices import CHARACTERS_PER_TOKEN

__all__ = ["batch"]

PLAN_OPTIONS = ("layout", "columns", "rank_by", "collection", "format_name", "part_size", "price")
PLANNED_MACHINES = (1, 10, 100)  # the numbers of machines for which --plan prints the time


class _BatchGroup(click.Group):
    """A group whose command `run` is also used without its name."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        first = arguments[0] if arguments else ""
        similar = difflib.get_close_matches(first, self.commands, n=1)
        is_glob = bool(set("*?[") & set(first))
        if similar and first not in self.commands and not is_glob and not os.path.exists(first):
            raise click.UsageError(f"No such command or file '{first}'. Did you mean '{similar[0]}'?", context)
        if first not in self.commands:
            arguments = ["run", *arguments]
        return super().parse_args(context, arguments)


@click.group(cls=_BatchGroup)
def batch() -> None:
    """Rerank the queries of files, and verify the results."""


@batch.command(epilog="podium batch verify FOLDER computes parts of the results again, and compares them.")
@click.argument("inputs", metavar="IN…", nargs=-1, required=True)
@click.option("--to", required=True, metavar="FOLDER", help="Folder for the results. The same command continues a job in it.")
@by_option(default="content, text, page_content or passage of a record")
@model_option
@limit_option(None)
@click.option(
    "--layout",
    type=click.Choice(["lists", "pairs", "run", "requests"]),
    help="A row per query with a list of documents, a row per pair, a TREC run, or OpenAI's batch lines for /v1/rerank.  "
    "[default: by the names of the columns]",
)
@click.option(
    "--columns",
    metavar="NAME=COLUMN,…",
    help="Columns whose names are not the usual ones. NAME is query, document, documents, query_id, id (of a document) or ids "
    "(in lists).",
)
@click.option("--copy", metavar="COLUMN,COLUMN", help="Columns that are copied to the results.")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["parquet", "arrow", "jsonl", "csv", "tsv", "run"]),
    help="Format of all inputs.  [default: by their names]",
)
@click.option(
    "--output",
    type=click.Choice(["parquet", "run", "replies"]),
    default="parquet",
    show_default=True,
    help="A row per result, a TREC run, or replies to batch requests.",
)
@click.option("--collection", metavar="FOLDER", help="Folder in BEIR's layout with the texts of a TREC run.")
@click.option(
    "--part-size",
    type=POSITIVE,
    default=PART_SIZE,
    show_default=True,
    metavar="N",
    help="About how many pairs each part of the job has.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="This machine, or a Ray cluster whose nodes have the files under the same paths.",
)
@click.option("--ray-address", metavar="ADDRESS", help="Address of the cluster, or auto.  [default: start Ray here]")
@click.option(
    "--ray-actors", type=POSITIVE, metavar="N", help="Maximum number of actors.  [default: as many as the processors allow]"
)
@click.option("--ray-cpus", type=POSITIVE, metavar="N", help="Processors of an actor, and threads of its model.  [default: 1]")
@click.option("--requests-per-minute", type=float, metavar="N", help="For hosted APIs: the provider's limit.")
@click.option("--tokens-per-minute", type=float, metavar="N", help="For hosted APIs: the provider's limit.")
@click.option("--max-cost", type=float, metavar="DOLLARS", help="For hosted APIs: stop before this command could cost more.")
@click.option(
    "--price", metavar="X/UNIT", help="For hosted APIs: 0.05/Mtokens or 2/ksearches.  [default: podium's list of prices]"
)
@click.option("--plan", is_flag=True, help="Score a sample, and print the pairs and the time that the job would take.")
@click.option("--machine-price", type=float, metavar="DOLLARS", help="For --plan: price of a machine like this one per hour.")
@click.option("--strict", is_flag=True, help="Stop at the first bad row.")
@click.option("--restart", is_flag=True, help="Delete the results of another job in the folder, and start.")
@model_options
def run(
    inputs: Sequence[str],
    to: str,
    by: str | None,
    model: str,
    columns: str | None,
    copy: str | None,
    plan: bool,
    machine_price: float | None,
    load_options: dict[str, Any],
    **options: Any,
) -> int:
    """Rerank the queries of files.

    IN is a file, a folder, a glob in quotes or a URL (s3://, gs://, hf://) of .parquet, .arrow, .jsonl, .csv, .tsv or .run;
    the last four also with .gz or .zst. The job is divided into parts, and the results of a part appear in FOLDER/parts when
    they are complete. After an interruption, run the same command again. Bad rows are in FOLDER/rejected.parquet, and the exit
    code is 1 if there are any.
    """
    options |= {
        "columns": _columns(columns),
        "copy": comma_list(copy),
        "rank_by": None if by is None else comma_list(by),
        "progress": True,
    }
    if not plan:
        refuse({"machine_price": machine_price}, "only --plan has the option")
    with load(model, **load_options) as reranker:
        if plan:
            plan_options = {name: options[name] for name in PLAN_OPTIONS}
            _print_plan(plan_batch(inputs, reranker=reranker, machine_price=machine_price, **plan_options))
            return 0
        try:
            with contextlib.redirect_stdout(sys.stderr):  # Ray prints messages on stdout
                result = run_batch(inputs, to, reranker=reranker, **options)
        except KeyboardInterrupt:
            click.echo("note: complete parts remain; the same command continues the job", err=True)
            raise
    _print_result(result)
    return 1 if result.rejected else 0


@batch.command()
@click.argument("folder")
@click.option("--sample", type=POSITIVE, default=20, show_default=True, metavar="N", help="Number of parts, chosen at random.")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Seed of the random choice.")
@model_options
def verify(folder: str, sample: int, seed: int, load_options: dict[str, Any]) -> int:
    """Compute parts of the results in FOLDER again, and compare them.

    The model is that of the job. It is loaded with the job's options, except those that this command sets. The exit code is 1
    if a part differs.
    """
    name, job_options = job_model(Path(folder))
    with load(name, **job_options | load_options) as reranker:
        result = verify_batch(folder, sample=sample, seed=seed, reranker=reranker, progress=True)
    for path, row in zip(result.different, result.rows, strict=True):
        first_row = "" if row is None else f" from row {row:,} on"
        print(f"{path} differs{first_row}; to compute it again, delete it and run the job again")
    equal_count = result.parts - len(result.different)
    checked = _counted(result.parts, "checked part")
    print(f"{equal_count:,} of {checked} gave the same results; the job has {_counted(result.complete, 'complete part')}")
    if result.missing:
        parts = "1 part of the job is" if result.missing == 1 else f"{result.missing:,} parts of the job are"
        click.echo(f"note: {parts} missing; run the job again", err=True)
    return 1 if result.different else 0


def _columns(text: str | None) -> dict[str, str]:
    """Return the columns in NAME=COLUMN,… by name. Raises InvalidInput."""
    columns = {}
    for entry in comma_list(text):
        name, _, column = entry.partition("=")
        columns[name] = column
    if not all(columns.values()):
        raise InvalidInput(Argument("columns"), " must have entries such as query=question, separated by commas")
    return columns


def _print_plan(plan: Plan) -> None:
    files = f"{_counted(plan.files, 'file')} and {_counted(plan.parts, 'part')}"
    print(f"{_counted(plan.pairs, 'pair')} in {files}, estimated from {_counted(plan.sample_pairs, 'pair')}")
    print(f"about {_counted(plan.tokens, 'token')}, at {CHARACTERS_PER_TOKEN} characters per token")
    if plan.pairs_per_second is None:
        print("the model is hosted, so no request was sent and its speed is unknown")
        if plan.price is None:
            print("the price of the model is not listed, so the cost is unknown; name it with --price 0.05/Mtokens")
        else:
            print(f"about {plan.cost():,.2f} US dollars, estimated at {plan.price}")
        return
    print(f"{plan.pairs_per_second:,.0f} pairs/s on this machine")
    columns = ["machines like this one", "time"]
    # The times and costs are not None, because the speed and the price are known.
    rows = [[f"{machines:,}", _duration(plan.seconds(machines) or 0.0)] for machines in PLANNED_MACHINES]
    if plan.machine_price is not None:
        columns.append("US dollars")
        for row, machines in zip(rows, PLANNED_MACHINES, strict=True):
            row.append(f"{plan.cost(machines) or 0.0:,.2f}")
    print_rows(columns, rows)
    if plan.parts < max(PLANNED_MACHINES):
        print(f"a part is computed by one machine, so more machines than parts ({plan.parts:,}) do not help; see --part-size")


def _counted(count: int, noun: str) -> str:
    """Return a number with its noun, such as "1 query" or "2 queries"."""
    plural = f"{noun.removesuffix('y')}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


def _duration(seconds: float) -> str:
    """Return a number of seconds in a unit that suits it."""
    units = (("days", 86_400), ("hours", 3600), ("minutes", 60))
    return next((f"{seconds / size:,.1f} {name}" for name, size in units if seconds >= 2 * size), f"{seconds:.0f} seconds")


def _print_result(result: BatchResult) -> None:
    line = f"{_counted(result.pairs, 'pair')} of {_counted(result.queries, 'query')} in {_counted(result.parts, 'part')}"
    if result.complete_before:
        line += f", {result.complete_before:,} of them earlier"
    if result.complete_before < result.parts:
        line += f"; {result.seconds:.1f} s, {result.computed_pairs / max(1e-9, result.seconds):,.0f} pairs/s"
    print(line)
    for note in result.notes:
        click.echo(f"note: {note}", err=True)
    if result.cost is not None:
        click.echo(f"note: the estimated cost of this command is {result.cost:.4f} US dollars", err=True)
    if result.rejected:
        rows = "1 bad row was" if result.rejected == 1 else f"{result.rejected:,} bad rows were"
        click.echo(f"note: {rows} not scored; see {result.folder / 'rejected.parquet'}", err=True)
