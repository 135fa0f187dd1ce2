"""podium eval: what rerankers do to a search, on a test collection."""

from __future__ import annotations

import contextlib
import datetime
import os
import shlex
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from podium.cli.first_stages import first_stage, first_stage_name, without_passwords
from podium.cli.options import fitting, model_options
from podium.cli.source_options import source_options
from podium.cli.tables import print_rows
from podium.compose.cached import CachedScorer
from podium.compose.stores.sqlite import SqliteScores
from podium.errors import PodiumError
from podium.evaluation.collections import Collection, read_collection
from podium.evaluation.evaluate import Evaluation, System, ceiling, compared, first_run, movements, rerank_run
from podium.evaluation.metrics import DEFAULT_METRICS, checked_metrics
from podium.evaluation.runs import check_ids, write_run
from podium.inputs import comma_list
from podium.load import load
from podium.places import SourceOptions
from podium.progress import bar

__all__ = ["evaluate", "print_evaluation", "warnings"]

SHOWN = 3


@click.command(name="eval")
@click.argument("data")
@click.option("--reranker", "names", multiple=True, metavar="NAME", help="As for podium.load; several, one after the other.")
@click.option(
    "--metrics", default=",".join(DEFAULT_METRICS), show_default=True, help="As ir_measures names them; the first decides."
)
@click.option(
    "--candidates", type=click.IntRange(min=1), default=100, show_default=True, metavar="N", help="Documents a query."
)
@click.option("--run", "run_file", metavar="FILE", help="The first stage: a TREC run.  [default: BM25]")
@click.option("--in", "where", metavar="PLACE", help="The first stage: an index whose ids are the collection's.")
@source_options()
@click.option("--queries", metavar="FILE", help="Other queries than DATA's own: JSON lines, TSV, TREC topics.")
@click.option("--qrels", metavar="FILE", help="Other judgments than DATA's own: TSV, TREC.")
@click.option("--runs", "runs_folder", metavar="FOLDER", help="Write a TREC run file per system.")
@click.option("--report", metavar="FILE.html", help="Write a page with the table and plots.")
@click.option("--scores", "scores_file", metavar="FILE", help="Keep scores here, and never ask for one twice.")
@model_options
def evaluate(
    data: str,
    names: Sequence[str],
    metrics: str,
    candidates: int,
    run_file: str | None,
    where: str | None,
    source_options: SourceOptions,
    queries: str | None,
    qrels: str | None,
    runs_folder: str | None,
    report: str | None,
    scores_file: str | None,
    options: dict[str, Any],
) -> None:
    """Measure rerankers on a test collection.

    DATA is a folder in BEIR's layout, or a CSV with the columns query, document and grade. Every reranker orders the same
    candidates; the first row is the order they came in, the last the best that any order could be. The options of a search
    are for --in; --embed without it adds the embedder's vectors to BM25.
    """
    chosen = checked_metrics(comma_list(metrics))
    fitted = {name: fitting(options, name, names) for name in names}
    collection = read_collection(data, queries=queries, qrels=qrels)
    _check_outputs(collection, runs_folder, report)
    with bar(len(collection.queries), shown=True, what="searching") as advance:
        baseline = first_run(collection, first_stage(collection, run_file, where, source_options), candidates, advance)
    with contextlib.closing(SqliteScores(scores_file)) if scores_file else contextlib.nullcontext() as store:
        systems = [_reranked(collection, baseline, name, store, fitted[name]) for name in names]
    found = compared(collection, baseline, [*systems, ceiling(collection, baseline.run)], chosen)
    print_evaluation(found)
    if runs_folder:
        _write_runs(Path(runs_folder), found)
    if report:
        from podium.evaluation.report import write_report

        write_report(report, found, warnings(found), _facts(found, first_stage_name(run_file, where, source_options.embed)))


def _facts(found: Evaluation, first_stage: str) -> list[tuple[str, str]]:
    """Return what a report says about how it came about."""
    arguments = click.get_current_context().find_root().obj or ()
    command = shlex.join(["podium", *arguments])
    models = [f"{each.name} (revision {each.revision or 'unknown'})" for each in found.systems if each.score_kind]
    return [
        ("first stage", first_stage),
        ("rerankers", ", ".join(models) or "none"),
        ("date", datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="minutes")),
        ("podium", metadata.version("podium")),
        ("command", without_passwords(command)),
    ]


def print_evaluation(found: Evaluation) -> None:
    """Print the table, what the differences are worth, and which queries moved."""
    collection, first = found.collection, found.metrics[0]
    documents = f", {len(collection.documents)} documents" if collection.documents else ""
    print(f"{collection.name}: {len(collection.queries)} queries{documents}\n")
    systems = (found.baseline, *found.systems)
    print_rows(
        ("", *found.metrics), [(each.name, *(f"{found.mean(each.name, m):.4f}" for m in found.metrics)) for each in systems]
    )
    if found.differences:
        print()
        print_rows(
            (f"Δ {first}", "mean", "95 % interval", "p", "better/same/worse", "judged@10"),
            [(name, *_difference(found, name)) for name in found.differences],
        )
    if any(each.score_kind for each in found.systems):  # scored here, not read from a run
        print()
        print_rows(
            ("cost", "documents/s", "s/query", "95th", "tokens", "billed"),
            [(each.name, *_cost(each)) for each in found.systems if each.name in found.differences],
        )
    for system in found.systems:
        if system.name in found.differences:
            _print_movements(found, system)
    for note in warnings(found):
        click.echo(f"note: {note}", err=True)


def warnings(found: Evaluation) -> list[str]:
    """Return what a reader should know before trusting the table."""
    said = _unjudged_candidates(found.collection)
    for name, each in found.differences.items():
        unjudged = 1 - found.judged[name]
        if unjudged > 0.1 and unjudged > abs(each.mean):
            said.append(
                f"{name}: {unjudged:.0%} of its first ten documents have no judgment; they count as irrelevant and could decide"
            )
    for system in found.systems:
        said += [f"{system.name}: {note}" for note in system.notes]
    return said


def _unjudged_candidates(collection: Collection) -> list[str]:
    """Return a note on the candidates that a collection names but does not judge."""
    listed = [(query, document) for query in collection.queries for document in collection.candidates.get(query, ())]
    unjudged = sum(document not in collection.qrels[query] for query, document in listed)
    return [f"{unjudged} of {len(listed)} candidates have no judgment; they count as not relevant"] if unjudged else []


def _difference(found: Evaluation, name: str) -> tuple[str, ...]:
    each = found.differences[name]
    return (
        f"{each.mean:+.4f}",
        f"{each.low:+.4f} … {each.high:+.4f}",
        f"{found.corrected[name]:.4f}",
        f"{each.wins}/{each.ties}/{each.losses}",
        f"{found.judged[name]:.2f}",
    )


def _cost(system: System) -> tuple[str, ...]:
    if not system.seconds:
        return ("remembered", "", "", *_paid(system))
    ordered = sorted(system.seconds)
    median, late = ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return (f"{system.documents / sum(ordered):.0f}", f"{median:.3f}", f"{late:.3f}", *_paid(system))


def _paid(system: System) -> tuple[str, str]:
    billed = ", ".join(f"{amount:g} {unit}" for unit, amount in system.billed.items())
    return ("" if system.tokens is None else f"{system.tokens:,}", billed or "–")


def _print_movements(found: Evaluation, system: System) -> None:
    for what, moved in zip(("helped most", "hurt most"), movements(found, system, SHOWN), strict=True):
        rows = [
            (
                each.query,
                f"{each.before:.2f} → {each.after:.2f}",
                _ranks(each.rank_before, each.rank_after),
                found.collection.queries[each.query][:60],
            )
            for each in moved
        ]
        if rows:
            print(f"\n{system.name}, {what}")
            print_rows(("query", found.metrics[0], "best document", ""), rows)


def _ranks(before: int | None, after: int | None) -> str:
    return f"{before or '–'} → {after or '–'}"


def _reranked(
    collection: Collection, baseline: System, name: str, store: SqliteScores | None, options: dict[str, Any]
) -> System:
    pairs = sum(len(found) for found in baseline.run.values())
    with load(name, **options) as reranker:
        used = reranker.with_scorer(CachedScorer(reranker.scorer, store)) if store else reranker
        with bar(pairs, shown=True, what=f"scoring with {name}") as advance:
            return rerank_run(collection, baseline.run, used, name, advance)


def _check_outputs(collection: Collection, runs_folder: str | None, report: str | None) -> None:
    """Raise before anything is computed what could not be written afterwards."""
    if runs_folder:
        check_ids(collection.queries)
        check_ids(collection.documents)
        try:
            Path(runs_folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PodiumError(f"--runs: cannot make the folder {runs_folder} ({error.strerror}); name another") from error
    for option, path in (("--runs", runs_folder), ("--report", report and os.path.dirname(os.path.abspath(report)))):
        if path and not (os.path.isdir(path) and os.access(path, os.W_OK)):
            raise PodiumError(f"{option}: cannot write into {path}; name a folder that is there and may be written")
    if report and os.path.isdir(report):
        raise PodiumError(f"--report: cannot write {report}, which is a folder; name a file in it")


def _write_runs(folder: Path, found: Evaluation) -> None:
    for system in (found.baseline, *found.systems):
        if system.name != "ceiling":
            file = "".join(letter if letter.isalnum() or letter in "-._" else "-" for letter in system.name)
            write_run(folder / f"{file}.run", system.run, system.name)
