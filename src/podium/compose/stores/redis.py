"""RedisScores: scores cached in a Redis that many processes share. Only hashes and numbers are stored, never text."""

from __future__ import annotations

import logging
import math
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from podium.compose.stores import Row
from podium.errors import InvalidInput, PodiumError
from podium.extras import import_optional

__all__ = ["RedisScores"]

_log = logging.getLogger("podium")
PREFIX = "podium:score:1:"  # 1 is the version of the layout below
# The fields of a Row. None is stored as NaN in `raw`, and as -1 in the numbers of tokens.
LAYOUT = struct.Struct("<ddiiii")
LAYOUT_WITHOUT_QUERY = struct.Struct("<ddii")  # written by earlier versions of podium
EXPIRY_SECONDS = 7 * 86_400  # a hosted model may change under the same name
TIMEOUT_SECONDS = 0.5
RETRY_AFTER_SECONDS = 5.0  # after a failure, Redis is not called for this long


class RedisScores:
    """A store for CachedScorer. Safe to share between threads.

    `url` is redis://, rediss:// or unix://. If Redis fails, calls raise PodiumError, for five seconds without trying again.
    """

    def __init__(self, url: str) -> None:
        redis = import_optional("redis", "redis")
        try:
            self._redis: Any = redis.Redis.from_url(url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS)
        except ValueError:
            raise InvalidInput("cache must be the URL of a Redis: redis://host:port/db, rediss://… or unix://…") from None
        self._errors: tuple[type[Exception], ...] = (redis.RedisError, OSError)
        self._retry_at = 0.0  # by time.monotonic
        self._lock = threading.Lock()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Row]:
        if not keys:
            return {}
        values = self._call(lambda: self._redis.mget([PREFIX + key.hex() for key in keys]))
        return {key: row for key, value in zip(keys, values, strict=True) if (row := _decoded(value)) is not None}

    def put(self, rows: Mapping[bytes, Row]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for key, row in rows.items():
            pipeline.set(PREFIX + key.hex(), _encoded(row), ex=EXPIRY_SECONDS)
        self._call(pipeline.execute)

    def close(self) -> None:
        self._redis.close()

    def _call(self, operation: Callable[[], Any]) -> Any:
        if time.monotonic() < self._retry_at:
            raise PodiumError("the score cache could not be reached a moment ago; scores were computed")
        try:
            return operation()
        except self._errors as error:
            with self._lock:
                self._retry_at = time.monotonic() + RETRY_AFTER_SECONDS
            _log.warning("the score cache failed (%s); scores are computed", type(error).__name__)
            raise PodiumError(f"the score cache failed ({type(error).__name__}); scores were computed") from error


def _encoded(row: Row) -> bytes:
    value, raw, *counts = row
    return LAYOUT.pack(value, math.nan if raw is None else raw, *(-1 if count is None else count for count in counts))


def _decoded(content: Any) -> Row | None:
    """Return the row that was stored as `content`, None if it is absent or was not written by podium."""
    if not isinstance(content, bytes) or len(content) not in (LAYOUT.size, LAYOUT_WITHOUT_QUERY.size):
        return None
    has_query = len(content) == LAYOUT.size
    value, raw, *counts = LAYOUT.unpack(content) if has_query else (*LAYOUT_WITHOUT_QUERY.unpack(content), -1, -1)
    if not math.isfinite(value) or math.isinf(raw):
        return None
    return Row(value, None if math.isnan(raw) else raw, *(None if count < 0 else count for count in counts))
