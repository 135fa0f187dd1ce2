"""Workers, the threads that compute texts, and Work, the texts of one call: longest first, each on one thread.

Texts are not padded, and a text's result does not depend on what is computed beside it. At any time, each worker holds one
text in memory, or as many as have a few hundred tokens together.

Calls at the same time share the workers step by step. Most steps go to the job that has the least left, so that a small one
passes a large one; every fourth goes to the oldest, so that many small ones cannot starve a large one. A job is one call, or
all calls of one request.
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

__all__ = ["Job", "Work", "Workers", "job", "off_loop"]

OLDEST_EVERY = 4
FEW_TEXTS = 1_000  # so many are prepared in a millisecond

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Job:
    """Calls that are scheduled as one.

    `tokens_to_come` is an estimate for the calls that have not begun; `tokens_begun` is what is left of those that have.
    """

    _numbers = itertools.count()

    def __init__(self, tokens_to_come: int = 0) -> None:
        self.number = next(self._numbers)
        self.tokens_to_come = tokens_to_come
        self.tokens_begun = 0

    @property
    def tokens_left(self) -> int:
        return self.tokens_to_come + self.tokens_begun


_job: ContextVar[Job | None] = ContextVar("job", default=None)


@contextmanager
def job(tokens_to_come: int) -> Iterator[Job]:
    """Make one job of all calls that begin in the block, also in tasks and threads that are started there.

    Before a call begins, its share is to be subtracted from `tokens_to_come`: from then on its real tokens count.
    """
    current = Job(tokens_to_come)
    token = _job.set(current)
    try:
        yield current
    finally:
        _job.reset(token)


class Work:
    """Items to be run once each, longest first.

    `run` gets the indices of as many items as have `at_once` tokens together, but at least one. If no other call needs the
    workers, it gets fewer towards the end, so that `workers` threads finish together. `end` is done when nothing runs any
    more; it has the first error, which stops the rest.
    """

    def __init__(
        self, lengths: Sequence[int], run: Callable[[Sequence[int]], None], *, at_once: int = 1, workers: int = 1
    ) -> None:
        self._lengths = lengths
        self._run = run
        self._at_once = at_once
        self._shares = 2 * workers
        self._order = sorted(range(len(lengths)), key=lambda item: -lengths[item])
        self._begun = 0
        self._running = 0
        self.tokens_left = sum(lengths)
        self.job = _job.get() or Job()
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self.end: Future[None] = Future()
        self.end.set_running_or_notify_cancel()  # only `cancel` stops it, which lets running items finish

    def take(self, *, alone: bool = True) -> Sequence[int]:
        """Return the next items, for `run_items`; none if all have begun. `alone`: no other call needs the workers."""
        with self._lock:
            limit = min(self._at_once, self.tokens_left // self._shares) if alone else self._at_once
            begin, tokens = self._begun, 0
            while self._begun < len(self._order):
                length = self._lengths[self._order[self._begun]]
                if tokens and tokens + length > limit:
                    break
                tokens += length
                self._begun += 1
            self.tokens_left -= tokens
            self._running += self._begun > begin
            self._settle()
            return self._order[begin : self._begun]

    def run_items(self, items: Sequence[int]) -> None:
        """Run the items that `take` returned."""
        error: BaseException | None = None
        try:
            self._run(items)
        except BaseException as raised:
            error = raised
        with self._lock:
            self._running -= 1
            if error:
                self._error = self._error or error
                self._begun = len(self._order)
            self._settle()

    def cancel(self) -> None:
        """Do not begin any more items."""
        with self._lock:
            self._begun = len(self._order)
            self._settle()

    def _settle(self) -> None:
        if self._running or self._begun < len(self._order) or self.end.done():
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
        self._threads.shutdown(wait=False)

    def renew(self) -> None:
        """Start with no calls, on threads of this process."""
        self._threads = ThreadPoolExecutor(self.count, thread_name_prefix="podium")
        self._lock = threading.Lock()
        self._calls: list[Work] = []  # those with items that have not begun, oldest first
        self._steps = itertools.count(1)

    def _start(self, work: Work) -> None:
        with self._lock:
            self._calls.append(work)
            work.job.tokens_begun += work.tokens_left
        for started in range(self.count):
            try:
                self._threads.submit(self._serve)
            except RuntimeError:  # closed by another thread; a worker that was started before runs all items
                if not started:
                    work.cancel()
                    raise PodiumError("this model was closed during the call; load it again") from None

    def _serve(self) -> None:
        while step := self._next_step():
            work, items = step
            work.run_items(items)

    def _next_step(self) -> tuple[Work, Sequence[int]] | None:
        """Return the next items of the job whose turn it is, None if no items are left."""
        with self._lock:
            while self._calls:
                is_turn_of_oldest = next(self._steps) % OLDEST_EVERY == 0
                work = min(self._calls, key=_age if is_turn_of_oldest else _tokens_left)  # of equals, the oldest call
                tokens_before = work.tokens_left
                if items := work.take(alone=len(self._calls) < max(2, self.count)):
                    work.job.tokens_begun -= tokens_before - work.tokens_left
                    return work, items
                self._calls.remove(work)
                work.job.tokens_begun -= work.tokens_left  # those that were cancelled
        return None


def _age(work: Work) -> int:
    return work.job.number


def _tokens_left(work: Work) -> int:
    return work.job.tokens_left


async def off_loop(
    texts: int, function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """Call a function that handles `texts` texts, on another thread if it would block the event loop."""
    if texts <= FEW_TEXTS:
        return function(*args, **kwargs)
    return await asyncio.to_thread(function, *args, **kwargs)
