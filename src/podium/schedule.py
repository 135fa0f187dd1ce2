"""Workers, the threads that compute a model's texts, and Work, the texts of one call.

Texts are not padded, and a text's result does not depend on the other texts. In one step, a worker computes one text, or
several short texts of a few hundred tokens together. The longest texts of a call come first.

A worker without a step helps with the running steps of another one, if their texts take long.

Concurrent calls share the workers step by step. Most steps are taken from the job with the fewest tokens left, so that small
jobs do not wait for large ones. Every fourth step is taken from the oldest job, so that many small jobs cannot keep a large one
waiting forever. A job is one call, or all calls of one request.
"""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec, Protocol, TypeVar

from podium.errors import PodiumError
from podium.forks import renew_after_fork
from podium.threads import to_thread

__all__ = ["FEW_TEXTS", "Helpers", "Job", "Work", "Workers", "job", "off_loop"]

OLDEST_JOB_EVERY = 4  # One of this many steps is taken from the oldest job.
FEW_TEXTS = 1_000  # Preparing this many texts takes about a millisecond; more of them are prepared on another thread.

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Job:
    """Calls that are scheduled as if they were one.

    - `number`: jobs are numbered in the order in which they are created.
    - `tokens_to_come`: an estimate of the tokens of calls that have not begun.
    - `tokens_waiting`: the tokens of calls that have begun which no worker has taken yet.
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
    """Schedule all calls that begin in the block as one job, also those in asyncio tasks and threads (to_thread) started there.

    Before a call begins, subtract its part from the job's `tokens_to_come`, because the call adds its real number of tokens.
    """
    current = Job(tokens_to_come)
    token = _job.set(current)
    try:
        yield current
    finally:
        _job.reset(token)


class Helpers(Protocol):
    """How workers help with the running items of a Work, and how these items are ended."""

    def new_helper(self) -> Any:
        """Return the flag for a call of `help`, None if no item is running."""
        ...

    def help(self, leave: Any) -> None:
        """Help with a running item, or wait for one. Return soon after `leave` was set or all items have ended."""
        ...

    def release_helpers(self) -> None:
        """Set the flags of all calls of `help`."""
        ...

    def cancel(self) -> None:
        """End the running items early, with an error."""
        ...


class Work:
    """Items that are run once each, the longest first.

    - `lengths`: the number of tokens of each item.
    - `run`: is called with the indices of one item, or of several that have at most `at_once` tokens together.
    - `workers`: the number of threads. If some of them are idle, `run` gets fewer items towards the end of the work, so that
      all threads finish at about the same time.
    - `groups`: the group of each item. Groups are run one after the other, and `run` gets items of one group only.
    - `helpers`: by which idle workers help with running items; None if they cannot.

    The future `end` is done when all items have run. After an error, no more items begin, and `end` has the first error as its
    exception.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        run: Callable[[Sequence[int]], None],
        *,
        at_once: int = 1,
        workers: int = 1,
        groups: Sequence[int] | None = None,
        helpers: Helpers | None = None,
    ) -> None:
        self.helpers = helpers
        self._lengths = lengths
        self._groups = groups or [0] * len(lengths)
        self._run = run
        self._at_once = at_once
        # With spare workers, a step takes at most one of this many shares of the tokens left. If workers help each other, the
        # last steps need not be small.
        self._shares = workers if helpers else 2 * workers
        self._order = sorted(range(len(lengths)), key=lambda item: (self._groups[item], -lengths[item]))
        self._begun_count = 0
        self._running_count = 0
        self.tokens_left = sum(lengths)
        self.job = _job.get() or Job()
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self.end: Future[None] = Future()
        # Future.cancel has no effect after this call. Work.cancel is used, which lets running items finish.
        self.end.set_running_or_notify_cancel()

    def take(self, *, has_spare_workers: bool = True) -> Sequence[int]:
        """Return the indices of the next items for `run_items`, none if all items have begun.

        With spare workers they are fewer; the class explains why.
        """
        with self._lock:
            limit = min(self._at_once, self.tokens_left // self._shares) if has_spare_workers else self._at_once
            begin = self._begun_count
            tokens = 0
            while self._begun_count < len(self._order):
                item = self._order[self._begun_count]
                length = self._lengths[item]
                if tokens and (tokens + length > limit or self._groups[item] != self._groups[self._order[begin]]):
                    break
                tokens += length
                self._begun_count += 1
            self.tokens_left -= tokens
            self._running_count += self._begun_count > begin
            self._set_end_if_done()
            return self._order[begin : self._begun_count]

    def run_items(self, items: Sequence[int]) -> None:
        """Run the items with the indices that `take` returned. An error becomes that of `end`."""
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

    @property
    def has_one_item(self) -> bool:
        return len(self._order) == 1

    def cancel(self) -> None:
        """Begin no more items. Items that are running are finished, or end early if workers can help with them."""
        with self._lock:
            self._begun_count = len(self._order)
            self._set_end_if_done()
            has_ended = self.end.done()
        if self.helpers and not has_ended:
            self.helpers.cancel()

    def _set_end_if_done(self) -> None:
        if self._running_count or self._begun_count < len(self._order) or self.end.done():
            return
        if self._error:
            self.end.set_exception(self._error)
        else:
            self.end.set_result(None)


class Workers:
    """A fixed number of threads that all calls share, so that many calls at once do not overload the processor.

    If no other call is running, a blocking call with one item that needs no help runs it on its own thread, because waking
    another thread takes a tenth of a millisecond. Workers do not wait for such a call: an interrupt can end it at any moment,
    even before it counts as ended.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._alone: Work | None = None  # the last call that began on its own thread
        self.renew()
        renew_after_fork(self)

    def run(self, work: Work) -> None:
        """Run all items and return when they are done. After an error or an interrupt, no more items begin."""
        try:
            if work.has_one_item and not work.helpers and self._begins_alone(work):
                work.run_items(work.take())
            elif not self._start(work):
                self._serve()
            work.end.result()
        finally:
            if self._alone is work:
                self._alone = None
            work.cancel()

    async def arun(self, work: Work) -> None:
        """Do what `run` does without blocking the event loop. After it is cancelled, no more items begin."""
        if not self._start(work):
            work.cancel()
            raise PodiumError("the program is ending, so no call can begin; let the main thread wait for the event loop")
        try:
            import asyncio  # half of podium's import time, so only for async callers

            await asyncio.wrap_future(work.end)
        finally:
            work.cancel()

    def close(self) -> None:
        """Let running calls finish, then end the threads."""
        self._is_closed = True
        self._thread_pool.shutdown(wait=False)

    def renew(self) -> None:
        """Start without calls and with new threads in a forked process, which does not inherit its parent's threads."""
        self._thread_pool = ThreadPoolExecutor(self.count, thread_name_prefix="podium")
        self._is_closed = False
        self._lock = threading.Lock()
        self._serving_count = 0  # the number of threads in `_serve`
        self._alone = None
        self._calls: list[Work] = []  # the calls with items that have not begun, the oldest first
        self._helped_calls: list[Work] = []  # the calls that have helpers, until they have ended
        self._steps = itertools.count(1)

    def _begins_alone(self, work: Work) -> bool:
        """Return whether no other call is running or waiting. Then the calling thread must run the items of `work`."""
        with self._lock:
            has_alone = self._alone is not None and not self._alone.end.done()
            is_idle = not (self._is_closed or self._calls or self._serving_count or has_alone)
            if is_idle:
                self._alone = work
            return is_idle

    def _start(self, work: Work) -> bool:
        """Let the workers run the items. Return False if there are none: Python ends them all when the main thread ends.

        Raises PodiumError if these workers were closed.
        """
        with self._lock:
            self._calls.append(work)
            work.job.tokens_waiting += work.tokens_left
            for other in self._helped_calls:
                if other.helpers:
                    other.helpers.release_helpers()
            if work.helpers:
                self._helped_calls.append(work)
        for started_count in range(self.count):
            try:
                self._thread_pool.submit(self._serve)
            except RuntimeError:  # The pool is closed. If a worker was started before that, it runs all items.
                if self._is_closed and not started_count:
                    work.cancel()
                    raise PodiumError("this model was closed during the call; load it again") from None
                return started_count > 0
        return True

    def _serve(self) -> None:
        """Run steps of all calls until none are left, then help with those that are running."""
        with self._lock:
            self._serving_count += 1
        while step := self._next_step():
            step()

    def _next_step(self) -> Callable[[], None] | None:
        """Return a function that runs the next items of the next job, or helps. Return None if `_serve` should end."""
        with self._lock:
            while self._calls:
                is_turn_of_oldest = next(self._steps) % OLDEST_JOB_EVERY == 0
                # Among calls with the same key, min returns the first, which is the oldest.
                work = min(self._calls, key=_job_number if is_turn_of_oldest else _tokens_left)
                tokens_before = work.tokens_left
                if items := work.take(has_spare_workers=len(self._calls) < max(2, self.count)):
                    work.job.tokens_waiting -= tokens_before - work.tokens_left
                    return functools.partial(work.run_items, items)
                self._calls.remove(work)
                work.job.tokens_waiting -= work.tokens_left  # The tokens that are left are those of cancelled items.
            if help_other := self._help():
                return help_other
            self._serving_count -= 1
        return None

    def _help(self) -> Callable[[], None] | None:
        """Return a function that helps with the running items of a call, None if no call has any."""
        self._helped_calls = [work for work in self._helped_calls if not work.end.done()]
        for work in self._helped_calls:
            flag = work.helpers.new_helper() if work.helpers else None
            if work.helpers and flag is not None:
                return functools.partial(work.helpers.help, flag)
        return None


def _job_number(work: Work) -> int:
    return work.job.number


def _tokens_left(work: Work) -> int:
    return work.job.tokens_left


async def off_loop(
    is_slow: bool, function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """Return the result of a function. If `is_slow`, it is called on another thread, so that the event loop is not blocked."""
    if is_slow:
        return await to_thread(function, *args, **kwargs)
    return function(*args, **kwargs)
