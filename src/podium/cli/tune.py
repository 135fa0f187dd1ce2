"""podium tune: select a composition and its options on a test collection, and write them to a configuration file."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import click

from podium.cli.first_stages import first_stage
from podium.cli.options import candidates_option
from podium.cli.tables import print_rows
from podium.compose.stores.sqlite import SqliteScores
from podium.errors import Argument, InvalidInput, PodiumError
from podium.evaluation.collections import read_collection
from podium.evaluation.evaluate import first_stage_run
from podium.evaluation.metrics import checked_metrics
from podium.load import check_name, is_stack
from podium.progress import bar
from podium.tuning.grid import Setting
from podium.tuning.tune import Tuned, write_stack
from podium.tuning.tune import tune as tune_on

__all__ = ["tune"]

FEW_QUERIES = 50  # with fewer, only large gains can be told from noise


@click.command()
@click.argument("data")
@click.option(
    "--reranker", "names", multiple=True, default=("podium-mini",), show_default=True, metavar="NAME",
    help="Model, as for podium.load. The first is the plain reranker; with others, cascades are tried. Can be repeated.",
)  # fmt: skip
@click.option("--out", required=True, metavar="FILE.toml", help="File for the selected configuration.")
@click.option("--metric", default="nDCG@10", show_default=True, help="Metric of ir_measures by which settings are compared.")
@candidates_option
@click.option("--folds", type=click.IntRange(min=2), default=5, show_default=True, metavar="N", help="Folds of the queries.")
@click.option("--embed", metavar="NAME", help="Embedder with which Neighbours is tried.  [default: it is not tried]")
@click.option("--run", "run_file", metavar="FILE", help="TREC run with the candidates.  [default: BM25 finds them]")
@click.option("--queries", metavar="FILE", help="File of queries that replace those of DATA: JSON lines, TSV or TREC topics.")
@click.option("--qrels", metavar="FILE", help="File of judgments that replace those of DATA: TSV or TREC.")
@click.option(
    "--scores", "scores_file", metavar="FILE", help="File that stores scores, so that later runs do not compute them."
)
def tune(
    data: str,
    names: Sequence[str],
    out: str,
    metric: str,
    candidates: int,
    folds: int,
    embed: str | None,
    run_file: str | None,
    queries: str | None,
    qrels: str | None,
    scores_file: str | None,
) -> None:
    """Select the best composition and options for a test collection.

    DATA is a folder in BEIR's layout, or a CSV with the columns query, document and grade. A grid of settings is compared:
    fusion with the first stage, cascades, neighbours, passages, number of candidates and precision. A difference within noise
    selects nothing. The gain is estimated by cross-validation, on queries that were not used to select. Confirm it with
    podium eval --reranker FILE.toml on other queries.
    """
    _check_arguments(names, out, metric)
    collection = read_collection(data, queries=queries, qrels=qrels)
    with (
        first_stage(collection, run_file) as search,
        bar(len(collection.queries), is_shown=True, label="searching") as advance,
    ):
        baseline = first_stage_run(collection, search, candidates, advance)
    with contextlib.ExitStack() as files:
        store = files.enter_context(contextlib.closing(SqliteScores(scores_file))) if scores_file else None
        tuned = tune_on(
            collection,
            baseline.run,
            names,
            metric=metric,
            candidates=candidates,
            folds=folds,
            embed=embed,
            store=store,
            open_bar=lambda total, label: bar(total, is_shown=True, label=label),
        )
    arguments = click.get_current_context().find_root().obj or ()
    lines = [_gain(tuned), _folds(tuned)]
    write_stack(out, tuned.selected, [shlex.join(["podium", *arguments]), *lines])
    _print(tuned, collection.name, lines, out)


def _check_arguments(names: Sequence[str], out: str, metric: str) -> None:
    """Raise PodiumError for a wrong argument, before anything is computed."""
    checked_metrics([metric])
    if not is_stack(out):
        raise InvalidInput(Argument("out"), f" must be a file whose name ends with .toml, not {out}")
    folder = os.path.dirname(os.path.abspath(out))
    if not (os.path.isdir(folder) and os.access(folder, os.W_OK)) or Path(out).is_dir():
        raise PodiumError(Argument("out"), f": cannot write {out}; name a file in a folder that exists and is writable")
    if len(set(names)) < len(names):
        raise InvalidInput("each ", Argument("reranker"), " must be named once")
    for name in names:
        if is_stack(name):
            raise InvalidInput(Argument("reranker"), f" {name} is a configuration file; name the models to combine")
        check_name(name)


def _print(tuned: Tuned, collection: str, lines: Sequence[str], out: str) -> None:
    print(f"{collection}: {tuned.query_count} queries, {len(tuned.settings)} settings\n")
    selection = tuned.selection
    columns = ("", "setting", f"{tuned.metric} on these queries", "time per query")
    rows = [_row("plain", tuned.plain, tuned.means[0], tuned.plain_seconds)]
    if selection.preferred_index != 0:
        label = "preferred" if selection.selected_index == 0 else "selected"
        rows.append(_row(label, tuned.preferred, tuned.means[selection.preferred_index], tuned.preferred_seconds))
    print_rows(columns, rows)
    print()
    if selection.selected_index == 0:
        print("no setting is better than the plain reranker by more than noise, so that was selected")
    for line in lines:
        print(line)
    print(f"written to {out}")
    if tuned.query_count < FEW_QUERIES:
        click.echo(f"note: with {tuned.query_count} queries, only large gains can be told from noise", err=True)


def _row(label: str, setting: Setting, mean: float, seconds: float) -> tuple[str, ...]:
    return label, str(setting), f"{mean:.4f}", f"{1000 * seconds:.1f} ms"


def _gain(tuned: Tuned) -> str:
    gain = tuned.selection.gain
    interval = f"{gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}], p = {gain.p:.3f}"
    return f"gain in {tuned.metric} on queries that were not used to select: {interval}"


def _folds(tuned: Tuned) -> str:
    fold_indices = tuned.selection.fold_indices
    same_count = fold_indices.count(tuned.selection.preferred_index)
    return f"{same_count} of {len(fold_indices)} folds have the same best setting"
