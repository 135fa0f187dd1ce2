"""Scores kept in a Redis that many processes share. Only hashes and numbers are stored, never a query or a text."""

from __future__ import annotations

import logging
import math
import struct
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from podium.compose.cached import Row
from podium.errors import InvalidInput, PodiumError
from podium.extras import needed

__all__ = ["RedisScores"]

_log = logging.getLogger("podium")
PREFIX = "podium:score:1:"  # 1: the layout below
# value, raw (NaN: none), the text's tokens and dropped tokens, the query's (-1: not known); the query's came later
LAYOUT, SHORT_LAYOUT = struct.Struct("<ddiiii"), struct.Struct("<ddii")
DAYS = 7  # a hosted model may change under its name; none is believed for longer
PATIENCE, REST = 0.5, 5.0  # seconds that Redis may take; seconds it is left alone after it failed


class RedisScores:
    """A store for CachedScorer. Safe to share between threads. Where Redis fails, calls raise PodiumError and go on without."""

    def __init__(self, url: str) -> None:
        redis = needed("redis", "redis")
        try:
            self._redis: Any = redis.Redis.from_url(url, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE)
        except ValueError:
            raise InvalidInput("the cache is a Redis: redis://host:port/db, rediss://… or unix://…") from None
        self._failure: tuple[type[Exception], ...] = (redis.RedisError, OSError)
        self._rests_until, self._lock = 0.0, threading.Lock()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Row]:
        rows = self._asked(lambda: self._redis.mget([PREFIX + key.hex() for key in keys])) if keys else []
        return {key: row for key, said in zip(keys, rows, strict=True) if (row := _read(said)) is not None}

    def put(self, rows: Mapping[bytes, Row]) -> None:
        self._asked(lambda: self._put(rows))

    def close(self) -> None:
        self._redis.close()

    def _put(self, rows: Mapping[bytes, Row]) -> None:
        together = self._redis.pipeline(transaction=False)
        for key, row in rows.items():
            together.set(PREFIX + key.hex(), _written(row), ex=DAYS * 86_400)
        together.execute()

    def _asked(self, ask: Any) -> Any:
        if time.monotonic() < self._rests_until:
            raise PodiumError("the score cache could not be reached a moment ago; scores were computed")
        try:
            return ask()
        except self._failure as error:
            with self._lock:
                self._rests_until = time.monotonic() + REST
            _log.warning("the score cache failed (%s); scores are computed", type(error).__name__)
            raise PodiumError(f"the score cache failed ({type(error).__name__}); scores were computed") from error


def _written(row: Row) -> bytes:
    value, raw, *counts = row
    return LAYOUT.pack(value, math.nan if raw is None else raw, *(-1 if count is None else count for count in counts))


def _read(stored: Any) -> Row | None:
    """Return a row, or None for what is absent or not one of podium's."""
    if not isinstance(stored, bytes) or len(stored) not in (LAYOUT.size, SHORT_LAYOUT.size):
        return None
    long = len(stored) == LAYOUT.size
    value, raw, *counts = LAYOUT.unpack(stored) if long else (*SHORT_LAYOUT.unpack(stored), -1, -1)
    if not math.isfinite(value) or math.isinf(raw):
        return None
    tokens, dropped, query_tokens, query_dropped = (None if count < 0 else count for count in counts)
    return value, None if math.isnan(raw) else raw, tokens, dropped, query_tokens, query_dropped
