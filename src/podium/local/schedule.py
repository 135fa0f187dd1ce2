"""Workers, the threads that run texts through a model, and Work, the texts of one call, of which the longest are first.

Texts are not padded, and a text's result does not depend on the others. A worker computes one text at a time, or short ones
of a few hundred tokens together.

Concurrent calls share the workers step by step. Most steps go to the job with the fewest tokens left, so that small jobs do
not wait for large ones; every fourth goes to the oldest job, so that small jobs cannot starve a large one. A job is one call,
or all calls of one request.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

from podium.errors import PodiumError
from podium.forks import renew_after_fork

__all__ = ["FEW_TEXTS", "Job", "Work", "Workers", "job", "off_loop"]

OLDEST_EVERY = 4  # steps
FEW_TEXTS = 1_000  # are prepared in about a millisecond; more are prepared by off_loop

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Job:
    """Calls that are scheduled as one.

    `tokens_to_come`: an estimate for the calls that have not begun. `tokens_waiting`: the tokens left of calls that have begun.
    """

    _numbers = itertools.count()

    def __init__(self, tokens_to_come: int = 0) -> None:
        self.number = next(self._numbers)
        self.tokens_to_come = tokens_to_come
        self.tokens_waiting = 0

    @property
    def tokens_left(self) -> int:
        return self.tokens_to_come + self.tokens_waiting


_job: ContextVar[Job | None] = ContextVar("job", default=None)


@contextmanager
def job(tokens_to_come: int) -> Iterator[Job]:
    """Make one job of all calls that begin in the block, also in asyncio's tasks and threads (to_thread) that start there.

    Before a call begins, subtract its part from `tokens_to_come`, because the call adds its real number of tokens.
    """
    current = Job(tokens_to_come)
    token = _job.set(current)
    try:
        yield current
    finally:
        _job.reset(token)


class Work:
    """Items that are run once each, longest first.

    `run` gets the indices of one item, or of several that have at most `at_once` tokens together. If there are spare
    workers, it gets fewer towards the end, so that `workers` threads finish together. `end` is done when no item runs any
    more. The first error is its exception, and stops items that have not begun.
    """

    def __init__(
        self, lengths: Sequence[int], run: Callable[[Sequence[int]], None], *, at_once: int = 1, workers: int = 1
    ) -> None:
        self._lengths = lengths
        self._run = run
        self._at_once = at_once
        self._shares = 2 * workers  # of the tokens left; a step gets one share if there are spare workers
        self._order = sorted(range(len(lengths)), key=lambda item: -lengths[item])
        self._begun_count = 0
        self._running_count = 0
        self.tokens_left = sum(lengths)
        self.job = _job.get() or Job()
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self.end: Future[None] = Future()
        self.end.set_running_or_notify_cancel()  # Future.cancel has no effect any more; Work.cancel lets running items finish

    def take(self, *, has_spare_workers: bool = True) -> Sequence[int]:
        """Return the next items for `run_items`, none if all have begun. With spare workers they are fewer, see the class."""
        with self._lock:
            limit = min(self._at_once, self.tokens_left // self._shares) if has_spare_workers else self._at_once
            begin = self._begun_count
            tokens = 0
            while self._begun_count < len(self._order):
                length = self._lengths[self._order[self._begun_count]]
                if tokens and tokens + length > limit:
                    break
                tokens += length
                self._begun_count += 1
            self.tokens_left -= tokens
            self._running_count += self._begun_count > begin
            self._set_end_if_done()
            return self._order[begin : self._begun_count]

    def run_items(self, items: Sequence[int]) -> None:
        """Run the items that `take` returned."""
        error: BaseException | None = None
        try:
            self._run(items)
        except BaseException as raised:
            error = raised
        with self._lock:
            self._running_count -= 1
            if error:
                self._error = self._error or error
                self._begun_count = len(self._order)
            self._set_end_if_done()

    def cancel(self) -> None:
        """Do not begin any more items."""
        with self._lock:
            self._begun_count = len(self._order)
            self._set_end_if_done()

    def _set_end_if_done(self) -> None:
        if self._running_count or self._begun_count < len(self._order) or self.end.done():
            return
        if self._error:
            self.end.set_exception(self._error)
        else:
            self.end.set_result(None)


class Workers:
    """A fixed number of threads that all calls share, so that many calls at once do not overload the processor."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.renew()
        renew_after_fork(self)

    def run(self, work: Work) -> None:
        """Run all items and return when they are done. An error or an interrupt stops those that have not begun."""
        self._start(work)
        try:
            work.end.result()
        finally:
            work.cancel()

    async def arun(self, work: Work) -> None:
        """Do what `run` does without blocking the event loop. Cancelling it stops items that have not begun."""
        self._start(work)
        try:
            await asyncio.wrap_future(work.end)
        finally:
            work.cancel()

    def close(self) -> None:
        """Let running calls finish, then end the threads."""
        self._thread_pool.shutdown(wait=False)

    def renew(self) -> None:
        """Start without calls, on new threads: a forked process has none."""
        self._thread_pool = ThreadPoolExecutor(self.count, thread_name_prefix="podium")
        self._lock = threading.Lock()
        self._calls: list[Work] = []  # those with items that have not begun, oldest first
        self._steps = itertools.count(1)

    def _start(self, work: Work) -> None:
        with self._lock:
            self._calls.append(work)
            work.job.tokens_waiting += work.tokens_left
        for started_count in range(self.count):
            try:
                self._thread_pool.submit(self._serve)
            except RuntimeError:  # another thread closed the pool; a worker that was started before runs all items
                if not started_count:
                    work.cancel()
                    raise PodiumError("this model was closed during the call; load it again") from None

    def _serve(self) -> None:
        while step := self._next_step():
            work, items = step
            work.run_items(items)

    def _next_step(self) -> tuple[Work, Sequence[int]] | None:
        """Return the next items of the next job, and their Work; None if no items are left."""
        with self._lock:
            while self._calls:
                is_turn_of_oldest = next(self._steps) % OLDEST_EVERY == 0
                work = min(self._calls, key=_job_number if is_turn_of_oldest else _tokens_left)  # of equals, the oldest call
                tokens_before = work.tokens_left
                if items := work.take(has_spare_workers=len(self._calls) < max(2, self.count)):
                    work.job.tokens_waiting -= tokens_before - work.tokens_left
                    return work, items
                self._calls.remove(work)
                work.job.tokens_waiting -= work.tokens_left  # of items that were cancelled
        return None


def _job_number(work: Work) -> int:
    return work.job.number


def _tokens_left(work: Work) -> int:
    return work.job.tokens_left


async def off_loop(
    is_slow: bool, function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """Return the result of a function, called on another thread if it takes so long that it would block the event loop."""
    return await asyncio.to_thread(function, *args, **kwargs) if is_slow else function(*args, **kwargs)
