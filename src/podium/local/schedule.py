"""Which pairs run when, on which worker. Longest first, each at its own length, each on one thread.

Pairs are not padded and not mixed, so a pair's score is the same whatever runs beside it, and what is in memory at once
is one pair per worker.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

__all__ = ["Work", "Workers"]


class Work:
    """Items to be run once each, longest first. `cancel` keeps what has not started from starting."""

    def __init__(self, lengths: Sequence[int], run: Callable[[int], None]) -> None:
        self._order: Iterator[int] = iter(sorted(range(len(lengths)), key=lambda item: -lengths[item]))
        self._run = run
        self._cancelled = threading.Event()
        self._lock = threading.Lock()

    def drain(self) -> None:
        """Run items until there are none; several threads may do so at once. The first error stops them all."""
        while (item := self._next()) is not None:
            try:
                self._run(item)
            except BaseException:
                self.cancel()
                raise

    def cancel(self) -> None:
        self._cancelled.set()

    def _next(self) -> int | None:
        with self._lock:
            return None if self._cancelled.is_set() else next(self._order, None)


class Workers:
    """A fixed number of threads that all calls share, so that many calls at once don't crowd the processor."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._threads, self._process = self._made()

    def run(self, work: Work) -> None:
        """Do the work and return when it is done; an error, or an interrupt, stops what has not started."""
        futures = self._start(work)
        try:
            for future in futures:
                future.result()
        finally:
            work.cancel()

    async def arun(self, work: Work) -> None:
        """Do what `run` does without blocking the event loop; being cancelled stops what has not started."""
        try:
            await asyncio.gather(*map(asyncio.wrap_future, self._start(work)))
        finally:
            work.cancel()

    async def acall(self, function: Callable[[], None]) -> None:
        """Run a function on one of the threads and wait for it without blocking the event loop."""
        await asyncio.wrap_future(self._submit(function))

    def close(self) -> None:
        self._threads.shutdown(wait=False)  # calls that are under way are finished

    def _start(self, work: Work) -> list[Future[None]]:
        return [self._submit(work.drain) for _ in range(self.count)]

    def _submit(self, function: Callable[[], None]) -> Future[None]:
        if self._process != os.getpid():  # threads don't survive a fork, and nothing tells their pool
            self._threads, self._process = self._made()
        return self._threads.submit(function)

    def _made(self) -> tuple[ThreadPoolExecutor, int]:
        return ThreadPoolExecutor(self.count, thread_name_prefix="podium"), os.getpid()
