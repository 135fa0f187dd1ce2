"""Bounds on how many requests are served at once, of all models and of each, and on the memory that they take together."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from podium.server.dialects.call import Refusal

__all__ = ["Admission", "Room"]


class Admission:
    """Places for requests, and room for their data. Used from one event loop only, so that it needs no lock."""

    def __init__(self, max_requests: int, max_bytes: int) -> None:
        self.max_requests, self.max_bytes = max_requests, max_bytes
        self.requests, self.bytes = 0, 0
        self._of_model: Counter[Hashable] = Counter()
        self._usual = 1.0  # seconds that a request took lately
        self._draining = False
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def draining(self) -> bool:
        return self._draining

    @contextmanager
    def place(self, model: Hashable, *, only_model: bool) -> Iterator[None]:
        """Hold one of the places, or refuse. Where there are several models, one alone never gets the last quarter."""
        self.check()
        of_model = self.max_requests if only_model else self.max_requests - self.max_requests // 4
        if self.requests >= self.max_requests or self._of_model[model] >= of_model:
            raise Refusal(429, "too many requests are waiting; try again later", retry_after=self.retry_after)
        self.requests += 1
        self._of_model[model] += 1
        self._empty.clear()
        began = time.monotonic()
        try:
            yield
        finally:
            self._usual += 0.1 * (time.monotonic() - began - self._usual)
            self.requests -= 1
            self._of_model[model] -= 1
            if not self.requests:
                self._empty.set()

    @contextmanager
    def room(self) -> Iterator[Room]:
        """Hold room for the data of one request: its body, what is decoded of it, its reply."""
        room = Room(self)
        try:
            yield room
        finally:
            room.resize(0)

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
    """The bytes that one request holds. `ascii_bytes` is the most that its documents take as JSON in ASCII."""

    def __init__(self, admission: Admission) -> None:
        self._admission, self.bytes, self.ascii_bytes = admission, 0, 0

    def grow(self, count: int) -> None:
        """Hold more bytes. Raises Refusal where all requests together would hold too many."""
        limit = self._admission.max_bytes
        if self.bytes + count > limit:
            raise Refusal(413, f"the request takes more than the {limit:,} bytes of memory that this server has; send less")
        if self._admission.bytes + count > limit:
            raise Refusal(
                429, "the requests that are waiting are too large together; try again later",
                retry_after=self._admission.retry_after,
            )  # fmt: skip
        self.resize(self.bytes + count)

    def resize(self, count: int) -> None:
        """Hold this many bytes, which are there already or are fewer than before."""
        self._admission.bytes += count - self.bytes
        self.bytes = count
