"""Which pairs run when, on which worker. Longest first, each at its own length, each on one thread.

Pairs are not padded, and no runtime lets one see another, so a pair's score is the same whatever runs beside it. What is
in memory at once is one pair per worker, or as many as have a few hundred tokens together.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

__all__ = ["Work", "Workers"]


class Work:
    """Items to be run once each, longest first. `cancel` keeps what has not started from starting.

    `run` is given as many items as have `at_once` tokens together, at least one; towards the end fewer, so that `workers`
    threads end together.
    """

    def __init__(
        self, lengths: Sequence[int], run: Callable[[Sequence[int]], None], *, at_once: int = 1, workers: int = 1
    ) -> None:
        self._lengths, self._run, self._at_once, self._shares = lengths, run, at_once, 2 * workers
        self._order = sorted(range(len(lengths)), key=lambda item: -lengths[item])
        self._begun, self._tokens_left = 0, sum(lengths)
        self._cancelled = threading.Event()
        self._lock = threading.Lock()

    def step(self) -> bool:
        """Run the next items and say whether there were any; several threads may do so at once. An error stops them all."""
        items = self._next()
        if items:
            try:
                self._run(items)
            except BaseException:
                self.cancel()
                raise
        return bool(items)

    def cancel(self) -> None:
        self._cancelled.set()

    def _next(self) -> Sequence[int]:
        with self._lock:
            if self._cancelled.is_set():
                return ()
            room = min(self._at_once, self._tokens_left // self._shares)
            begin, taken = self._begun, 0
            while self._begun < len(self._order):
                length = self._lengths[self._order[self._begun]]
                if taken and taken + length > room:
                    break
                taken += length
                self._begun += 1
            self._tokens_left -= taken
            return self._order[begin : self._begun]


class Workers:
    """A fixed number of threads that all calls share, in turns, so that many calls at once don't crowd the processor."""

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
        ends: list[Future[None]] = [Future() for _ in range(self.count)]
        for end in ends:
            self._submit(lambda end=end: self._take_turn(work, end))  # type: ignore[misc]  # a default binds `end` now
        return ends

    def _take_turn(self, work: Work, end: Future[None]) -> None:
        """Run one step, then stand in line again behind all other calls: a small one never waits for a large one's end."""
        try:
            while work.step():
                if self._stand_in_line(work, end):
                    return
            end.set_result(None)
        except BaseException as error:
            end.set_exception(error)

    def _stand_in_line(self, work: Work, end: Future[None]) -> bool:
        """Whether there was a line to stand in: once closed there is none, and what is under way goes on to its end."""
        try:
            self._submit(lambda: self._take_turn(work, end))
        except RuntimeError:
            return False
        return True

    def _submit(self, function: Callable[[], None]) -> Future[None]:
        if self._process != os.getpid():  # threads don't survive a fork, and nothing tells their pool
            self._threads, self._process = self._made()
        return self._threads.submit(function)

    def _made(self) -> tuple[ThreadPoolExecutor, int]:
        return ThreadPoolExecutor(self.count, thread_name_prefix="podium"), os.getpid()
