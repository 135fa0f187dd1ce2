"""The tables and warnings of an evaluation, as text. The command line and the report show them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from podium.evaluation.collections import Collection
from podium.evaluation.evaluate import Cost, Evaluation, Movement, System, movements

__all__ = ["Table", "cost_table", "difference_table", "mean_table", "movement_tables", "warnings"]

MAX_UNJUDGED_SHARE = 0.1  # if a larger share of a system's first ten documents has no judgment, there is a warning


@dataclass(frozen=True, slots=True)
class Table:
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def mean_table(evaluation: Evaluation) -> Table:
    """Return the mean of each metric, with a row per system and the baseline first."""
    rows = [
        (system.name, *(f"{evaluation.mean(system.name, metric):.4f}" for metric in evaluation.metrics))
        for system in (evaluation.baseline, *evaluation.systems)
    ]
    return Table(("", *evaluation.metrics), rows)


def difference_table(evaluation: Evaluation) -> Table:
    """Return each system's difference to the baseline in the first metric."""
    rows = [
        (
            name,
            f"{difference.mean:+.4f}",
            f"{difference.low:+.4f} … {difference.high:+.4f}",
            f"{evaluation.corrected_p[name]:.4f}",
            f"{difference.wins}/{difference.ties}/{difference.losses}",
            f"{evaluation.judged_shares[name]:.2f}",
        )
        for name, difference in evaluation.differences.items()
    ]
    return Table((f"Δ {evaluation.metrics[0]}", "mean", "95 % interval", "p", "better/same/worse", "judged@10"), rows)


def cost_table(evaluation: Evaluation) -> Table:
    """Return the speed, the median and the 95th percentile of the time, the tokens and the billed units of each reranker."""
    rows = [(system.name, *_cost_cells(system.cost)) for system in evaluation.systems if system.is_compared]
    return Table(("cost", "documents/s", "s/query", "95th", "tokens", "billed"), rows)


def movement_tables(evaluation: Evaluation, system: System, count: int) -> Iterator[tuple[str, Table]]:
    """Yield the title and the table of the `count` queries that a system helped most, then of those that it hurt most.

    A table without rows is left out.
    """
    columns = ("query", evaluation.metrics[0], "best document", "")
    helped, hurt = movements(evaluation, system, count)
    for title, moved in (("helped most", helped), ("hurt most", hurt)):
        if moved:
            yield title, Table(columns, [_movement_cells(evaluation.collection, movement) for movement in moved])


def warnings(evaluation: Evaluation) -> list[str]:
    """Return the warnings that a reader of the tables needs: missing judgments, and the notes of the rankings."""
    sentences = [*_empty_query_warnings(evaluation), *_candidate_warnings(evaluation.collection)]
    for name, difference in evaluation.differences.items():
        unjudged_share = 1 - evaluation.judged_shares[name]
        if unjudged_share > MAX_UNJUDGED_SHARE and unjudged_share > abs(difference.mean):
            sentences.append(
                f"{name}: {unjudged_share:.0%} of its first ten documents have no judgment; they count as irrelevant, which "
                "could decide the comparison"
            )
    sentences += [f"{system.name}: {note}" for system in evaluation.systems for note in system.notes]
    return sentences


def _empty_query_warnings(evaluation: Evaluation) -> Iterator[str]:
    """Yield a warning if there are judged queries for which no system has a document."""
    runs = [system.run for system in (evaluation.baseline, *evaluation.systems)]
    query_ids = evaluation.collection.queries
    if empty_count := sum(not any(run.get(query_id) for run in runs) for query_id in query_ids):
        yield f"{empty_count} of {len(query_ids)} judged queries have no documents in any run; their metrics are 0"


def _candidate_warnings(collection: Collection) -> Iterator[str]:
    """Yield a warning if the collection lists candidates that have no judgment."""
    ids_by_query = ((query_id, collection.candidates.get(query_id, ())) for query_id in collection.queries)
    pairs = [(query_id, document_id) for query_id, document_ids in ids_by_query for document_id in document_ids]
    if unjudged_count := sum(document_id not in collection.qrels[query_id] for query_id, document_id in pairs):
        yield f"{unjudged_count} of {len(pairs)} candidates have no judgment; they count as not relevant"


def _cost_cells(cost: Cost) -> tuple[str, ...]:
    """Return the cells of `cost_table` after the name. If every query had cached scores, the first cell says so."""
    tokens = "" if cost.tokens is None else f"{cost.tokens:,}"
    billed = ", ".join(f"{amount:g} {unit}" for unit, amount in cost.billed.items()) or "–"
    if not cost.seconds:
        return ("remembered", "", "", tokens, billed)
    ordered = sorted(cost.seconds)
    median = ordered[len(ordered) // 2]
    percentile_95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return (f"{cost.documents / sum(ordered):.0f}", f"{median:.3f}", f"{percentile_95:.3f}", tokens, billed)


def _movement_cells(collection: Collection, movement: Movement) -> tuple[str, ...]:
    metric = f"{movement.before:.2f} → {movement.after:.2f}"
    ranks = f"{movement.rank_before or '–'} → {movement.rank_after or '–'}"
    return movement.query_id, metric, ranks, collection.queries[movement.query_id]
