"""Runs: each query's documents in a system's order, as TREC run files that other tools read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from podium.atomic import atomic_write
from podium.errors import InvalidInput, PodiumError

__all__ = ["Run", "check_ids", "read_run", "write_run"]

Run = Mapping[str, Mapping[str, float]]
"""Scores by query and document. The order of the inner mapping is the ranking; its scores do not increase."""


def read_run(path: str | Path) -> dict[str, dict[str, float]]:
    """Return the run in a file whose lines have query, Q0, document, rank, score and name.

    Documents are ordered by score, and by rank if scores are equal. Raises InvalidInput, which names the line.
    """
    file = Path(path)
    rows: dict[str, list[tuple[float, int, str]]] = {}
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot read {file}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            query, _, document, rank, score = line.split()[:5]
            rows.setdefault(query, []).append((_finite(score), int(rank), document))
        except ValueError:
            raise InvalidInput(f"{file}, line {number}: a run has query, Q0, document, rank, score and name") from None
    return {query: _ordered(query_rows, f"{file}: query {query}") for query, query_rows in rows.items()}


def write_run(path: str | Path, run: Run, name: str) -> None:
    """Write a run, in its order.

    Scores are float32, as trec_eval reads them, and strictly decreasing: a score that ties is lowered by the last bit. So
    every tool that reads the file sees this order, whatever it does with ties. Raises InvalidInput for an id with white
    space, which no tool could read, and PodiumError if the file cannot be written.
    """
    check_ids(run)
    for scores in run.values():
        check_ids(scores)
    tag = "-".join(name.split()) or "podium"
    lines = [
        f"{query} Q0 {document} {rank} {score!r} {tag}\n"
        for query, scores in run.items()
        for rank, (document, score) in enumerate(zip(scores, _strictly_decreasing(scores.values()), strict=True), start=1)
    ]
    try:
        with atomic_write(Path(path)) as file:
            file.write("".join(lines).encode())
    except OSError as error:
        raise PodiumError(f"cannot write {path}: {error.strerror or error}") from error


def check_ids(ids: Iterable[str]) -> None:
    """Raise InvalidInput for an id that cannot be in a TREC run, whose columns are separated by white space."""
    for name in ids:
        if name.split() != [name]:
            raise InvalidInput(f"the id {name!r:.60} has white space in it, which a TREC run file cannot contain; rename it")


def _ordered(rows: list[tuple[float, int, str]], location: str) -> dict[str, float]:
    scores = {document: score for score, _, document in sorted(rows, key=lambda row: (-row[0], row[1]))}
    if len(scores) < len(rows):
        raise InvalidInput(f"{location} has a document twice")
    return scores


def _strictly_decreasing(scores: Iterable[float]) -> Iterator[float]:
    previous = np.float32(np.inf)
    for score in scores:
        previous = min(np.float32(score), np.nextafter(previous, np.float32(-np.inf)))
        yield float(previous)


def _finite(text: str) -> float:
    score = float(text)
    if not math.isfinite(score):
        raise ValueError(text)
    return score
