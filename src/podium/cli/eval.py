"""podium eval: measure rerankers on a test collection."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import shlex
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from podium.cli.evaluation import metrics_option, print_evaluation
from podium.cli.first_stages import first_stage, first_stage_name, without_passwords
from podium.cli.options import candidates_option, model_options, options_for
from podium.cli.source_options import source_options as add_source_options
from podium.compose.cached import CachedScorer
from podium.compose.stores.sqlite import SqliteScores
from podium.errors import Argument, InvalidInput, PodiumError
from podium.evaluation.collections import Collection, read_collection
from podium.evaluation.evaluate import (
    CEILING,
    FIRST_STAGE,
    Evaluation,
    System,
    ceiling,
    check_names,
    compare_systems,
    first_stage_run,
    rerank_run,
)
from podium.evaluation.metrics import checked_metrics
from podium.evaluation.runs import check_ids, write_run
from podium.inputs import comma_list, refuse
from podium.load import is_stack, load
from podium.places import SourceOptions
from podium.progress import bar
from podium.ranking import Reranker
from podium.scorers import BaseScorer
from podium.stacks import model_scorer, read_stack

__all__ = ["evaluate"]


@click.command(name="eval")
@click.argument("data")
@click.option("--reranker", "names", multiple=True, metavar="NAME", help="Model, as for podium.load. Can be repeated.")
@metrics_option
@candidates_option
@click.option(
    "--run",
    "run_file",
    metavar="FILE",
    help="TREC run with the candidates, a file or an output folder of podium batch.  [default: BM25 finds them]",
)
@click.option("--in", "place", metavar="PLACE", help="Index that finds the candidates, with the collection's ids.")
@add_source_options()
@click.option("--queries", metavar="FILE", help="File of queries that replace those of DATA: JSON lines, TSV or TREC topics.")
@click.option("--qrels", metavar="FILE", help="File of judgments that replace those of DATA: TSV or TREC.")
@click.option("--runs", "runs_folder", metavar="FOLDER", help="Folder for a TREC run file of each system.")
@click.option("--report", "report_file", metavar="FILE.html", help="File for a page with tables and plots.")
@click.option(
    "--scores",
    "scores_file",
    metavar="FILE",
    help="File that stores scores, so that later runs do not compute them.",
)
@model_options
def evaluate(
    data: str,
    names: Sequence[str],
    metrics: str,
    candidates: int,
    run_file: str | None,
    place: str | None,
    source_options: SourceOptions,
    queries: str | None,
    qrels: str | None,
    runs_folder: str | None,
    report_file: str | None,
    scores_file: str | None,
    load_options: dict[str, Any],
) -> None:
    """Measure rerankers on a test collection.

    DATA is a folder in BEIR's layout, or a CSV with the columns query, document and grade. A first stage finds the candidates
    of each query, and every reranker orders the same candidates. The first row of the table is the order of the first stage.
    The last row is the best possible order. The options of a search are for --in. Without --in, --embed adds a search by
    vectors to BM25.
    """
    check_names([FIRST_STAGE, *names, CEILING])
    metric_names = checked_metrics(comma_list(metrics))
    options_by_name = {name: options_for(load_options, name, names) for name in names}  # raises InvalidInput before models load
    collection = read_collection(data, queries=queries, qrels=qrels)
    _check_outputs(collection, names, runs_folder, report_file)
    with (
        first_stage(collection, run_file, place, source_options) as stage,
        bar(len(collection.queries), is_shown=True, label="searching") as advance,
    ):
        baseline = first_stage_run(collection, stage, candidates, advance)
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(contextlib.closing(SqliteScores(scores_file))) if scores_file else None
        systems = [_system(collection, baseline, name, store, options_by_name[name]) for name in names]
    evaluation = compare_systems(collection, baseline, [*systems, ceiling(collection, baseline.run)], metric_names)
    print_evaluation(evaluation)
    if runs_folder:
        _write_runs(Path(runs_folder), evaluation)
    if report_file:
        from podium.evaluation.report import write_report

        write_report(report_file, evaluation, _facts(evaluation, first_stage_name(run_file, place, source_options.embed)))


def _system(
    collection: Collection, baseline: System, name: str, store: SqliteScores | None, load_options: dict[str, Any]
) -> System:
    """Load a model, and return its run on the candidates of the baseline. Scores are read from and written to `store`."""
    with contextlib.closing(_reranker(name, store, load_options)) as reranker:
        run = {query_id: dict(list(scores.items())[: reranker.candidates]) for query_id, scores in baseline.run.items()}
        with bar(sum(map(len, run.values())), is_shown=True, label=f"scoring with {name}") as advance:
            return rerank_run(collection, run, reranker, name, advance)


def _reranker(name: str, store: SqliteScores | None, load_options: dict[str, Any]) -> Reranker:
    """Load a model or a configuration file. In the latter, the scores of each model are stored, and not those of the whole."""
    if store is None:
        return load(name, **load_options)
    if is_stack(name):
        refuse(load_options, f"{name} has the options of its models in it, so do not use")
        stack = read_stack(name)
        return stack.reranker(stack.scorer(load_model=lambda model, options: _cached(model_scorer(model, options), store)))
    loaded = load(name, **load_options)
    return loaded.with_scorer(CachedScorer(loaded.scorer, store))


def _cached(scorer: BaseScorer, store: SqliteScores) -> BaseScorer:
    """Return a scorer that stores its scores. Those of a listwise model cannot be stored."""
    return scorer if scorer.listwise else CachedScorer(scorer, store)


def _check_outputs(collection: Collection, names: Sequence[str], runs_folder: str | None, report_file: str | None) -> None:
    """Create the folder for runs. Raise PodiumError if an output cannot be written, before anything is computed."""
    if runs_folder:
        check_ids(collection.queries)
        check_ids(collection.documents)
        names_by_file: dict[str, str] = {}
        for name in (FIRST_STAGE, *names):
            other = names_by_file.setdefault(_run_file_name(name), name)
            if other != name:
                problem = f": {other} and {name} would be written to the same file, {_run_file_name(name)}; rename a folder"
                raise InvalidInput(Argument("runs"), problem)
        try:
            Path(runs_folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            problem = f": cannot make the folder {runs_folder} ({error.strerror}); name another"
            raise PodiumError(Argument("runs"), problem) from error
        _check_writable("runs", runs_folder)
    if report_file:
        _check_writable("report", os.path.dirname(os.path.abspath(report_file)))
        if os.path.isdir(report_file):
            raise PodiumError(Argument("report"), f": cannot write {report_file}, which is a folder; name a file in it")


def _check_writable(option: str, folder: str) -> None:
    """Raise PodiumError, whose message names the option, if files cannot be written into the folder."""
    if not (os.path.isdir(folder) and os.access(folder, os.W_OK)):
        raise PodiumError(Argument(option), f": cannot write into {folder}; name a folder that exists and is writable")


def _write_runs(folder: Path, evaluation: Evaluation) -> None:
    """Write a run for each system. The best possible order ("ceiling") is left out, because no system computed it."""
    for system in (evaluation.baseline, *evaluation.systems):
        if system.is_compared:
            write_run(folder / _run_file_name(system.name), system.run, system.name)


def _run_file_name(system_name: str) -> str:
    return re.sub(r"[^\w.-]", "-", system_name) + ".run"


def _facts(evaluation: Evaluation, first_stage: str) -> list[tuple[str, str]]:
    """Return (name, value) pairs for the report: how and when the evaluation was made."""
    arguments = click.get_current_context().find_root().obj or ()
    models = [f"{system.name} (revision {system.revision or 'unknown'})" for system in evaluation.systems if system.score_kind]
    return [
        ("first stage", first_stage),
        ("rerankers", ", ".join(models) or "none"),
        ("date", datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="minutes")),
        ("podium", metadata.version("podium")),
        ("command", without_passwords(shlex.join(["podium", *arguments]))),
    ]
