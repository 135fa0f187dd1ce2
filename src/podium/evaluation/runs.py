"""Runs: the documents that a system returned for each query, in order. They are read from and written to TREC run files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from podium.atomic import atomic_write
from podium.errors import InvalidInput, PodiumError, unreadable

__all__ = ["Run", "check_ids", "read_run", "run_lines", "write_run"]

LOWEST_SCORE = np.float32(-1e30)  # the lowest score that is written
Run = Mapping[str, Mapping[str, float]]
"""Query id → document id → score. The documents of a query are in the order of the ranking, so scores never increase."""


def read_run(path: str | Path) -> dict[str, dict[str, float]]:
    """Return the run in a file whose lines have a query id, Q0, a document id, a rank, a score and the run's name.

    Documents are ordered by score, and by rank if scores are equal. Raises InvalidInput, with the number of a malformed line.
    """
    file = Path(path)
    rows: dict[str, list[tuple[float, int, str]]] = {}
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(file, error) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            query_id, _, document_id, rank, score = line.split()[:5]
            rows.setdefault(query_id, []).append((_finite_number(score), int(rank), document_id))
        except ValueError:
            raise InvalidInput(f"{file}, line {number}: a run has query, Q0, document, rank, score and name") from None
    return {query_id: _ordered_scores(query_rows, f"{file}: query {query_id}") for query_id, query_rows in rows.items()}


def write_run(path: str | Path, run: Run, name: str) -> None:
    """Write a run called `name` to a file.

    Scores are written as float32, as trec_eval reads them. They strictly decrease: a score that is not below the score before
    becomes the next smaller float32. So every tool reads the same order, however it orders equal scores. Raises InvalidInput
    for an id with white space, and PodiumError if the file cannot be written.
    """
    check_ids(run)
    for scores in run.values():
        check_ids(scores)
    lines = [line for query_id, scores in run.items() for line in run_lines(query_id, scores, scores.values(), name)]
    try:
        with atomic_write(Path(path)) as output:
            output.write("".join(lines).encode())
    except OSError as error:
        raise PodiumError(f"cannot write {path}: {error.strerror or error}") from error


def run_lines(query_id: str, document_ids: Iterable[str], scores: Iterable[float], name: str) -> Iterator[str]:
    """Yield the lines of a query in a run called `name`, for documents in the order of the ranking."""
    tag = "-".join(name.split()) or "podium"
    ranked = enumerate(zip(document_ids, _strictly_decreasing(scores), strict=True), start=1)
    return (f"{query_id} Q0 {document_id} {rank} {score!r} {tag}\n" for rank, (document_id, score) in ranked)


def check_ids(ids: Iterable[str]) -> None:
    """Raise InvalidInput for an id that cannot be in a TREC run, whose columns are separated by white space."""
    for name in ids:
        if name.split() != [name]:
            raise InvalidInput(f"the id {name!r:.60} has white space in it, which a TREC run file cannot contain; rename it")


def _ordered_scores(rows: list[tuple[float, int, str]], location: str) -> dict[str, float]:
    """Return one query's scores by document id, best first. `rows` has the score, the rank and the id of each document."""
    scores = {document_id: score for score, _, document_id in sorted(rows, key=lambda row: (-row[0], row[1]))}
    if len(scores) < len(rows):
        raise InvalidInput(f"{location} has a document twice")
    return scores


def _strictly_decreasing(scores: Iterable[float]) -> Iterator[float]:
    """Yield the scores as `write_run` writes them."""
    """Yield the scores as `write_run` writes them."""
    previous = np.float32(np.inf)
    for score in scores:
        # A document that was not scored has a score that is not a number (NaN).
        finite_score = LOWEST_SCORE if math.isnan(score) else max(np.float32(score), LOWEST_SCORE)
        previous = min(finite_score, np.nextafter(previous, np.float32(-np.inf)))
        yield float(previous)


def _finite_number(text: str) -> float:
    score = float(text)
    if not math.isfinite(score):
        raise ValueError(text)
    return score
