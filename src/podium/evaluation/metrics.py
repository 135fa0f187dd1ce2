"""Metrics of a run against judgments, by ir_measures, the field's library. Names as it has them: nDCG@10, RR@10, AP, R@100."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from podium.errors import InvalidInput
from podium.evaluation.collections import LARGEST_GRADE, Qrels
from podium.evaluation.runs import Run
from podium.extras import needed

__all__ = ["DEFAULT_METRICS", "PerQuery", "checked_metrics", "judged", "mean", "per_query"]

DEFAULT_METRICS = ("nDCG@10", "RR@10", "AP", "R@100", "P@5", "Success@1")
LARGEST_CUTOFF = 1_000_000
PerQuery = Mapping[str, float]
"""A metric's value by query."""


def checked_metrics(names: Sequence[str]) -> tuple[str, ...]:
    """Return the metrics' names as ir_measures writes them.

    Raises InvalidInput for one that it does not know or cannot compute, which is tried on two documents: finding that out
    after every query has been scored would be late.
    """
    checked = tuple(str(_parsed(name)) for name in names)
    for name in checked:
        per_query((name,), {"1": {"a": 1, "b": 0}}, {"1": {"a": 1.0, "b": 0.5}})  # some take only numbers as ids of queries
    return checked


def per_query(metrics: Sequence[str], qrels: Qrels, run: Run) -> dict[str, dict[str, float]]:
    """Return each metric's value of every query that is judged; a query that the run lacks has 0. Raises InvalidInput."""
    library = needed("ir_measures", "eval")
    parsed = {_parsed(name): name for name in metrics}
    values: dict[str, dict[str, float]] = {name: dict.fromkeys(qrels, 0.0) for name in metrics}
    try:
        for each in library.iter_calc(list(parsed), _plain(qrels), _ranked(run)):
            values[parsed[each.measure]][each.query_id] = float(each.value)
    except Exception as error:  # each of the packages behind ir_measures has its own
        raise InvalidInput(
            f"ir_measures cannot compute {', '.join(metrics)[:80]} ({type(error).__name__}: {str(error)[:120]}); "
            "check the metric's parameters"
        ) from error
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
        measure = library.parse_measure(name)
    except (ValueError, NameError, SyntaxError) as error:
        raise InvalidInput(
            f"ir_measures knows no metric {name!r:.40}; it has nDCG@10, RR@10, AP, R@100, P@5, Success@1 …"
        ) from error
    # trec_eval aborts the process at a cutoff of 0, and takes memory for every possible grade.
    for parameter, most in (("cutoff", LARGEST_CUTOFF), ("rel", LARGEST_GRADE)):
        value = measure.params.get(parameter, 1)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise InvalidInput(f"{name!r:.40}: {parameter} must be a whole number from 1 to {most:,}")
    return measure
