"""Evaluate rerankers. Every reranker orders the same candidates, and is compared with the first stage that found them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from podium.errors import InvalidInput
from podium.evaluation.collections import Collection
from podium.evaluation.metrics import judged_shares, mean, metric_values
from podium.evaluation.runs import Run
from podium.evaluation.significance import Difference, difference, holm
from podium.notes import NoteTotals
from podium.ranking import Reranker
from podium.types import Progress, Usage

__all__ = [
    "CEILING",
    "FIRST_STAGE",
    "Cost",
    "Evaluation",
    "FirstStage",
    "Movement",
    "System",
    "ceiling",
    "check_names",
    "compare_systems",
    "first_stage_run",
    "movements",
    "rerank_run",
]

FIRST_STAGE, CEILING = "first stage", "ceiling"  # the names of the systems that podium eval adds

FirstStage = Callable[[str, str, int], Sequence[tuple[str, float]]]
"""A function from (query id, query text, number of documents) to (document id, score) pairs, best first."""


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of all queries of a run.

    - `seconds`: one time per query. Queries without documents, or for which a score came from a cache, are left out.
    - `documents`: the number of documents scored in that time.
    - `tokens`, `billed`: sums over all queries. `tokens` is None if it is unknown for a query.
    """

    seconds: tuple[float, ...] = ()
    documents: int = 0
    tokens: int | None = None
    billed: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def total(cls, usages: Sequence[Usage]) -> Cost:
        """Return the total cost of several queries. `usages` has the usage of each query."""
        uncached = [usage for usage in usages if usage.pairs and not usage.remembered]
        known_tokens = [usage.tokens for usage in usages if usage.tokens is not None]
        billed: dict[str, float] = {}
        for usage in usages:
            for unit, amount in usage.billed.items():
                billed[unit] = billed.get(unit, 0) + amount
        return cls(
            seconds=tuple(usage.seconds for usage in uncached),
            documents=sum(usage.pairs for usage in uncached),
            tokens=sum(known_tokens) if len(known_tokens) == len(usages) else None,
            billed=billed,
        )


@dataclass(frozen=True, slots=True)
class System:
    """A run, its name and its cost. `score_kind`, `notes` and `revision` are set only if the system is a reranker.

    `is_compared`: whether its metrics are compared with the baseline's. Those of the ceiling are not.
    """

    name: str
    run: Run
    cost: Cost = field(default_factory=Cost)
    score_kind: str = ""
    notes: tuple[str, ...] = ()
    revision: str | None = None
    is_compared: bool = True


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Several systems compared with a baseline.

    - `values`: name of a system → metric → query id → value.
    - `differences`: name of a system → its difference to the baseline in the first metric. The ceiling is left out.
    - `corrected_p`: name of a system → the p-value of that difference, corrected by Holm for the number of systems.
    - `judged_shares`: name of a system → the share of its first ten documents that have a judgment.
    """

    collection: Collection
    metrics: tuple[str, ...]
    baseline: System
    systems: tuple[System, ...]
    values: Mapping[str, Mapping[str, Mapping[str, float]]]
    differences: Mapping[str, Difference]
    corrected_p: Mapping[str, float]
    judged_shares: Mapping[str, float]

    def mean(self, system: str, metric: str) -> float:
        """Return a metric's mean over queries. `system` is the system's name."""
        return mean(self.values[system][metric])


@dataclass(frozen=True, slots=True)
class Movement:
    """The effect of reranking on one query.

    - `before`, `after`: the value of the first metric.
    - `rank_before`, `rank_after`: the rank (from 1) of the first document with the highest grade, None if no relevant
      document was found.
    """

    query_id: str
    before: float
    after: float
    rank_before: int | None
    rank_after: int | None


def first_stage_run(collection: Collection, first_stage: FirstStage, candidates: int, advance: Progress) -> System:
    """Return the run of the first stage: at most `candidates` documents for each query. `advance(1)` is called per query."""
    run: dict[str, Mapping[str, float]] = {}
    usages: list[Usage] = []
    for query_id, text in collection.queries.items():
        began = time.perf_counter()
        scores = first_stage(query_id, text, candidates)
        usages.append(Usage(pairs=len(scores), seconds=time.perf_counter() - began))
        run[query_id] = dict(scores)
        advance(1)
    return System(FIRST_STAGE, run, Cost.total(usages))


def rerank_run(collection: Collection, baseline: Run, reranker: Reranker, name: str, advance: Progress) -> System:
    """Return the run of a reranker on the baseline's documents. `advance` is called with the number of documents of each query.

    Queries are ranked one by one, so that the time of each query is known. Raises InvalidInput if the collection lacks a
    document, and the errors of the reranker.
    """
    run: dict[str, Mapping[str, float]] = {}
    usages: list[Usage] = []
    notes = NoteTotals()
    for query_id, scores in baseline.items():
        ids = list(scores)
        if unknown := next((document_id for document_id in ids if document_id not in collection.documents), None):
            raise InvalidInput(f"query {query_id!r:.60} has the candidate {unknown!r:.60}, which is not in the collection")
        documents = collection.ranked_documents(scores)
        query = collection.queries[query_id]
        ranking = reranker.rerank(query, documents, rank_by="text", limit=len(ids) or None)  # 0 is not a valid limit
        run[query_id] = {ids[result.index]: result.score for result in ranking}
        usages.append(ranking.usage)
        notes.add(ranking.notes)
        advance(len(ids))
    scorer = reranker.scorer
    return System(name, run, Cost.total(usages), scorer.score_kind, notes.sentences(len(usages)), scorer.revision)


def ceiling(collection: Collection, baseline: Run) -> System:
    """Return the run with the best possible order of the baseline's documents: by grade, from high to low."""
    run = {}
    for query_id, scores in baseline.items():
        grades = collection.qrels[query_id]
        best_order = sorted(scores, key=lambda document_id: -grades.get(document_id, 0))
        run[query_id] = {document_id: float(-rank) for rank, document_id in enumerate(best_order)}
    return System(CEILING, run, is_compared=False)


def compare_systems(
    collection: Collection, baseline: System, systems: Iterable[System], metrics: tuple[str, ...]
) -> Evaluation:
    """Compute every metric for every system, and compare the systems with the baseline in the first metric.

    Raises InvalidInput if two systems have the same name, or if a metric cannot be computed.
    """
    systems = tuple(systems)
    check_names([system.name for system in (baseline, *systems)])
    values = {system.name: metric_values(metrics, collection.qrels, system.run) for system in (baseline, *systems)}
    differences = {
        system.name: difference(values[system.name][metrics[0]], values[baseline.name][metrics[0]])
        for system in systems
        if system.is_compared
    }
    p_values = [comparison.p for comparison in differences.values()]
    corrected_p = dict(zip(differences, holm(p_values), strict=True))
    shares = {system.name: mean(judged_shares(collection.qrels, system.run)) for system in (baseline, *systems)}
    return Evaluation(collection, metrics, baseline, systems, values, differences, corrected_p, shares)


def check_names(names: Sequence[str]) -> None:
    """Raise InvalidInput if two systems have the same name. A folder may have the name of a row that podium eval adds."""
    for name, count in Counter(names).items():
        if count > 1:
            raise InvalidInput(
                f"two rows of the table would be named {name!r:.80}; name each model once, or a folder as ./{name:.80}"
            )


def movements(evaluation: Evaluation, system: System, count: int) -> tuple[list[Movement], list[Movement]]:
    """Return the queries that the system improved most in the first metric, and those that it worsened most.

    Both lists have at most `count` queries. They begin with the largest change.
    """
    metric = evaluation.metrics[0]
    before = evaluation.values[evaluation.baseline.name][metric]
    after = evaluation.values[system.name][metric]
    order = sorted(before, key=lambda query_id: (before[query_id] - after[query_id], query_id))
    helped = [query_id for query_id in order[:count] if after[query_id] > before[query_id]]
    hurt = [query_id for query_id in order[::-1][:count] if after[query_id] < before[query_id]]

    def movement(query_id: str) -> Movement:
        grades = evaluation.collection.qrels[query_id]
        return Movement(
            query_id=query_id,
            before=before[query_id],
            after=after[query_id],
            rank_before=_best_rank(grades, evaluation.baseline.run.get(query_id, {})),
            rank_after=_best_rank(grades, system.run.get(query_id, {})),
        )

    return [movement(query_id) for query_id in helped], [movement(query_id) for query_id in hurt]


def _best_rank(grades: Mapping[str, int], ranked: Mapping[str, float]) -> int | None:
    """Return the rank (from 1) of the first document with the highest grade in `ranked`, None if none is relevant.

    `ranked` has the documents in the order of the ranking.
    """
    highest = max((grades.get(document_id, 0) for document_id in ranked), default=0)
    if highest <= 0:
        return None
    return next(rank for rank, document_id in enumerate(ranked, start=1) if grades.get(document_id, 0) == highest)
