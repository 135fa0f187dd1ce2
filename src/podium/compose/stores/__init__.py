"""Where cached scores are kept: in a Redis that processes share, or in an SQLite file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

__all__ = ["Row", "Store"]


class Row(NamedTuple):
    """The cached score of one (query, text) pair: what `Scores` has for it. None means unknown."""

    value: float
    raw: float | None
    tokens: int | None
    dropped_tokens: int | None
    query_tokens: int | None
    query_dropped_tokens: int | None


class Store(Protocol):
    """Keeps rows by keys, which are hashes. Safe to share between threads. Raises PodiumError if it fails."""

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Row]:
        """Return the rows of those keys that are stored."""
        ...

    def put(self, rows: Mapping[bytes, Row]) -> None: ...

    def close(self) -> None: ...
