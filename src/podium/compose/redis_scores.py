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
LAYOUT = struct.Struct("<ddii")  # value, raw (NaN: none), tokens, dropped tokens (-1: not known)
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
    value, raw, tokens, dropped = row
    return LAYOUT.pack(
        value, math.nan if raw is None else raw, -1 if tokens is None else tokens, -1 if dropped is None else dropped
    )


def _read(said: Any) -> Row | None:
    """Return a row, or None for what is absent or none of ours."""
    if not isinstance(said, bytes) or len(said) != LAYOUT.size:
        return None
    value, raw, tokens, dropped = LAYOUT.unpack(said)
    if not math.isfinite(value) or math.isinf(raw):
        return None
    return value, None if math.isnan(raw) else raw, None if tokens < 0 else tokens, None if dropped < 0 else dropped
