"""Stores of cached scores: the memory of this process, a Redis that processes share, or an SQLite file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from podium.errors import InvalidInput

__all__ = ["MEMORY_URL", "Row", "Store", "open_store", "store_at"]

MEMORY = "memory"
MEMORY_URL = "memory://"


class Row(NamedTuple):
    """The cached score of one (query, text) pair. The fields are those of `podium.types.Scores`. None means unknown.

    The last three are those of its Passage, None if it has none.
    """

    value: float
    raw: float | None
    tokens: int | None
    dropped_tokens: int | None
    query_tokens: int | None
    query_dropped_tokens: int | None
    passage_start: int | None = None
    passage_end: int | None = None
    passage_score: float | None = None


class Store(Protocol):
    """A mapping from keys, which are hashes, to rows. Safe to share between threads. Raises PodiumError if it fails."""

    @property
    def location(self) -> str:
        """The URL without its password, or the path of the store."""
        ...

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Row]:
        """Return the stored rows by key. A key that is not stored is left out."""
        ...

    def put(self, rows: Mapping[bytes, Row]) -> None: ...

    def close(self) -> None: ...


def open_store(name: str) -> Store:
    """Return the store in memory for "memory", or else the store in the Redis at a URL. Raises InvalidInput."""
    if name == MEMORY:
        from podium.compose.stores.memory import MemoryScores

        return MemoryScores()
    if not isinstance(name, str) or "://" not in name:
        raise InvalidInput(f"scores are cached in 'memory' or in the Redis at a URL (redis://host), not in {name!r:.40}")
    from podium.compose.stores.redis import RedisScores

    return RedisScores(name)


def store_at(location: str) -> Store:
    """Return the store at the URL of a Redis, in memory for "memory://", or in the SQLite file at a path.

    Raises PodiumError.
    """
    if location == MEMORY_URL:
        return open_store(MEMORY)
    if "://" in location:
        return open_store(location)
    from podium.compose.stores.sqlite import SqliteScores

    return SqliteScores(location)
