"""What rerankers do to a search: each orders the same candidates, and each is compared with the order they came in."""

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
from podium.types import Progress

__all__ = ["Evaluation", "Moved", "System", "ceiling", "combined_notes", "compared", "first_run", "movements", "rerank_run"]

Find = Callable[[str, str, int], Sequence[tuple[str, float]]]
"""(query's id, its text, how many) → documents' ids and scores, best first."""


@dataclass(frozen=True, slots=True)
class System:
    """A run and what it cost. `seconds` are those of each query that was scored now and not remembered."""

    name: str
    run: Run
    seconds: Sequence[float] = ()
    documents: int = 0
    tokens: int | None = None
    billed: Mapping[str, float] = field(default_factory=dict)
    score_kind: str = ""
    notes: tuple[str, ...] = ()
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Systems beside a baseline: metrics by query, differences in the first metric (p corrected by Holm), judged shares."""

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
class Moved:
    """A query whose first metric changed most, with where its best relevant document was and is (from 1; None: not there)."""

    query: str
    before: float
    after: float
    rank_before: int | None
    rank_after: int | None


def first_run(collection: Collection, find: Find, candidates: int, advance: Progress) -> System:
    """Return the first stage as a system."""
    run, seconds = {}, []
    for query, text in collection.queries.items():
        began = time.perf_counter()
        found = find(query, text, candidates)
        seconds.append(time.perf_counter() - began)
        run[query] = dict(found)
        advance(1)
    return System("first stage", run, seconds, sum(len(found) for found in run.values()))


def rerank_run(collection: Collection, baseline: Run, reranker: Reranker, name: str, advance: Progress) -> System:
    """Return a reranker's order of the baseline's candidates, one query after the other, so that each one's time is its own.

    A query for which scores came from a cache is left out of the times.
    """
    run, seconds, documents, tokens, billed = {}, [], 0, 0, {}  # type: ignore[var-annotated]  # empty
    notes: list[tuple[str, ...]] = []
    counted = True
    for query, found in baseline.items():
        listed = list(found)
        if unknown := next((each for each in listed if each not in collection.documents), None):
            raise InvalidInput(f"query {query!r:.60} has the candidate {unknown!r:.60}, which is not in the collection")
        ranking = reranker.rerank(
            collection.queries[query], [collection.documents[each] for each in listed], limit=len(listed) or None
        )
        run[query] = {listed[result.index]: result.score for result in ranking}
        if not ranking.usage.remembered:
            seconds.append(ranking.usage.seconds)
            documents += len(listed)
        counted, tokens = counted and ranking.usage.tokens is not None, tokens + (ranking.usage.tokens or 0)
        billed = {unit: billed.get(unit, 0) + ranking.usage.billed.get(unit, 0) for unit in {*billed, *ranking.usage.billed}}
        notes.append(ranking.notes)
        advance(len(listed))
    kind = reranker.scorer.score_kind
    return System(
        name,
        run,
        seconds,
        documents,
        tokens if counted else None,
        billed,
        kind,
        combined_notes(notes),
        reranker.scorer.revision,
    )


def combined_notes(notes_per_query: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return the notes of many queries as one list: the counts of "2 of 100 documents …" are added up over queries.

    Other notes that differ only in their numbers are given once, with the number of queries that have them.
    """
    alike: dict[str, list[str]] = {}
    for notes in notes_per_query:
        for note in notes:
            alike.setdefault(re.sub(r"\d[\d,]*", "#", note), []).append(note)
    total = len(notes_per_query)
    return tuple(
        _combined(same) + (f" (in {len(same):,} of {total:,} queries)" if total > 1 else "") for same in alike.values()
    )


def _combined(notes: Sequence[str]) -> str:
    counts = [re.fullmatch(r"([\d,]+) of ([\d,]+) (.*)", note, re.DOTALL) for note in notes]
    numbers = [(int(each[1].replace(",", "")), int(each[2].replace(",", ""))) for each in counts if each]
    if len(numbers) < len(notes) or counts[0] is None:
        return notes[0]
    return f"{sum(part for part, _ in numbers):,} of {sum(whole for _, whole in numbers):,} {counts[0][3]}"


def ceiling(collection: Collection, baseline: Run) -> System:
    """Return the best that any order of the same candidates could be."""
    run = {}
    for query, found in baseline.items():
        grades = collection.qrels[query]
        best = sorted(found, key=lambda document: -grades.get(document, 0))
        run[query] = {document: float(-at) for at, document in enumerate(best)}
    return System("ceiling", run)


def compared(collection: Collection, baseline: System, systems: Iterable[System], metrics: tuple[str, ...]) -> Evaluation:
    """Measure every system and compare it with the baseline in the first metric."""
    listed = tuple(systems)
    everyone = (baseline, *listed)
    values = {system.name: per_query(metrics, collection.qrels, system.run) for system in everyone}
    differences = {
        system.name: difference(values[system.name][metrics[0]], values[baseline.name][metrics[0]])
        for system in listed
        if system.name != "ceiling"
    }
    corrected = dict(zip(differences, holm([each.p for each in differences.values()]), strict=True))
    shares = {system.name: mean(judged(collection.qrels, system.run)) for system in everyone}
    return Evaluation(collection, metrics, baseline, listed, values, differences, corrected, shares)


def movements(evaluation: Evaluation, system: System, count: int) -> tuple[list[Moved], list[Moved]]:
    """Return the queries that were helped most and those that were hurt most, at most `count` each."""
    metric = evaluation.metrics[0]
    after, before = evaluation.values[system.name][metric], evaluation.values[evaluation.baseline.name][metric]
    order = sorted(before, key=lambda query: (before[query] - after[query], query))
    helped = [query for query in order[:count] if after[query] > before[query]]
    hurt = [query for query in order[::-1][:count] if after[query] < before[query]]

    def moved(query: str) -> Moved:
        grades = evaluation.collection.qrels[query]
        ranks = [_best_rank(grades, run.get(query, {})) for run in (evaluation.baseline.run, system.run)]
        return Moved(query, before[query], after[query], *ranks)

    return [moved(query) for query in helped], [moved(query) for query in hurt]


def _best_rank(grades: Mapping[str, int], found: Mapping[str, float]) -> int | None:
    """Return the rank of the first document with the highest grade that was found."""
    highest = max((grades.get(document, 0) for document in found), default=0)
    if highest <= 0:
        return None
    return next(rank for rank, document in enumerate(found, start=1) if grades.get(document, 0) == highest)
