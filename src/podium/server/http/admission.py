"""Limits on the requests in progress: their number, per model and in total, and the memory that they take together."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from podium.server.dialects.call import Refusal

__all__ = ["Admission", "RequestMemory"]


class Admission:
    """Counts requests and their memory.

    All methods are called on the thread of one event loop. Searches also call RequestMemory.grow on other threads.
    """

    def __init__(self, max_requests: int, max_bytes: int) -> None:
        self.max_requests = max_requests
        self.max_bytes = max_bytes
        self.request_count = 0
        self.used_bytes = 0
        self.memory_lock = threading.Lock()
        self._requests_per_model: Counter[Hashable] = Counter()
        self._average_seconds = 1.0  # moving average of the time of a request
        self.is_draining = False  # whether the server is shutting down and accepts no more requests
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    @contextmanager
    def slot(self, model_key: Hashable, *, is_only_model: bool) -> Iterator[None]:
        """Count a request while it is in progress. Raises Refusal if there are too many.

        One of several models leaves a quarter of all slots, rounded down, to the other models.
        """
        self.check_open()
        model_limit = self.max_requests if is_only_model else self.max_requests - self.max_requests // 4
        if self.request_count >= self.max_requests or self._requests_per_model[model_key] >= model_limit:
            raise Refusal(429, "too many requests are in progress; try again later", retry_after=self.retry_after)
        self.request_count += 1
        self._requests_per_model[model_key] += 1
        self._is_idle.clear()
        start = time.monotonic()
        try:
            yield
        finally:
            self._average_seconds += 0.1 * (time.monotonic() - start - self._average_seconds)
            self.request_count -= 1
            self._requests_per_model[model_key] -= 1
            if not self.request_count:
                self._is_idle.set()

    @contextmanager
    def request_memory(self) -> Iterator[RequestMemory]:
        """Yield a RequestMemory whose bytes are released at the end."""
        memory = RequestMemory(self)
        try:
            yield memory
        finally:
            memory.close()

    def check_open(self) -> None:
        """Raise Refusal if the server is shutting down."""
        if self.is_draining:
            raise Refusal(503, "this server is shutting down; send the request to another server", retry_after=1)

    @property
    def retry_after(self) -> int:
        """After how many seconds a client should repeat a refused request: about the time that one request takes."""
        return min(30, max(1, math.ceil(self._average_seconds)))

    async def drain(self) -> None:
        """Refuse further requests, and return when the requests in progress are done."""
        self.is_draining = True
        await self._is_idle.wait()


class RequestMemory:
    """The memory that one request takes: its body, the decoded request, and its reply."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._is_closed = False
        self.used_bytes = 0

    def grow(self, byte_count: int) -> None:
        """Reserve more bytes before they are allocated. A negative `byte_count` releases bytes.

        Raises Refusal if the server's memory would be exceeded, or if the request is over: its search may still run on another
        thread.
        """
        limit = self._admission.max_bytes
        with self._admission.memory_lock:
            if self._is_closed:
                raise Refusal(503, "the request is over")
            if self.used_bytes + byte_count > limit:
                message = f"the request needs more memory than the {limit:,} bytes that this server may use"
                raise Refusal(413, f"{message}; send or request fewer documents")
            if self._admission.used_bytes + byte_count > limit:
                raise Refusal(
                    429, "the requests in progress take all of the server's memory; try again later",
                    retry_after=self._admission.retry_after,
                )  # fmt: skip
            self._set_bytes(self.used_bytes + byte_count)

    def resize(self, byte_count: int) -> None:
        """Set the number of reserved bytes. It is not checked: the bytes are allocated already, or fewer than before."""
        with self._admission.memory_lock:
            self._set_bytes(byte_count)

    def close(self) -> None:
        """Release all bytes at the end of the request."""
        with self._admission.memory_lock:
            self._is_closed = True
            self._set_bytes(0)

    def _set_bytes(self, byte_count: int) -> None:
        self._admission.used_bytes += byte_count - self.used_bytes
        self.used_bytes = byte_count
