"""SqliteScores: scores cached in a file. An evaluation that was interrupted continues without computing them again."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from podium.compose.stores import Row
from podium.errors import PodiumError

__all__ = ["SqliteScores"]

CREATE = (
    "CREATE TABLE IF NOT EXISTS scores "
    "(key BLOB PRIMARY KEY, value REAL NOT NULL, raw REAL, tokens INTEGER, dropped INTEGER) WITHOUT ROWID"
)
LOCK_SECONDS = 30.0  # how long to wait for another process that is writing
ADDED_COLUMNS = {  # name → type; they are missing in files of earlier versions of podium
    "query_tokens": "INTEGER",
    "query_dropped": "INTEGER",
    "passage_start": "INTEGER",
    "passage_end": "INTEGER",
    "passage_score": "REAL",
}
NAMES = ", ".join(("value", "raw", "tokens", "dropped", *ADDED_COLUMNS))
SELECT = f"SELECT {NAMES} FROM scores WHERE key = ?"  # noqa: S608  the names are constants
INSERT = f"INSERT OR REPLACE INTO scores (key, {NAMES}) VALUES (?{', ?' * len(Row._fields)})"  # noqa: S608  as above


class SqliteScores:
    """A store for CachedScorer in an SQLite file. Several threads and several processes may use it at once."""

    def __init__(self, path: str | Path) -> None:
        self.location = str(path)
        self._lock = threading.Lock()
        try:
            self._database = sqlite3.connect(str(path), timeout=LOCK_SECONDS, check_same_thread=False)
            with self._database:
                self._database.execute("PRAGMA journal_mode=WAL")
                self._database.execute(CREATE)
                columns = {column[1] for column in self._database.execute("PRAGMA table_info(scores)")}
                for name, type_name in ADDED_COLUMNS.items():
                    if name not in columns:
                        self._database.execute(f"ALTER TABLE scores ADD COLUMN {name} {type_name}")
        except sqlite3.Error as error:
            raise PodiumError(f"{path} cannot store scores ({error}); delete it, or name another file") from error

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Row]:
        with self._lock, self._podium_errors():
            rows = ((key, self._database.execute(SELECT, (key,)).fetchone()) for key in keys)
            return {key: Row(*row) for key, row in rows if row is not None}

    def put(self, rows: Mapping[bytes, Row]) -> None:
        with self._lock, self._podium_errors(), self._database:
            self._database.executemany(INSERT, [(key, *row) for key, row in rows.items()])

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._database.close()

    @contextlib.contextmanager
    def _podium_errors(self) -> Iterator[None]:
        """Convert errors of SQLite in the block to PodiumError."""
        try:
            yield
        except sqlite3.Error as error:
            raise PodiumError(f"the score file failed ({error})") from error
