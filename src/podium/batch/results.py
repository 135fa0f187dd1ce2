"""Plan, the estimate of a batch job; BatchResult, its counts; and Verification, the comparison of some of its parts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from podium.prices import Price

__all__ = ["BatchResult", "Plan", "Verification"]

SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Plan:
    """An estimate of a batch job, extrapolated from `sample_pairs` pairs.

    - `files`, `parts`, `pairs`: how many the job has.
    - `tokens`: of queries and texts, estimated at four characters per token.
    - `searches`: number of requests with up to 100 documents, in which some providers bill.
    - `pairs_per_second`: the speed on this machine, None if a hosted model would be called, or if the scorer does not tell.
    - `price`: of a hosted model, None if it is unknown.
    - `machine_price`: of a machine like this one, in US dollars per hour, None if it is unknown.
    """

    files: int
    parts: int
    sample_pairs: int
    pairs: int
    tokens: int
    searches: int
    pairs_per_second: float | None
    price: Price | None = None
    machine_price: float | None = None

    def seconds(self, machines: int = 1) -> float | None:
        """Return the time on machines like this one, None if it is unknown. A part is computed by one machine."""
        return None if self.pairs_per_second is None else self.pairs / self.pairs_per_second / min(machines, self.parts)

    def cost(self, machines: int = 1) -> float | None:
        """Return the estimated cost in US dollars, None if the price is unknown. All machines are paid until the job ends."""
        seconds = self.seconds(machines)
        if seconds is None:
            return None if self.price is None else self.price.cost(self.tokens, self.searches)
        return None if self.machine_price is None else self.machine_price * machines * seconds / SECONDS_PER_HOUR


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
