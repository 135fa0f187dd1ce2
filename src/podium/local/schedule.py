"""Which pairs run when, on which worker. Longest first, each at its own length, each on one thread.

Pairs are not padded, and no runtime lets one see another, so a pair's score is the same whatever runs beside it. What is
in memory at once is one pair per worker, or as many as have a few hundred tokens together.

Jobs at the same time share the workers step by step: most steps go to the job that has the least left, so that a small one
passes a large one, and every fourth to the one that came first, so that no stream of small ones starves a large one. A job
is one call, or all calls of one request.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from podium.errors import PodiumError
from podium.forks import renew_after_fork

__all__ = ["Job", "Work", "Workers", "beside_loop", "job"]

OLDEST_EVERY = 4
FEW_TEXTS = 1_000  # preparing so many takes a millisecond

Value = TypeVar("Value")


class Job:
    """What is scheduled fairly beside other jobs.

    `tokens_to_come` is an estimate of the calls that have not begun, `tokens_begun` what is left of those that have.
    """

    _numbers = itertools.count()

    def __init__(self, tokens_to_come: int = 0) -> None:
        self.number = next(self._numbers)
        self.tokens_to_come, self.tokens_begun = tokens_to_come, 0

    @property
    def tokens_left(self) -> int:
        return self.tokens_to_come + self.tokens_begun


_job: ContextVar[Job | None] = ContextVar("job", default=None)


@contextmanager
def job(tokens_to_come: int) -> Iterator[Job]:
    """Make one job of all calls that begin within, also in tasks and threads that are started there.

    Whoever begins one of the expected calls takes its part off `tokens_to_come`: from then on its own tokens count.
    """
    made = Job(tokens_to_come)
    token = _job.set(made)
    try:
        yield made
    finally:
        _job.reset(token)


class Work:
    """Items to be run once each, longest first. `cancel` keeps what has not started from starting.

    `run` is given as many items as have `at_once` tokens together, at least one; of a call that is alone fewer towards its
    end, so that `workers` threads end together. `end` is done when nothing runs any more; it has the first error, which
    stops the rest.
    """

    def __init__(
        self, lengths: Sequence[int], run: Callable[[Sequence[int]], None], *, at_once: int = 1, workers: int = 1
    ) -> None:
        self._lengths, self._run, self._at_once, self._shares = lengths, run, at_once, 2 * workers
        self._order = sorted(range(len(lengths)), key=lambda item: -lengths[item])
        self._begun, self._running, self.tokens_left = 0, 0, sum(lengths)
        self.job = _job.get() or Job()
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self.end: Future[None] = Future()
        self.end.set_running_or_notify_cancel()  # whoever gives up waiting calls `cancel`, which lets what runs end

    def take(self, *, alone: bool = True) -> Sequence[int]:
        """Return the next items, to be given to `do`; none when all have begun."""
        with self._lock:
            room = min(self._at_once, self.tokens_left // self._shares) if alone else self._at_once
            begin, tokens = self._begun, 0
            while self._begun < len(self._order):
                length = self._lengths[self._order[self._begun]]
                if tokens and tokens + length > room:
                    break
                tokens += length
                self._begun += 1
            self.tokens_left -= tokens
            self._running += self._begun > begin
            self._settle()
            return self._order[begin : self._begun]

    def do(self, items: Sequence[int]) -> None:
        """Run the items that `take` gave."""
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
    """A fixed number of threads that all calls share, so that many calls at once don't crowd the processor."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.renew()
        renew_after_fork(self)

    def run(self, work: Work) -> None:
        """Do the work and return when it is done; an error, or an interrupt, stops what has not started."""
        self._start(work)
        try:
            work.end.result()
        finally:
            work.cancel()

    async def arun(self, work: Work) -> None:
        """Do what `run` does without blocking the event loop; being cancelled stops what has not started."""
        self._start(work)
        try:
            await asyncio.wrap_future(work.end)
        finally:
            work.cancel()

    def close(self) -> None:
        self._threads.shutdown(wait=False)  # calls that are under way are finished

    def renew(self) -> None:
        """Begin without work, on threads of this process."""
        self._threads = ThreadPoolExecutor(self.count, thread_name_prefix="podium")
        self._lock = threading.Lock()
        self._calls: list[Work] = []  # with items that have not begun, in the order in which they came
        self._steps = itertools.count(1)

    def _start(self, work: Work) -> None:
        with self._lock:
            self._calls.append(work)
            work.job.tokens_begun += work.tokens_left
        for started in range(self.count):
            try:
                self._threads.submit(self._serve)
            except RuntimeError:  # closed meanwhile; a thread that was started before does all of it
                if not started:
                    work.cancel()
                    raise PodiumError("this model was closed while it was called; load it again") from None

    def _serve(self) -> None:
        while taken := self._next():
            work, items = taken
            work.do(items)

    def _next(self) -> tuple[Work, Sequence[int]] | None:
        """Return the next items of the job whose turn it is, or None when there is nothing left to begin."""
        with self._lock:
            while self._calls:
                oldest = next(self._steps) % OLDEST_EVERY == 0
                work = min(self._calls, key=_arrival if oldest else _tokens_left)  # of equals the call that came first
                before = work.tokens_left
                if items := work.take(alone=len(self._calls) < max(2, self.count)):
                    work.job.tokens_begun -= before - work.tokens_left
                    return work, items
                self._calls.remove(work)
                work.job.tokens_begun -= work.tokens_left  # of what was cancelled
        return None


def _arrival(work: Work) -> int:
    return work.job.number


def _tokens_left(work: Work) -> int:
    return work.job.tokens_left


async def beside_loop(texts: int, function: Callable[..., Value], *arguments: Any) -> Value:
    """Call a function that prepares or collects `texts` texts, on another thread where that would block the event loop."""
    return function(*arguments) if texts <= FEW_TEXTS else await asyncio.to_thread(function, *arguments)
