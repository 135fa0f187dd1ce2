"""BatchResult, the counts of a batch job, and Verification, the comparison of some of its parts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["BatchResult", "Verification"]


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What a batch job has done. Except for `computed_pairs`, `seconds` and `cost`, the counts include earlier runs of the job.

    - `folder`: the output folder. Its folder `parts` has the results, and `rejected.parquet` the bad rows, if there are any.
    - `parts`, `complete_before`: number of parts, and how many of them were complete when this run began.
    - `queries`, `pairs`: how many were scored; `computed_pairs`: how many of these pairs were scored in this run.
    - `rejected`: number of bad rows, and of bad documents in lists.
    - `truncated`: number of documents that were longer than the model reads. `tokens`: how many were computed or billed.
    - `notes`: sentences that a user should read, with the number of queries that they are about.
    - `seconds`: the time of this run. `cost`: its estimated cost in US dollars, None if it is unknown.
    """

    folder: Path
    parts: int
    complete_before: int
    queries: int
    pairs: int
    computed_pairs: int
    rejected: int
    truncated: int
    tokens: int
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class Verification:
    """How many parts were computed again, how many are complete, and how many are `missing`.

    `different` are the files of the parts that differ, and `rows` the first row of each, from 0, that differs. A row is None if
    the file cannot be read, or if only its bad rows differ.
    """

    parts: int
    complete: int
    different: tuple[Path, ...] = ()
    rows: tuple[int | None, ...] = ()
    missing: int = 0
