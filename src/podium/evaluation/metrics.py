"""Metrics of a run, computed by the library ir_measures. They have the library's names: nDCG@10, RR@10, AP, R@100."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from podium.errors import InvalidInput
from podium.evaluation.collections import LARGEST_GRADE, Qrels
from podium.evaluation.runs import Run
from podium.extras import import_optional

__all__ = ["DEFAULT_METRICS", "PerQuery", "checked_metrics", "cutoff_of", "judged_shares", "mean", "metric_values"]

DEFAULT_METRICS = ("nDCG@10", "RR@10", "AP", "R@100", "P@5", "Success@1")
LARGEST_CUTOFF = 1_000_000
PerQuery = Mapping[str, float]
"""Query id → the value of a metric."""


def checked_metrics(names: Sequence[str]) -> tuple[str, ...]:
    """Return the metrics' names as ir_measures writes them.

    Raises InvalidInput for a metric that ir_measures does not know or cannot compute. Every metric is computed once for two
    documents, so that the error is raised before any query is scored.
    """
    checked_names = tuple(str(_measure(name)) for name in names)
    for name in checked_names:
        metric_values((name,), {"query": {"a": 1, "b": 0}}, {"query": {"a": 1.0, "b": 0.5}})
    return checked_names


def metric_values(metrics: Sequence[str], qrels: Qrels, run: Run) -> dict[str, dict[str, float]]:
    """Return values by metric and query id. They are 0 for a judged query that is not in the run. Raises InvalidInput."""
    library = import_optional("ir_measures", "eval")
    names_by_measure: dict[Any, list[str]] = {}  # two names, such as RR@10 and MRR@10, can be one measure
    for name in metrics:
        names_by_measure.setdefault(_measure(name), []).append(name)
    query_ids = list(qrels)
    numbered_qrels, numbered_run = _with_numbers_as_ids(qrels, run)
    values: dict[str, dict[str, float]] = {name: dict.fromkeys(qrels, 0.0) for name in metrics}
    try:
        for result in library.iter_calc(list(names_by_measure), numbered_qrels, numbered_run):
            for name in names_by_measure[result.measure]:
                values[name][query_ids[int(result.query_id)]] = float(result.value)
    except Exception as error:  # ir_measures calls several packages, each with its own exceptions
        raise InvalidInput(
            f"ir_measures cannot compute {', '.join(metrics)[:80]} ({type(error).__name__}: {str(error)[:120]}); "
            "check the metric's parameters"
        ) from error
    return values


def cutoff_of(metric: str) -> int | None:
    """Return how many of the first documents a metric reads, None for all. Raises InvalidInput if it is unknown."""
    cutoff: int | None = _measure(metric).params.get("cutoff")
    return cutoff


def judged_shares(qrels: Qrels, run: Run, depth: int = 10) -> dict[str, float]:
    """Return, by query id, the share of the first `depth` documents that have a judgment.

    It is 1 for a query without documents in the run.
    """
    shares = {}
    for query_id, grades in qrels.items():
        top_ids = list(run.get(query_id, {}))[:depth]
        shares[query_id] = sum(document_id in grades for document_id in top_ids) / len(top_ids) if top_ids else 1.0
    return shares


def mean(values: PerQuery) -> float:
    """Return the mean over queries, 0 if there are no queries."""
    return sum(values.values()) / len(values) if values else 0.0


def _with_numbers_as_ids(qrels: Qrels, run: Run) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, float]]]:
    """Return the judgments and the judged queries of the run, with numbers as ids and with scores that decrease by 1.

    trec_eval reads an id only to its first NUL, ends the process at some others, and orders equal scores by ids. With negative
    grades, as TREC has for spam, it may end the process or never return, so they become 0, which is not relevant either.
    """
    numbered_qrels: dict[str, dict[str, int]] = {}
    numbered_run: dict[str, dict[str, float]] = {}
    for number, (query_id, grades) in enumerate(qrels.items()):
        scores = run.get(query_id, {})
        numbers = {document_id: str(i) for i, document_id in enumerate(dict.fromkeys([*grades, *scores]))}
        numbered_qrels[str(number)] = {numbers[document_id]: max(grade, 0) for document_id, grade in grades.items()}
        if query_id in run:
            numbered_run[str(number)] = {numbers[document_id]: float(-rank) for rank, document_id in enumerate(scores)}
    return numbered_qrels, numbered_run


def _measure(name: str) -> Any:
    """Return the ir_measures object of a metric. Raises InvalidInput if it is unknown or its parameters are invalid."""
    library = import_optional("ir_measures", "eval")
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
