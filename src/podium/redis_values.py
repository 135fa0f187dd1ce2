"""RedisValues: values in a Redis that is used as a cache. If Redis is slow or down, callers go on without it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from podium.errors import InvalidInput, PodiumError
from podium.extras import import_optional

__all__ = ["RedisValues"]

_log = logging.getLogger("podium")
TIMEOUT_SECONDS = 0.5
RETRY_AFTER_SECONDS = 5.0  # how long Redis is not called after a failure


class RedisValues:
    """Gets and sets values at a URL (redis://, rediss:// or unix://). Safe to share between threads.

    `purpose` is the name of the cache in messages. If Redis fails, the call raises PodiumError. For the next five seconds, all
    calls raise it without calling Redis.
    """

    def __init__(self, url: str, purpose: str) -> None:
        redis = import_optional("redis", "redis")
        self._purpose = purpose
        try:
            self._redis: Any = redis.Redis.from_url(url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS)
        except ValueError:
            raise InvalidInput(f"{purpose} must be the URL of a Redis: redis://host:port/db, rediss://… or unix://…") from None
        self._errors: tuple[type[Exception], ...] = (redis.RedisError, OSError)
        self._retry_at = 0.0

    def get(self, names: Sequence[str]) -> list[Any]:
        """Return the value of each name, None if the name has no value or the value is not a string of Redis."""
        return list(self._call(lambda: self._redis.mget(names))) if names else []

    def set(self, values: Mapping[str, bytes], *, expiry_seconds: int | None = None) -> None:
        def write() -> None:
            pipeline = self._redis.pipeline(transaction=False)
            for name, value in values.items():
                pipeline.set(name, value, ex=expiry_seconds)
            pipeline.execute()

        self._call(write)

    def delete(self, names: Iterable[str]) -> None:
        name_list = list(names)
        if name_list:
            self._call(lambda: self._redis.delete(*name_list))

    def close(self) -> None:
        self._redis.close()

    def _call(self, operation: Callable[[], Any]) -> Any:
        if time.monotonic() < self._retry_at:
            raise PodiumError(f"{self._purpose} could not be reached a moment ago")
        try:
            return operation()
        except self._errors as error:
            self._retry_at = time.monotonic() + RETRY_AFTER_SECONDS
            _log.warning("%s failed (%s)", self._purpose, type(error).__name__)
            raise PodiumError(f"{self._purpose} failed ({type(error).__name__})") from error
