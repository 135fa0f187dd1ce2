"""SqliteScores: scores cached in a file. An evaluation that was interrupted continues without computing them again."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from podium.compose.stores import Row
from podium.errors import PodiumError
from podium.forks import close_before_fork, no_fork, renew_after_fork

__all__ = ["SqliteScores"]

COLUMNS = {  # name → type
    "key": "BLOB PRIMARY KEY",
    "value": "REAL NOT NULL",
    "raw": "REAL",
    "tokens": "INTEGER",
    "dropped": "INTEGER",
    "query_tokens": "INTEGER",
    "query_dropped": "INTEGER",
    "passage_start": "INTEGER",
    "passage_end": "INTEGER",
    "passage_score": "REAL",
}
CREATE = f"CREATE TABLE IF NOT EXISTS scores ({', '.join(map(' '.join, COLUMNS.items()))}) WITHOUT ROWID"
LOCK_SECONDS = 30.0  # how long to wait for another process that is writing
NAMES = ", ".join(list(COLUMNS)[1:])
SELECT = f"SELECT {NAMES} FROM scores WHERE key = ?"  # noqa: S608  the names are constants
INSERT = f"INSERT OR REPLACE INTO scores (key, {NAMES}) VALUES (?{', ?' * len(Row._fields)})"  # noqa: S608  as above


class SqliteScores:
    """A store for CachedScorer in an SQLite file. Several threads and several processes may use it at once."""

    def __init__(self, path: str | Path) -> None:
        self.location = str(path)
        self._absolute_path = Path(path).absolute()  # a forked process opens the file again, maybe in another folder
        self._database: sqlite3.Connection | None = self._connection()
        self._inherited: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        close_before_fork(self)
        renew_after_fork(self)

    def close_connections(self) -> None:
        """Close the connection before a fork, because SQLite does not allow two processes to have it."""
        self.close()
        self._database = None

    def renew(self) -> None:
        """Replace the lock in a forked process. A connection that a long call kept from being closed is left unused."""
        self._lock = threading.Lock()
        if self._database is not None:
            self._inherited.append(self._database)
            self._database = None

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Row]:
        with self._open_database() as database:
            rows = ((key, database.execute(SELECT, (key,)).fetchone()) for key in keys)
            # Other values than numbers are from an earlier version, or from another program.
            return {key: Row(*row) for key, row in rows if row is not None and not any(isinstance(x, bytes | str) for x in row)}

    def put(self, rows: Mapping[bytes, Row]) -> None:
        with self._open_database() as database, database:
            database.executemany(INSERT, [(key, *row) for key, row in rows.items()])

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            if self._database is not None:
                self._database.close()

    @contextlib.contextmanager
    def _open_database(self) -> Iterator[sqlite3.Connection]:
        """Return the connection, for this thread only. In the block, errors of SQLite become PodiumError."""
        with no_fork, self._lock:
            try:
                if self._database is None:
                    self._database = self._connection()
                yield self._database
            except (sqlite3.Error, OverflowError) as error:  # the second for a number that has more than 64 bits
                raise PodiumError(f"the score file failed ({error})") from error

    def _connection(self) -> sqlite3.Connection:
        """Return a connection to the file, which is created if it is missing."""
        try:
            database = sqlite3.connect(self._absolute_path, timeout=LOCK_SECONDS, check_same_thread=False)
            try:
                _use_write_ahead_log(database)
                if _missing_columns(database):
                    _create_columns(database)
            except BaseException:
                database.close()
                raise
            return database
        except sqlite3.Error as error:
            raise PodiumError(f"{self.location} cannot store scores ({error}); delete it, or name another file") from error


def _use_write_ahead_log(database: sqlite3.Connection) -> None:
    """Let one process write while others read. Unlike other statements, this one does not wait for other processes itself."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            database.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _missing_columns(database: sqlite3.Connection) -> set[str]:
    """Return the columns that the table lacks: all if there is no table, some in files of earlier versions of podium."""
    return COLUMNS.keys() - {column[1] for column in database.execute("PRAGMA table_info(scores)")}


def _create_columns(database: sqlite3.Connection) -> None:
    """Create the table, or add the columns that it lacks."""
    with database:
        database.execute("BEGIN IMMEDIATE")  # Another process may be creating them.
        database.execute(CREATE)
        for name in _missing_columns(database):
            database.execute(f"ALTER TABLE scores ADD COLUMN {name} {COLUMNS[name]}")
