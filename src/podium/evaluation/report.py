"""A page that shows an evaluation: one file, nothing from a network, readable on a phone and without colour."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import numpy as np

from podium.errors import PodiumError
from podium.evaluation.evaluate import Evaluation, Moved, System, movements
from podium.evaluation.plots import bars, lines

__all__ = ["page", "reliability", "write_report"]

BINS, SHOWN, DEPTHS = 10, 5, (1, 2, 3, 5, 10, 20, 30, 50, 75, 100)

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
"""What a page says about how its evaluation came about, as (name, value)."""


def write_report(path: str | os.PathLike[str], found: Evaluation, notes: Sequence[str] = (), facts: Facts = ()) -> None:
    """Write the page of an evaluation."""
    try:
        Path(path).write_text(page(found, notes, facts), encoding="utf-8")
    except OSError as error:
        raise PodiumError(f"cannot write {path}: {error.strerror or error}") from error


def page(found: Evaluation, notes: Sequence[str] = (), facts: Facts = ()) -> str:
    """Return the page: facts and tables, then for each reranker its differences, its scores, and the queries it moved most."""
    name = escape(found.collection.name)
    parts = [*_tables(found), *(f'<p class="note">{escape(note)}</p>' for note in notes), _recall(found)]
    for system in found.systems:
        if system.name in found.differences:
            parts += [
                f"<h2>{escape(system.name)}</h2>",
                _differences(found, system),
                *_score_plots(found, system),
                *_moved(found, system),
            ]
    counts = f"{len(found.collection.queries)} queries, {len(found.collection.documents)} documents"
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name}</title><style>{STYLE}</style><h1>{name}</h1><p>{counts}. Every reranker orders the same candidates; "
        "the first row is the order they came in, the ceiling the best that any order could be.</p>"
        f"{_list(facts)}"
        f"{''.join(parts)}</html>\n"
    )


def reliability(scores: Sequence[float], relevant: Sequence[bool]) -> list[tuple[float, float, int]]:
    """Return, for each tenth of the scores' range from 0 to 1 that has any, their mean, the share relevant, and how many."""
    values, hits = np.asarray(scores, np.float64), np.asarray(relevant, bool)
    places = np.minimum((values * BINS).astype(int), BINS - 1)
    return [
        (float(values[places == at].mean()), float(hits[places == at].mean()), int((places == at).sum()))
        for at in range(BINS)
        if (places == at).any()
    ]


def _list(facts: Facts) -> str:
    return f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{escape(value)}</dd>' for name, value in facts)}</dl>" if facts else ""


def _tables(found: Evaluation) -> Iterator[str]:
    systems = (found.baseline, *found.systems)
    yield _table(
        ("", *found.metrics),
        [(each.name, *(f"{found.mean(each.name, metric):.4f}" for metric in found.metrics)) for each in systems],
    )
    rows = [
        (name, f"{each.mean:+.4f}", f"{each.low:+.4f} … {each.high:+.4f}", f"{found.corrected[name]:.4f}",
         f"{each.wins} / {each.ties} / {each.losses}", f"{found.judged[name]:.2f}")
        for name, each in found.differences.items()
    ]  # fmt: skip
    if rows:
        yield f"<h2>Difference to the first stage in {escape(found.metrics[0])}</h2>"
        yield _table(("", "mean", "95 % interval", "p", "better / same / worse", "judged@10"), rows)
        yield (
            '<p class="note">Over queries, paired: a bootstrap interval, and p of a randomisation test, corrected by Holm for '
            "the number of rerankers. judged@10: which share of the first ten documents anybody judged; the others count as "
            "irrelevant.</p>"
        )


def _recall(found: Evaluation) -> str:
    depths = [depth for depth in DEPTHS if depth <= max((len(each) for each in found.baseline.run.values()), default=1)] or [1]
    systems = [system for system in (found.baseline, *found.systems) if system.name != "ceiling"]
    series = [(system.name, [(depth, _recall_at(found, system, depth)) for depth in depths]) for system in systems]
    return lines(
        "Relevant documents found among the first …", series, x_name="documents read", y_name="share", x_reach=(1, depths[-1])
    )


def _recall_at(found: Evaluation, system: System, depth: int) -> float:
    shares = []
    for query, grades in found.collection.qrels.items():
        relevant = {document for document, grade in grades.items() if grade > 0}
        shares.append(len(relevant & set(list(system.run.get(query, {}))[:depth])) / len(relevant))
    return sum(shares) / len(shares)


def _differences(found: Evaluation, system: System) -> str:
    metric = found.metrics[0]
    after, before = found.values[system.name][metric], found.values[found.baseline.name][metric]
    order = sorted(before, key=lambda query: before[query] - after[query])
    labels = [found.collection.queries[query][:80] for query in order]
    each = found.differences[system.name]
    title = f"{metric} of each query against the first stage: {each.wins} better, {each.ties} same, {each.losses} worse"
    return bars(
        title, [after[query] - before[query] for query in order], labels, y_name=f"Δ {metric}", x_name="queries, best first"
    )


def _score_plots(found: Evaluation, system: System) -> Iterator[str]:
    pairs = [
        (score, found.collection.qrels[query].get(document, 0) > 0)
        for query, each in system.run.items()
        for document, score in each.items()
    ]
    scores = np.array([score for score, _ in pairs])
    relevant = np.array([hit for _, hit in pairs], bool)
    if not relevant.any() or relevant.all():
        return
    # What a document without text was given lies far below every score, and is none.
    reach = (float(np.percentile(scores, 0.1)), float(scores.max()))
    series = [(name, _histogram(scores[mask], reach)) for name, mask in (("relevant", relevant), ("other", ~relevant))]
    most = max(y for _, points in series for _, y in points)
    yield lines("Where scores lie", series, x_name="score", y_name="share", x_reach=reach, y_most=most)
    if system.score_kind in ("sigmoid", "probability"):
        points = [(mean, share) for mean, share, _ in reliability(scores.tolist(), relevant.tolist())]
        perfect = [(0.0, 0.0), (1.0, 1.0)]
        yield lines(
            "Share of relevant documents at each score", [(system.name, points), ("a perfectly calibrated score", perfect)],
            x_name="score", y_name="share relevant", x_reach=(0, 1),
        )  # fmt: skip


def _histogram(scores: np.ndarray[tuple[int], np.dtype[np.float64]], reach: tuple[float, float]) -> list[tuple[float, float]]:
    counts, edges = np.histogram(scores, bins=24, range=reach)
    return [((low + high) / 2, count / len(scores)) for low, high, count in zip(edges, edges[1:], counts, strict=False)]


def _moved(found: Evaluation, system: System) -> Iterator[str]:
    for what, moved in zip(("Helped most", "Hurt most"), movements(found, system, SHOWN), strict=True):
        if moved:
            yield f"<h3>{what}</h3>"
            yield _table(("query", found.metrics[0], "its best document's rank"), [_moved_row(found, each) for each in moved])


def _moved_row(found: Evaluation, each: Moved) -> tuple[str, ...]:
    ranks = f"{each.rank_before or '–'} → {each.rank_after or '–'}"
    return found.collection.queries[each.query], f"{each.before:.2f} → {each.after:.2f}", ranks


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td{" class=words" if not at else ""} data-label="{escape(name, quote=True)}">{escape(cell)}</td>'
            for at, (name, cell) in enumerate(zip(columns, row, strict=True))
        )
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
