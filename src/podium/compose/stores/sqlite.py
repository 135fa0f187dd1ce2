"""Scores that were paid for once, in SQLite: the store of an evaluation, which when interrupted goes on for free."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from podium.errors import PodiumError

__all__ = ["ScoreStore"]

Row = tuple[float, float | None, int | None, int | None, int | None, int | None]
"""Value, raw, the text's tokens and dropped tokens, the query's."""

SELECT = "SELECT value, raw, tokens, dropped, query_tokens, query_dropped FROM scores WHERE key = ?"
INSERT = (
    "INSERT OR REPLACE INTO scores (key, value, raw, tokens, dropped, query_tokens, query_dropped) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
LATER_COLUMNS = ("query_tokens", "query_dropped")  # a file of an earlier version lacks them


class ScoreStore:
    """A file of scores. Several threads, and several processes, may use it at once."""

    def __init__(self, path: str | Path) -> None:
        self._lock = threading.Lock()
        try:
            self._file = sqlite3.connect(str(path), timeout=30, check_same_thread=False)
            with self._file:
                self._file.execute("PRAGMA journal_mode=WAL")
                self._file.execute(
                    "CREATE TABLE IF NOT EXISTS scores "
                    "(key BLOB PRIMARY KEY, value REAL NOT NULL, raw REAL, tokens INTEGER, dropped INTEGER) WITHOUT ROWID"
                )
                present = {column[1] for column in self._file.execute("PRAGMA table_info(scores)")}
                for column in LATER_COLUMNS:
                    if column not in present:
                        self._file.execute(f"ALTER TABLE scores ADD COLUMN {column} INTEGER")
        except sqlite3.Error as error:
            raise PodiumError(f"{path} cannot keep scores ({error}); delete it, or name another file") from error

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Row]:
        found = {}
        with self._lock, self._typed_errors():
            for key in keys:
                row = self._file.execute(SELECT, (key,)).fetchone()
                if row is not None:
                    found[key] = row
        return found

    def put(self, rows: Mapping[bytes, Row]) -> None:
        with self._lock, self._typed_errors(), self._file:
            self._file.executemany(
                INSERT,
                [(key, *row) for key, row in rows.items()],
            )

    @contextlib.contextmanager
    def _typed_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise PodiumError(f"the file of scores failed ({error}); scores were computed and not kept") from error

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._file.close()
