"""The time by which a call with a budget should end. Scorers that wait for a server stop waiting then.

The deadline belongs to the calls that begin in a `with` block, also in asyncio tasks and threads (to_thread) started there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["is_over", "seconds_left", "until"]

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


@contextmanager
def until(deadline: float | None) -> Iterator[None]:
    """Set the deadline, a time of `time.perf_counter`, for the calls in the block.

    If an enclosing block has an earlier deadline, that one applies.

    >>> with until(time.perf_counter() - 1):
    ...     is_over()
    True
    """
    outer = _deadline.get()
    times = [moment for moment in (outer, deadline) if moment is not None]
    token = _deadline.set(min(times, default=None))
    try:
        yield
    finally:
        _deadline.reset(token)


def seconds_left() -> float | None:
    """Return the number of seconds to the deadline, None if there is no deadline. It is negative after the deadline."""
    deadline = _deadline.get()
    return None if deadline is None else deadline - time.perf_counter()


def is_over() -> bool:
    """Whether there is a deadline and it has passed. Then a timeout is not a failure of the server."""
    left = seconds_left()
    return left is not None and left <= 0
