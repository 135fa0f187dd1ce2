"""Metrics of a run, computed by the library ir_measures and named as it names them: nDCG@10, RR@10, AP, R@100."""

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

    Raises InvalidInput for a metric that ir_measures does not know or cannot compute. Each is computed once on two documents,
    so that this shows before any query is scored.
    """
    checked = tuple(str(_measure(name)) for name in names)
    for name in checked:
        per_query((name,), {"1": {"a": 1, "b": 0}}, {"1": {"a": 1.0, "b": 0.5}})  # some metrics need numbers as query ids
    return checked


def per_query(metrics: Sequence[str], qrels: Qrels, run: Run) -> dict[str, dict[str, float]]:
    """Return the value of each metric for each judged query, 0 for a query that is not in the run. Raises InvalidInput."""
    library = needed("ir_measures", "eval")
    measures = {_measure(name): name for name in metrics}
    values: dict[str, dict[str, float]] = {name: dict.fromkeys(qrels, 0.0) for name in metrics}
    try:
        for result in library.iter_calc(list(measures), _as_dicts(qrels), _scores_by_rank(run)):
            values[measures[result.measure]][result.query_id] = float(result.value)
    except Exception as error:  # ir_measures calls several packages, each with its own exceptions
        raise InvalidInput(
            f"ir_measures cannot compute {', '.join(metrics)[:80]} ({type(error).__name__}: {str(error)[:120]}); "
            "check the metric's parameters"
        ) from error
    return values


def judged(qrels: Qrels, run: Run, depth: int = 10) -> dict[str, float]:
    """Return the share of each query's first `depth` documents that have a judgment."""
    shares = {}
    for query, grades in qrels.items():
        first = list(run.get(query, {}))[:depth]
        shares[query] = sum(document in grades for document in first) / len(first) if first else 1.0
    return shares


def mean(values: PerQuery) -> float:
    return sum(values.values()) / len(values) if values else 0.0


def _scores_by_rank(run: Run) -> dict[str, dict[str, float]]:
    """Return the run with scores that show its order, because trec_eval orders equal scores by the documents' names."""
    return {query: {document: float(-rank) for rank, document in enumerate(scores)} for query, scores in run.items()}


def _as_dicts(qrels: Qrels) -> dict[str, dict[str, int]]:
    return {query: dict(grades) for query, grades in qrels.items()}


def _measure(name: str) -> Any:
    library = needed("ir_measures", "eval")
    try:
        measure = library.parse_measure(name)
    except (ValueError, NameError, SyntaxError) as error:
        raise InvalidInput(
            f"ir_measures knows no metric {name!r:.40}; it has nDCG@10, RR@10, AP, R@100, P@5, Success@1 …"
        ) from error
    # trec_eval aborts the process at a cutoff of 0, and allocates memory for every possible grade.
    for parameter, maximum in (("cutoff", LARGEST_CUTOFF), ("rel", LARGEST_GRADE)):
        value = measure.params.get(parameter, 1)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= maximum:
            raise InvalidInput(f"{name!r:.40}: {parameter} must be a whole number from 1 to {maximum:,}")
    return measure
