"""Evaluations: rerankers order the same candidates, and each is compared with the order in which the candidates came."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from podium.errors import InvalidInput
from podium.evaluation.collections import Collection
from podium.evaluation.metrics import judged, mean, per_query
from podium.evaluation.runs import Run
from podium.evaluation.significance import Difference, difference, holm
from podium.ranking import Reranker
from podium.types import Progress, Usage

__all__ = [
    "Cost",
    "Evaluation",
    "FirstStage",
    "Movement",
    "System",
    "ceiling",
    "combined_notes",
    "compared",
    "first_run",
    "movements",
    "rerank_run",
]

FirstStage = Callable[[str, str, int], Sequence[tuple[str, float]]]
"""A function from (query id, query text, number of documents) to (document id, score) pairs, best first."""


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of all queries of a run.

    - `seconds`: of each query. `documents`: how many were scored in this time. Both leave out queries for which a score came
      from a cache.
    - `tokens`, `billed`: the sums over all queries. `tokens` is None if unknown.
    """

    seconds: tuple[float, ...] = ()
    documents: int = 0
    tokens: int | None = None
    billed: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def total(cls, usages: Sequence[Usage]) -> Cost:
        """Return the cost of queries with these usages."""
        computed = [usage for usage in usages if not usage.remembered]
        tokens = [usage.tokens for usage in usages if usage.tokens is not None]
        billed: dict[str, float] = {}
        for usage in usages:
            for unit, amount in usage.billed.items():
                billed[unit] = billed.get(unit, 0) + amount
        return cls(
            seconds=tuple(usage.seconds for usage in computed),
            documents=sum(usage.pairs for usage in computed),
            tokens=sum(tokens) if len(tokens) == len(usages) else None,
            billed=billed,
        )


@dataclass(frozen=True, slots=True)
class System:
    """A run with its name and cost. A run by a reranker also has its kind of scores, its notes and its revision."""

    name: str
    run: Run
    cost: Cost = field(default_factory=Cost)
    score_kind: str = ""
    notes: tuple[str, ...] = ()
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Several systems compared with a baseline.

    - `values`: by system, metric and query.
    - `differences`: of each system to the baseline in the first metric. `corrected`: their p, corrected by Holm.
    - `judged`: the share of each system's first ten documents that have a judgment.
    """

    collection: Collection
    metrics: tuple[str, ...]
    baseline: System
    systems: tuple[System, ...]
    values: Mapping[str, Mapping[str, Mapping[str, float]]]
    differences: Mapping[str, Difference]
    corrected: Mapping[str, float]
    judged: Mapping[str, float]

    def mean(self, system: str, metric: str) -> float:
        return mean(self.values[system][metric])


@dataclass(frozen=True, slots=True)
class Movement:
    """A query's first metric before and after reranking, and the rank of its best document (from 1, None if not found)."""

    query: str
    before: float
    after: float
    rank_before: int | None
    rank_after: int | None


def first_run(collection: Collection, first_stage: FirstStage, candidates: int, advance: Progress) -> System:
    """Return the run of the first stage, which finds the candidates."""
    run, usages = {}, []
    for query, text in collection.queries.items():
        began = time.perf_counter()
        scores = first_stage(query, text, candidates)
        usages.append(Usage(pairs=len(scores), seconds=time.perf_counter() - began))
        run[query] = dict(scores)
        advance(1)
    return System("first stage", run, Cost.total(usages))


def rerank_run(collection: Collection, baseline: Run, reranker: Reranker, name: str, advance: Progress) -> System:
    """Return a reranker's order of the baseline's candidates. Queries are ranked one by one, so each has its own time."""
    run: dict[str, Mapping[str, float]] = {}
    usages: list[Usage] = []
    notes: list[tuple[str, ...]] = []
    for query, scores in baseline.items():
        ids = list(scores)
        if unknown := next((document for document in ids if document not in collection.documents), None):
            raise InvalidInput(f"query {query!r:.60} has the candidate {unknown!r:.60}, which is not in the collection")
        texts = [collection.documents[document] for document in ids]
        ranking = reranker.rerank(collection.queries[query], texts, limit=len(ids) or None)
        run[query] = {ids[result.index]: result.score for result in ranking}
        usages.append(ranking.usage)
        notes.append(ranking.notes)
        advance(len(ids))
    scorer = reranker.scorer
    return System(name, run, Cost.total(usages), scorer.score_kind, combined_notes(notes), scorer.revision)


def combined_notes(notes_per_query: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return the notes of many queries as one list: the counts in "2 of 100 documents …" are summed over queries.

    Other notes that differ only in their numbers appear once, with the number of queries that have them.
    """
    similar: dict[str, list[str]] = {}
    for notes in notes_per_query:
        for note in notes:
            similar.setdefault(re.sub(r"\d[\d,]*", "#", note), []).append(note)
    total = len(notes_per_query)
    return tuple(
        _summed(notes) + (f" (in {len(notes):,} of {total:,} queries)" if total > 1 else "") for notes in similar.values()
    )


def _summed(notes: Sequence[str]) -> str:
    matches = [re.fullmatch(r"([\d,]+) of ([\d,]+) (.*)", note, re.DOTALL) for note in notes]
    counts = [[int(match[group].replace(",", "")) for group in (1, 2)] for match in matches if match]
    if len(counts) < len(notes) or matches[0] is None:
        return notes[0]
    parts, totals = zip(*counts, strict=True)
    return f"{sum(parts):,} of {sum(totals):,} {matches[0][3]}"


def ceiling(collection: Collection, baseline: Run) -> System:
    """Return the best possible order of the same candidates, which is by grade."""
    run = {}
    for query, scores in baseline.items():
        grades = collection.qrels[query]
        best = sorted(scores, key=lambda document: -grades.get(document, 0))
        run[query] = {document: float(-rank) for rank, document in enumerate(best)}
    return System("ceiling", run)


def compared(collection: Collection, baseline: System, systems: Iterable[System], metrics: tuple[str, ...]) -> Evaluation:
    """Measure every system, and compare it with the baseline in the first metric."""
    systems = tuple(systems)
    values = {system.name: per_query(metrics, collection.qrels, system.run) for system in (baseline, *systems)}
    differences = {
        system.name: difference(values[system.name][metrics[0]], values[baseline.name][metrics[0]])
        for system in systems
        if system.name != "ceiling"
    }
    ps = [comparison.p for comparison in differences.values()]
    corrected = dict(zip(differences, holm(ps), strict=True))
    shares = {system.name: mean(judged(collection.qrels, system.run)) for system in (baseline, *systems)}
    return Evaluation(collection, metrics, baseline, systems, values, differences, corrected, shares)


def movements(evaluation: Evaluation, system: System, count: int) -> tuple[list[Movement], list[Movement]]:
    """Return the queries whose first metric increased most, and those whose decreased most, at most `count` each."""
    metric = evaluation.metrics[0]
    before, after = (evaluation.values[name][metric] for name in (evaluation.baseline.name, system.name))
    order = sorted(before, key=lambda query: (before[query] - after[query], query))
    helped = [query for query in order[:count] if after[query] > before[query]]
    hurt = [query for query in order[::-1][:count] if after[query] < before[query]]

    def movement(query: str) -> Movement:
        grades = evaluation.collection.qrels[query]
        ranks = [_best_rank(grades, run.get(query, {})) for run in (evaluation.baseline.run, system.run)]
        return Movement(query, before[query], after[query], *ranks)

    return [movement(query) for query in helped], [movement(query) for query in hurt]


def _best_rank(grades: Mapping[str, int], ranked: Mapping[str, float]) -> int | None:
    """Return the rank of the first document with the highest grade among `ranked`, None if none is relevant."""
    highest = max((grades.get(document, 0) for document in ranked), default=0)
    if highest <= 0:
        return None
    return next(rank for rank, document in enumerate(ranked, start=1) if grades.get(document, 0) == highest)
