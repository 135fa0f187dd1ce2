"""MemoryScores: scores cached in the memory of this process. The least recently used are dropped if there are too many."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from podium.compose.stores import MEMORY_URL, Row
from podium.forks import renew_after_fork
from podium.inputs import check_positive

__all__ = ["MemoryScores"]

MAX_ROWS = 200_000  # a row and its key take about 400 bytes, so these take about 80 MB


class MemoryScores:
    """A store for CachedScorer that holds at most `max_rows` scores. Safe to share between threads."""

    location = MEMORY_URL

    def __init__(self, max_rows: int = MAX_ROWS) -> None:
        check_positive("max_rows", max_rows)
        self._max_rows = max_rows
        self._rows: OrderedDict[bytes, Row] = OrderedDict()  # the least recently used first
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """Replace the lock in a forked process, because a thread of the parent may have held it. The rows stay."""
        self._lock = threading.Lock()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Row]:
        stored = {}
        with self._lock:
            for key in keys:
                row = self._rows.get(key)
                if row is not None:
                    self._rows.move_to_end(key)
                    stored[key] = row
        return stored

    def put(self, rows: Mapping[bytes, Row]) -> None:
        with self._lock:
            for key, row in rows.items():
                self._rows[key] = row
                self._rows.move_to_end(key)
            while len(self._rows) > self._max_rows:
                self._rows.popitem(last=False)

    def close(self) -> None:
        with self._lock:
            self._rows.clear()
