"""Scores that were paid for once, in SQLite: by scorer, query and text. An evaluation that is interrupted goes on for free."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

from podium.errors import PodiumError
from podium.types import ScoreKind, Scorer, Scores

__all__ = ["RememberingScorer", "ScoreStore"]

Row = tuple[float, float | None, int | None, int | None]
"""Value, raw, tokens, dropped tokens."""


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
        except sqlite3.Error as error:
            raise PodiumError(f"{path} cannot keep scores ({error}); delete it, or name another file") from error

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Row]:
        found = {}
        with self._lock:
            for key in keys:
                row = self._file.execute("SELECT value, raw, tokens, dropped FROM scores WHERE key = ?", (key,)).fetchone()
                if row is not None:
                    found[key] = row
        return found

    def put(self, rows: dict[bytes, Row]) -> None:
        with self._lock, self._file:
            self._file.executemany(
                "INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?)", [(key, *row) for key, row in rows.items()]
            )

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._file.close()


class RememberingScorer:
    """A scorer that asks another only for what the store lacks. `asked` and `known` count texts."""

    def __init__(self, scorer: Scorer, store: ScoreStore, identity: str) -> None:
        self.scorer, self._store, self._identity = scorer, store, identity
        self.asked = self.known = 0

    @property
    def model(self) -> str:
        return self.scorer.model

    @property
    def revision(self) -> str | None:
        return self.scorer.revision

    @property
    def score_kind(self) -> ScoreKind:
        return self.scorer.score_kind

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        keys = [self._key(query, text) for text in texts]
        known = self._store.get(keys)
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        self.known, self.asked = self.known + len(texts) - len(missing), self.asked + len(missing)
        given = self.scorer.score(query, list(missing.values())) if missing else Scores(())
        fresh = dict(zip(missing, _rows(given), strict=True))
        self._store.put(fresh)
        return _scores([(known | fresh)[key] for key in keys], given)

    def close(self) -> None:
        if callable(close := getattr(self.scorer, "close", None)):
            close()

    def _key(self, query: str, text: str) -> bytes:
        parts = (part.encode("utf-8", "replace") for part in (self._identity, query, text))
        return hashlib.blake2b(b"".join(b"%d:%s" % (len(part), part) for part in parts), digest_size=20).digest()


def _rows(given: Scores) -> list[Row]:
    unknown = [None] * len(given.values)
    return list(zip(given.values, given.raw or unknown, given.tokens or unknown, given.dropped_tokens or unknown, strict=True))


def _scores(rows: Sequence[Row], given: Scores) -> Scores:
    values, raw, tokens, dropped = zip(*rows, strict=True)
    return Scores(
        values=values,
        raw=None if None in raw else raw,
        tokens=tokens,
        dropped_tokens=dropped,
        total_tokens=given.total_tokens,
        billed=given.billed,
        notes=given.notes,
    )
