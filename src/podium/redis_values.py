"""RedisValues: values in a Redis that is used as a cache. If Redis is slow or down, callers continue without the cache."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from podium.daemon_threads import start_on_thread
from podium.errors import InvalidInput, PodiumError
from podium.extras import import_optional

__all__ = ["RedisValues", "checked_values", "without_login"]

Result = TypeVar("Result")

_log = logging.getLogger("podium")
TIMEOUT_SECONDS = 0.5  # for a whole call: if a server sends its reply slowly, no single read of the reply takes long
RETRY_AFTER_SECONDS = 5.0  # how long Redis is not called after a failure


def without_login(url: str) -> str:
    """Return a URL without its user name and password.

    >>> without_login("redis://user:secret@host:6379/0")
    'redis://host:6379/0'
    """
    return re.sub(r"(://)[^/\s]*@", r"\1", url)


class RedisValues:
    """Gets and sets values at a URL (redis://, rediss:// or unix://). Safe to share between threads.

    `purpose` is the name of the cache in messages. If Redis fails or takes half a second, the call raises PodiumError. For the
    next `retry_seconds`, all calls raise PodiumError without calling Redis. The first call after that tries Redis again, and
    other calls still raise PodiumError until it succeeds.
    """

    def __init__(self, url: str, purpose: str, *, retry_seconds: float = RETRY_AFTER_SECONDS) -> None:
        redis = import_optional("redis", "redis")
        self._purpose = purpose
        self._retry_seconds = retry_seconds
        no_retries = redis.retry.Retry(redis.backoff.NoBackoff(), 0)  # retries would go on after the call has timed out
        timeouts = {"socket_timeout": TIMEOUT_SECONDS, "socket_connect_timeout": TIMEOUT_SECONDS}
        try:
            self._redis: Any = redis.Redis.from_url(url, **timeouts, retry=no_retries)
        except ValueError:
            raise InvalidInput(f"{purpose} must be the URL of a Redis: redis://host:port/db, rediss://… or unix://…") from None
        self._retry_at = 0.0  # when Redis may be called again, on the monotonic clock; 0 if the last call succeeded

    def get(self, names: Sequence[str]) -> list[Any]:
        """Return the value of each name. It is None if the name has no value, or a value that is not of Redis's type string."""
        return self._call(lambda: checked_values(self._redis.mget(names), len(names))) if names else []

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

    def _call(self, operation: Callable[[], Result]) -> Result:
        """Run an operation on a thread and return its result. Raises PodiumError if it fails or takes too long.

        The thread is needed because redis-py limits only the time of each read.
        """
        is_retry = self._retry_at > 0
        if time.monotonic() < self._retry_at:
            raise PodiumError(f"{self._purpose} could not be reached a moment ago")
        if is_retry:
            self._pause()  # so that only this call tries Redis again
        future = None
        try:
            future = start_on_thread(operation, "podium-redis-values")
            result = future.result(TIMEOUT_SECONDS)
        except Exception as error:  # a malformed reply can make redis-py raise any exception
            self._pause()
            if future is not None and not future.done():
                self._redis.connection_pool.disconnect()  # ends the operation, which would wait as long as bytes arrive
            reason = str(error) if isinstance(error, PodiumError) else type(error).__name__
            _log.warning("%s failed (%s)", self._purpose, reason)
            raise PodiumError(f"{self._purpose} failed ({reason})") from error
        if is_retry:
            self._retry_at = 0.0
        return result

    def _pause(self) -> None:
        self._retry_at = time.monotonic() + self._retry_seconds


def checked_values(reply: Any, count: int) -> list[Any]:
    """Return the reply to MGET or to several GETs. Raises PodiumError unless the reply is a list of `count` values."""
    if not isinstance(reply, list) or len(reply) != count:
        raise PodiumError("its reply does not have a value for each name")
    return reply
