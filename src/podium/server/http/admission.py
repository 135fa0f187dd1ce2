"""Limits on the number of requests in progress, per model and in total, and on the memory that they take together."""

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
    """Counts requests and their memory. All calls come from one event loop, so there is no lock."""

    def __init__(self, max_requests: int, max_bytes: int) -> None:
        self.max_requests = max_requests
        self.max_bytes = max_bytes
        self.requests = 0
        self.bytes = 0
        self._requests_per_model: Counter[Hashable] = Counter()
        self._usual_seconds = 1.0  # moving average of the time of a request
        self._draining = False
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def draining(self) -> bool:
        """Whether the server is shutting down and accepts no more requests."""
        return self._draining

    @contextmanager
    def slot(self, model: Hashable, *, only_model: bool) -> Iterator[None]:
        """Count a request while it is in progress. Raises Refusal if there are too many.

        One of several models can take at most three quarters of all slots.
        """
        self.check()
        model_limit = self.max_requests if only_model else self.max_requests - self.max_requests // 4
        if self.requests >= self.max_requests or self._requests_per_model[model] >= model_limit:
            raise Refusal(429, "too many requests are in progress; try again later", retry_after=self.retry_after)
        self.requests += 1
        self._requests_per_model[model] += 1
        self._empty.clear()
        began = time.monotonic()
        try:
            yield
        finally:
            self._usual_seconds += 0.1 * (time.monotonic() - began - self._usual_seconds)
            self.requests -= 1
            self._requests_per_model[model] -= 1
            if not self.requests:
                self._empty.set()

    @contextmanager
    def room(self) -> Iterator[Room]:
        """Yield a Room, and release its bytes at the end."""
        room = Room(self)
        try:
            yield room
        finally:
            room.resize(0)

    def check(self) -> None:
        """Raise Refusal if the server is shutting down."""
        if self._draining:
            raise Refusal(503, "this server is shutting down; send the request to another server", retry_after=1)

    @property
    def retry_after(self) -> int:
        return min(30, max(1, math.ceil(self._usual_seconds)))

    async def drain(self) -> None:
        """Refuse further requests, and return when those in progress are done."""
        self._draining = True
        await self._empty.wait()


class Room:
    """The memory that one request takes: its body, the decoded request, and its reply."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.bytes = 0

    def grow(self, count: int) -> None:
        """Add `count` bytes, before they are allocated. Raises Refusal if that is too much for the server."""
        limit = self._admission.max_bytes
        if self.bytes + count > limit:
            raise Refusal(
                413, f"the request needs more memory than the {limit:,} bytes that this server may use; send fewer documents"
            )
        if self._admission.bytes + count > limit:
            raise Refusal(
                429, "the requests in progress take all of the server's memory; try again later",
                retry_after=self._admission.retry_after,
            )  # fmt: skip
        self.resize(self.bytes + count)

    def resize(self, count: int) -> None:
        """Set the number of bytes, without a check: they are allocated already, or fewer than before."""
        self._admission.bytes += count - self.bytes
        self.bytes = count
