"""Runs: what a system found for each query, best first, as TREC run files that other tools read."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from podium.errors import InvalidInput, PodiumError

__all__ = ["Run", "check_ids", "read_run", "write_run"]

Run = Mapping[str, Mapping[str, float]]
"""Scores by query and document; the mapping's order is the ranking, and its scores fall."""


def read_run(path: str | Path) -> dict[str, dict[str, float]]:
    """Return a run: query, Q0, document, rank, score, name on each line. Ordered by score, ties by rank.

    Raises InvalidInput, naming the line.
    """
    file, rows = Path(path), {}  # type: ignore[var-annotated]  # lists of (score, rank, document) by query
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot read {file}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        parts = line.split()
        try:
            query, _, document, rank, score = parts[:5]
            rows.setdefault(query, []).append((_finite(score), int(rank), document))
        except ValueError:
            raise InvalidInput(f"{file}, line {number}: a run has query, Q0, document, rank, score and name") from None
    for query, found in rows.items():
        if len({document for _, _, document in found}) < len(found):
            raise InvalidInput(f"{file}: query {query} has a document twice")
    return {
        query: {document: score for score, _, document in sorted(found, key=lambda row: (-row[0], row[1]))}
        for query, found in rows.items()
    }


def write_run(path: str | Path, run: Run, name: str) -> None:
    """Write a run, in its order.

    Scores are float32, as trec_eval reads them, and each is below the one before, by the last bit where they tie: every
    tool that reads the file sees this order, however it breaks ties. Raises InvalidInput for an id with white space, which
    no tool could read back, and PodiumError where the file cannot be written.
    """
    check_ids(run)
    for found in run.values():
        check_ids(found)
    tag = "-".join(name.split()) or "podium"
    lines = [
        f"{query} Q0 {document} {rank} {score!r} {tag}"
        for query, found in run.items()
        for rank, (document, score) in enumerate(zip(found, _strictly_falling(found.values()), strict=True), start=1)
    ]
    unfinished = Path(f"{path}.unfinished")
    try:
        unfinished.write_text("\n".join(lines) + "\n", encoding="utf-8")
        os.replace(unfinished, path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise PodiumError(f"cannot write {path}: {error.strerror or error}") from error


def check_ids(ids: Iterable[str]) -> None:
    """Raise InvalidInput for an id that a TREC run cannot hold: its columns are separated by white space."""
    for name in ids:
        if name.split() != [name]:
            raise InvalidInput(f"the id {name!r:.60} has white space in it, which TREC run files cannot hold; rename it")


def _strictly_falling(scores: Iterable[float]) -> Iterator[float]:
    before = np.float32(np.inf)
    for score in scores:
        before = min(np.float32(score), np.nextafter(before, np.float32(-np.inf)))
        yield float(before)


def _finite(said: str) -> float:
    if not math.isfinite(score := float(said)):
        raise ValueError(said)
    return score
