"""Metrics of a run against judgments, by ir_measures, the field's library. Names as it has them: nDCG@10, RR@10, AP, R@100."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from podium.errors import InvalidInput
from podium.evaluation.collections import Qrels
from podium.evaluation.runs import Run
from podium.extras import needed

__all__ = ["DEFAULT_METRICS", "PerQuery", "checked_metrics", "judged", "mean", "per_query"]

DEFAULT_METRICS = ("nDCG@10", "RR@10", "AP", "R@100", "P@5", "Success@1")
PerQuery = Mapping[str, float]
"""A metric's value by query."""


def checked_metrics(names: Sequence[str]) -> tuple[str, ...]:
    """Return the metrics' names as ir_measures writes them. Raises InvalidInput for one that it does not know."""
    return tuple(str(_parsed(name)) for name in names)


def per_query(metrics: Sequence[str], qrels: Qrels, run: Run) -> dict[str, dict[str, float]]:
    """Return each metric's value of every query that is judged; a query that the run lacks has 0."""
    library = needed("ir_measures", "eval")
    parsed = {_parsed(name): name for name in metrics}
    values: dict[str, dict[str, float]] = {name: dict.fromkeys(qrels, 0.0) for name in metrics}
    for each in library.iter_calc(list(parsed), _plain(qrels), _ranked(run)):
        values[parsed[each.measure]][each.query_id] = float(each.value)
    return values


def judged(qrels: Qrels, run: Run, depth: int = 10) -> dict[str, float]:
    """Return, by query, which share of the first `depth` documents has a judgment at all."""
    shares = {}
    for query, grades in qrels.items():
        first = list(run.get(query, {}))[:depth]
        shares[query] = sum(document in grades for document in first) / len(first) if first else 1.0
    return shares


def mean(values: PerQuery) -> float:
    return sum(values.values()) / len(values) if values else 0.0


def _ranked(run: Run) -> dict[str, dict[str, float]]:
    """Return the run with its order made plain in its scores: trec_eval breaks ties its own way, by the documents' names."""
    return {query: {document: float(-at) for at, document in enumerate(found)} for query, found in run.items()}


def _plain(qrels: Qrels) -> dict[str, dict[str, int]]:
    return {query: dict(grades) for query, grades in qrels.items()}


def _parsed(name: str) -> Any:
    library = needed("ir_measures", "eval")
    try:
        return library.parse_measure(name)
    except (ValueError, NameError, SyntaxError) as error:
        raise InvalidInput(
            f"ir_measures knows no metric {name!r:.40}; it has nDCG@10, RR@10, AP, R@100, P@5, Success@1 …"
        ) from error
