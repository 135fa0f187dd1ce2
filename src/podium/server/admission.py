"""Who may come in: a bounded number of requests at once, and of bytes of theirs. Refusing is cheap and at once."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from podium.server.dialects.call import Refusal

__all__ = ["Admission"]


class Admission:
    """Places for requests, and room for their bodies. Used from one event loop only, so that it needs no lock."""

    def __init__(self, max_requests: int, max_bytes: int) -> None:
        self.max_requests, self.max_bytes = max_requests, max_bytes
        self.requests, self.bytes = 0, 0
        self._usual = 1.0  # seconds that a request took lately
        self._draining = False
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def draining(self) -> bool:
        return self._draining

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one of the places, or refuse."""
        self.check()
        if self.requests >= self.max_requests:
            raise Refusal(429, "too many requests are waiting; try again later", retry_after=self.retry_after)
        self.requests += 1
        self._empty.clear()
        began = time.monotonic()
        try:
            yield
        finally:
            self._usual += 0.1 * (time.monotonic() - began - self._usual)
            self.requests -= 1
            if not self.requests:
                self._empty.set()

    @contextmanager
    def room(self) -> Iterator[Room]:
        """Hold room for a body, which grows as it is read."""
        room = Room(self)
        try:
            yield room
        finally:
            self.bytes -= room.bytes

    def check(self) -> None:
        if self._draining:
            raise Refusal(503, "this server is shutting down; ask another", retry_after=1)

    @property
    def retry_after(self) -> int:
        return min(30, max(1, math.ceil(self._usual)))

    async def drain(self) -> None:
        """Let nobody in any more, and return when those who are in have their answers."""
        self._draining = True
        await self._empty.wait()


class Room:
    """The bytes that one request holds."""

    def __init__(self, admission: Admission) -> None:
        self._admission, self.bytes = admission, 0

    def grow(self, count: int) -> None:
        if self._admission.bytes + count > self._admission.max_bytes:
            raise Refusal(
                429, "the requests that are waiting are too large together; try again later",
                retry_after=self._admission.retry_after,
            )  # fmt: skip
        self._admission.bytes += count
        self.bytes += count
