"""Rankings that are made in stages, so that a shorter one is the beginning of a longer one and pages never repeat a document.

Some searches return another order if more results are requested: a fusion of two rankings, because the scores of documents
change, and a graph, because it finds other rows. So the first 100 results are those of a search for 100. The next 100 are the
best others of a search for 200, and so on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

__all__ = ["FIRST_STAGE", "stage_size_for", "stage_sizes", "staged"]

Key = TypeVar("Key")
Value = TypeVar("Value")
FIRST_STAGE = 100  # as many results as the candidates of a usual search


def stage_size_for(count: int) -> int:
    """Return the number of results of the first stage that has at least `count`: 100, 200, 400, …"""
    return next(size for size in stage_sizes() if size >= count)


def stage_sizes() -> Iterator[int]:
    """Yield the number of results of each stage: 100, 200, 400, … without end."""
    size = FIRST_STAGE
    while True:
        yield size
        size *= 2


def staged(stage: Callable[[int], tuple[Iterable[tuple[Key, Value]], bool]], count: float) -> dict[Key, Value]:
    """Return at least `count` results, or all, in order, as values by key.

    `stage` is called with the sizes of stages. It returns the results of a search for so many, best first, and whether this is
    the last stage, whose results are all added.
    """
    ranking: dict[Key, Value] = {}
    for size in stage_sizes():
        results, is_last = stage(size)
        for key, value in results:
            if is_last or len(ranking) < size:
                ranking.setdefault(key, value)
        if is_last or len(ranking) >= count:
            break
    return ranking
