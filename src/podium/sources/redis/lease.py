"""Lease: one loader of an index at a time. A key with an expiry, renewed while the loader lives."""

from __future__ import annotations

import threading
import time
import uuid

from podium.errors import SourceError
from podium.sources.redis.server import Server

__all__ = ["Lease"]

SECONDS, RENEWED_EACH, POLLED_EACH = 15.0, 3.0, 0.2


class Lease:
    """The right to load documents into an index.

    A loader that was killed leaves its key to expire. So where there is one, `acquire` watches whether it is renewed: then
    its owner is alive, and this raises; else this waits until it expires.
    """

    def __init__(self, server: Server, key: str, *, seconds: float = SECONDS, renewed_each: float = RENEWED_EACH) -> None:
        self._server, self._key, self._token = server, key, uuid.uuid4().hex
        self._milliseconds, self._renewed_each = int(1000 * seconds), renewed_each
        self._released, self._is_lost = threading.Event(), False
        self._thread = threading.Thread(target=self._renew_until_released, daemon=True, name="podium-lease")

    def acquire(self) -> None:
        """Raises SourceError where another process is loading."""
        left, ends = self._milliseconds_left(), time.monotonic() + 2 * self._milliseconds / 1000
        while not self._taken():
            time.sleep(POLLED_EACH)
            before, left = left, self._milliseconds_left()
            if left > before > 0 or left == -1 or time.monotonic() > ends:  # -1: a key that never expires
                raise self._busy()
        self._thread.start()

    def check(self) -> None:
        """Raise SourceError where the lease ran out meanwhile, and another loader has taken it."""
        if self._is_lost:
            raise self._busy()

    def release(self) -> None:
        self._released.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._is_own():
            self._server.execute("DEL", self._key)

    def _taken(self) -> bool:
        return self._server.execute("SET", self._key, self._token, "NX", "PX", self._milliseconds) is not None

    def _milliseconds_left(self) -> int:
        return int(self._server.execute("PTTL", self._key))

    def _is_own(self) -> bool:
        return bool(self._server.execute("GET", self._key) == self._token.encode())

    def _renew_until_released(self) -> None:
        while not self._released.wait(self._renewed_each) and not self._is_lost:
            try:
                if self._is_own():
                    self._server.execute("PEXPIRE", self._key, self._milliseconds)
                else:
                    self._is_lost = not self._taken()
            except SourceError:  # the loader itself meets it, too, and says so
                continue

    def _busy(self) -> SourceError:
        return SourceError(
            f"another process is loading documents into index {self._server.index!r} on {self._server.where}; wait until it "
            "is done, then run this again"
        )
