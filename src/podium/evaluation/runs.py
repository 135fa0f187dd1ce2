"""Runs: the documents that a system returned for each query, in order. They are read from and written to TREC run files."""

from __future__ import annotations

import math
from collections import Counter
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

    A folder is read as one run: its files *.run, or those of its folder `parts` if it is the output of `podium batch`.
    Documents are ordered by score, and by rank if scores are equal. Raises InvalidInput if there is no line, and with the
    number of a malformed line.
    """
    rows: dict[str, list[tuple[float, int, str]]] = {}
    for file in _run_files(Path(path)):
        for query_id, row in _rows(file):
            rows.setdefault(query_id, []).append(row)
    if not rows:
        raise InvalidInput(f"{path} has no lines; a run has query, Q0, document, rank, score and name")
    return {query_id: _ordered_scores(query_rows, f"{path}: query {query_id}") for query_id, query_rows in rows.items()}


def _run_files(path: Path) -> list[Path]:
    """Return the files of a run. Raises InvalidInput for a folder without files of a run."""
    if not path.is_dir():
        return [path]
    folder = path / "parts" if (path / "parts").is_dir() else path
    files = sorted(folder.glob("*.run"))
    if not files:
        raise InvalidInput(f"{folder} has no file .run; name a file, or the output of podium batch --output run")
    return files


def _rows(file: Path) -> Iterator[tuple[str, tuple[float, int, str]]]:
    """Yield the query id, and the score, the rank and the document id, of each line of a file."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(file, error) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            query_id, _, document_id, rank, score = line.split()[:5]
            yield query_id, (_finite_number(score), int(rank), document_id)
        except ValueError:
            raise InvalidInput(f"{file}, line {number}: a run has query, Q0, document, rank, score and name") from None


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
        counts = Counter(document_id for *_, document_id in rows)
        repeated = next(document_id for document_id, count in counts.items() if count > 1)
        raise InvalidInput(f"{location} has the document {repeated!r:.60} twice; remove one of the lines")
    return scores


def _strictly_decreasing(scores: Iterable[float]) -> Iterator[float]:
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
