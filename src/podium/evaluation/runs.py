"""Runs: the documents that a system returned for each query, in order. They are read from and written to TREC run files."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from podium.atomic import atomic_write
from podium.errors import InvalidInput, PodiumError, unreadable

__all__ = ["Run", "check_ids", "read_run", "run_lines", "write_run"]

LOWEST_SCORE = np.float32(-1e30)  # that of documents without a score (NaN); lower scores are raised to it
COLUMNS = "a run has query, Q0, document, rank, score and name"
Run = Mapping[str, Mapping[str, float]]
"""Query id → document id → score. The documents of a query are in the order of the ranking.

A score can be above the one before it if they are of different models, and is NaN for a document that was not scored.
"""


def read_run(path: str | Path) -> dict[str, dict[str, float]]:
    """Return the run in a file whose lines have a query id, Q0, a document id, a rank, a score and the run's name.

    A folder is read as one run: its files *.run, or those of its folder `parts` if it is the output of `podium batch`.
    Documents are ordered by score, and by rank if scores are equal. Raises InvalidInput if a file cannot be read, there is no
    line, a line is malformed, or a query has a document twice.
    """
    rows: dict[str, list[_Row]] = {}
    for file in _run_files(Path(path)):
        for row in _rows(file):
            rows.setdefault(row.query_id, []).append(row)
    if not rows:
        raise InvalidInput(f"{path} has no lines; {COLUMNS}")
    return {query_id: _ordered_scores(query_rows, f"{path}: query {query_id}") for query_id, query_rows in rows.items()}


def _run_files(path: Path) -> list[Path]:
    """Return the files of a run. Raises InvalidInput for a folder without files of a run."""
    if not path.is_dir():
        return [path]
    folder = path / "parts" if (path / "parts").is_dir() else path
    files = sorted(folder.glob("*.run"))
    if not files:
        raise InvalidInput(f"{folder} has no .run file; name a file, or the output of podium batch --output run")
    return files


class _Row(NamedTuple):
    """What podium reads of a line."""

    query_id: str
    document_id: str
    rank: int
    score: float


def _rows(file: Path) -> Iterator[_Row]:
    """Yield the row of each line of a file. Raises InvalidInput if the file cannot be read, or a line is malformed."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()  # Windows programs begin files with a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(file, error) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            query_id, _, document_id, rank, score = line.split()[:5]  # The name is not needed.
            row = _Row(query_id, document_id, int(rank), _finite_number(score))
        except ValueError:  # There are fewer columns, or the rank or the score is not a number.
            raise InvalidInput(f"{file}, line {number}: {COLUMNS}; rank is an integer, and score a finite number") from None
        yield row


def write_run(path: str | Path, run: Run, name: str) -> None:
    """Write a run called `name` to a file. Its lines are those of `run_lines`.

    Raises InvalidInput for an id with white space, and PodiumError if the file cannot be written.
    """
    check_ids(run)
    for scores in run.values():
        check_ids(scores)
    lines = [line for query_id, scores in run.items() for line in run_lines(query_id, scores.keys(), scores.values(), name)]
    try:
        with atomic_write(Path(path)) as output:
            output.write("".join(lines).encode())
    except OSError as error:
        raise PodiumError(f"cannot write {path}: {error.strerror or error}") from error


def run_lines(query_id: str, document_ids: Iterable[str], scores: Iterable[float], name: str) -> Iterator[str]:
    """Yield the lines of a query in a run called `name`, for documents in the order of the ranking.

    Scores are written as float32, as trec_eval reads them. They strictly decrease: a score that is not below the score before
    becomes the next smaller float32. So every tool reads the same order, however it orders equal scores. White space in `name`
    becomes hyphens.
    """
    tag = "-".join(name.split()) or "podium"
    ranked = enumerate(zip(document_ids, _strictly_decreasing(scores), strict=True), start=1)
    return (f"{query_id} Q0 {document_id} {rank} {score!r} {tag}\n" for rank, (document_id, score) in ranked)


def check_ids(ids: Iterable[str]) -> None:
    """Raise InvalidInput for an id that cannot be in a TREC run, whose columns are separated by white space."""
    for item_id in ids:
        if not item_id or any(map(str.isspace, item_id)):
            problem = "has white space in it" if item_id else "is empty"
            raise InvalidInput(f"the id {item_id!r:.60} {problem}, which a TREC run file cannot contain; rename it")


def _ordered_scores(rows: list[_Row], location: str) -> dict[str, float]:
    """Return one query's scores by document id, best first. Raises InvalidInput, with the location, for a repeated document."""
    scores = {row.document_id: row.score for row in sorted(rows, key=lambda row: (-row.score, row.rank))}
    if len(scores) < len(rows):
        counts = Counter(row.document_id for row in rows)
        repeated = next(document_id for document_id, count in counts.items() if count > 1)
        raise InvalidInput(f"{location} has the document {repeated!r:.60} twice; remove one of the lines")
    return scores


def _strictly_decreasing(scores: Iterable[float]) -> Iterator[float]:
    """Yield the scores as `run_lines` writes them."""
    previous = np.float32(np.inf)
    for score in scores:
        written = LOWEST_SCORE if math.isnan(score) else max(np.float32(score), LOWEST_SCORE)
        previous = min(written, np.nextafter(previous, np.float32(-np.inf)))
        yield float(previous)


def _finite_number(text: str) -> float:
    score = float(text)
    if not math.isfinite(score):
        raise ValueError(text)
    return score
