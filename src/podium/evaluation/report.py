"""Write an evaluation as one HTML page. It loads nothing from a network, and is readable on a phone and without colour."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import numpy as np

from podium.documents import texts_of
from podium.errors import PodiumError
from podium.evaluation.calibration import reliability
from podium.evaluation.evaluate import Evaluation, System
from podium.evaluation.plots import bar_chart, line_chart
from podium.evaluation.tables import Table, difference_table, mean_table, movement_tables, warnings

__all__ = ["page", "write_report"]

MAX_MOVEMENTS = 5  # the number of queries that are listed as helped most, and as hurt most
SCORE_BINS = 24  # the number of bins in the distribution of scores
LABEL_CHARACTERS = 80  # the maximum length of a query in the label of a bar
DEPTHS = (1, 2, 3, 5, 10, 20, 30, 50, 75, 100)  # the numbers of documents for which the recall is plotted

STYLE = """
:root{color-scheme:light dark;--ink:#1b1b1f;--faint:#6b6b76;--paper:#fff;--up:#1f6feb;--down:#b3401f;--edge:#d8d8de}
@media(prefers-color-scheme:dark){:root{--ink:#ececf1;--faint:#a2a2ad;--paper:#16161a;--up:#7ab0ff;--down:#ff9d76;--edge:#3a3a44}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);margin:0 auto;max-width:60rem;padding:1rem}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums;min-width:100%}
th,td{padding:.3rem .6rem;text-align:right;border-bottom:1px solid var(--edge);white-space:nowrap}
th:first-child,td:first-child{text-align:left}td.words{text-align:left;white-space:normal;min-width:12rem}
figure{margin:1rem 0}figcaption{font-weight:600;margin-bottom:.3rem}svg{max-width:100%}figure>svg{width:100%}
svg text{font-size:11px;fill:var(--faint)}.up{fill:var(--up)}.down{fill:none;stroke:var(--down)}.same{fill:var(--edge)}
.axis{stroke:var(--faint);fill:none}.series{fill:none;stroke-width:2;stroke:var(--ink)}
.s1{stroke:var(--up)}.s2{stroke:var(--down)}.s3{stroke:var(--faint)}
.legend span{margin-right:1.2rem;white-space:nowrap}.legend{color:var(--faint);font-size:.9rem;margin:.2rem 0}
.note{color:var(--faint)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;margin:.8rem 0;font-size:.95rem}
dt{color:var(--faint)}dd{margin:0;overflow-wrap:anywhere}
@media(max-width:40rem){svg text{font-size:20px}thead{display:none}
tr{display:block;padding:.5rem 0;border-bottom:1px solid var(--edge)}
td{display:flex;justify-content:space-between;gap:1rem;padding:.1rem 0;border:0;white-space:normal}
td::before{content:attr(data-label);color:var(--faint)}td.words{display:block;font-weight:600}td.words::before{content:none}
h1{overflow-wrap:anywhere}.legend span{white-space:normal}}
"""

Facts = Sequence[tuple[str, str]]
"""(name, value) pairs about how the evaluation was done, such as the command."""


def write_report(path: str | os.PathLike[str], evaluation: Evaluation, facts: Facts = ()) -> None:
    """Write the page of an evaluation. Raises PodiumError if the file cannot be written."""
    try:
        Path(path).write_text(page(evaluation, facts), encoding="utf-8")
    except OSError as error:
        raise PodiumError(f"cannot write {path}: {error.strerror or error}") from error


def page(evaluation: Evaluation, facts: Facts = ()) -> str:
    """Return the page as HTML: tables, warnings, recall, and for each compared system, its plots and most changed queries.

    `facts` are listed at the top.
    """
    collection = evaluation.collection
    name = escape(collection.name)
    sections = [_tables(evaluation), *(_note(warning) for warning in warnings(evaluation)), _recall_plot(evaluation)]
    sections += [_system_section(evaluation, system) for system in evaluation.systems if system.is_compared]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name}</title><style>{STYLE}</style><h1>{name}</h1>"
        f"<p>{len(collection.queries)} queries, {len(collection.documents)} documents. Every reranker orders the same "
        "candidates. The first row is the order of the first stage, the ceiling the best possible order.</p>"
        f"{_definition_list(facts)}{''.join(sections)}</html>\n"
    )


def _definition_list(facts: Facts) -> str:
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    return f"<dl>{items}</dl>" if items else ""


def _tables(evaluation: Evaluation) -> str:
    means = _html_table(mean_table(evaluation))
    if not evaluation.differences:
        return means
    return (
        f"{means}<h2>Difference to the first stage in {escape(evaluation.metrics[0])}</h2>"
        + _html_table(difference_table(evaluation))
        + _note(
            "Each difference is the mean over queries, with its interval by bootstrap. p is the p-value of a paired "
            "randomisation test, corrected by Holm for the number of rerankers. judged@10 is the share of the first ten "
            "documents that have a judgment; the others count as irrelevant."
        )
    )


def _system_section(evaluation: Evaluation, system: System) -> str:
    parts = [f"<h2>{escape(system.name)}</h2>", _difference_plot(evaluation, system), *_score_plots(evaluation, system)]
    for title, table in movement_tables(evaluation, system, MAX_MOVEMENTS):
        parts += [f"<h3>{title.capitalize()}</h3>", _html_table(table)]
    return "".join(parts)


def _recall_plot(evaluation: Evaluation) -> str:
    max_depth = max((len(scores) for scores in evaluation.baseline.run.values()), default=1)
    depths = [depth for depth in DEPTHS if depth <= max_depth] or [1]
    systems = [system for system in (evaluation.baseline, *evaluation.systems) if system.is_compared]
    series = [(system.name, [(depth, _recall(evaluation, system, depth)) for depth in depths]) for system in systems]
    return line_chart(
        "Relevant documents among the first …", series, x_name="documents read", y_name="share", x_range=(1, depths[-1])
    )


def _recall(evaluation: Evaluation, system: System, depth: int) -> float:
    """Return the share of the relevant documents that are among a query's first `depth` documents, as the mean over queries."""
    shares = []
    for query_id, grades in evaluation.collection.qrels.items():
        relevant = {document_id for document_id, grade in grades.items() if grade > 0}
        first_documents = list(system.run.get(query_id, {}))[:depth]
        shares.append(len(relevant.intersection(first_documents)) / len(relevant))
    return sum(shares) / len(shares)


def _difference_plot(evaluation: Evaluation, system: System) -> str:
    metric = evaluation.metrics[0]
    before = evaluation.values[evaluation.baseline.name][metric]
    after = evaluation.values[system.name][metric]
    gains = {query_id: after[query_id] - before[query_id] for query_id in before}
    best_first = sorted(gains, key=lambda query_id: -gains[query_id])
    labels = [evaluation.collection.queries[query_id][:LABEL_CHARACTERS] for query_id in best_first]
    difference = evaluation.differences[system.name]
    counts = f"{difference.wins} better, {difference.ties} same, {difference.losses} worse"
    title = f"{metric} of each query against the first stage: {counts}"
    sorted_gains = [gains[query_id] for query_id in best_first]
    return bar_chart(title, sorted_gains, labels, y_name=f"Δ {metric}", x_name="queries, best first")


def _score_plots(evaluation: Evaluation, system: System) -> Iterator[str]:
    """Yield plots of a system's scores. Yield nothing if all or none of the scored documents are relevant.

    Documents without text are left out, because their score is a placeholder, which may be far below all other scores.
    """
    collection = evaluation.collection
    pairs = [
        (score, collection.qrels[query_id].get(document_id, 0) > 0)
        for query_id, scores in system.run.items()
        for document_id, score in scores.items()
        if not math.isnan(score) and texts_of([collection.documents[document_id]]) != [None]
    ]
    scores = np.array([score for score, _ in pairs])
    relevant = np.array([is_relevant for _, is_relevant in pairs], bool)
    if not relevant.any() or relevant.all():
        return
    score_range = (float(scores.min()), float(scores.max()))
    histograms = [
        (name, _histogram(scores[mask], score_range)) for name, mask in (("relevant", relevant), ("other", ~relevant))
    ]
    y_max = max(y for _, points in histograms for _, y in points)
    yield line_chart("Distribution of scores", histograms, x_name="score", y_name="share", x_range=score_range, y_max=y_max)
    if system.score_kind in ("sigmoid", "probability"):
        points = [(mean, share) for mean, share, _ in reliability(scores.tolist(), relevant.tolist())]
        lines = [(system.name, points), ("a perfectly calibrated score", [(0.0, 0.0), (1.0, 1.0)])]
        title = "Share of relevant documents at each score"
        yield line_chart(title, lines, x_name="score", y_name="share relevant", x_range=(0, 1))


def _histogram(
    scores: np.ndarray[tuple[int], np.dtype[np.float64]], score_range: tuple[float, float]
) -> list[tuple[float, float]]:
    """Return the middle of each of SCORE_BINS bins, and the share of the scores in the bin."""
    counts, edges = np.histogram(scores, bins=SCORE_BINS, range=score_range)
    return [((low + high) / 2, count / len(scores)) for low, high, count in zip(edges, edges[1:], counts, strict=False)]


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _html_table(table: Table) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in table.columns)
    rows = "".join(f"<tr>{_html_cells(table.columns, row)}</tr>" for row in table.rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _html_cells(columns: Sequence[str], row: Sequence[str]) -> str:
    """Return a row's cells. The first cell, and any cell in a column without a name, may be a long text and is wrapped."""
    cells = []
    for index, (name, cell) in enumerate(zip(columns, row, strict=True)):
        css_class = ' class="words"' if index == 0 or not name else ""
        cells.append(f'<td{css_class} data-label="{escape(name, quote=True)}">{escape(cell)}</td>')
    return "".join(cells)
