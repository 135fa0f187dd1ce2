"""Circuit, a circuit breaker: a service that failed several times in a row is not called for a while."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable

from podium.forks import renew_after_fork
from podium.inputs import check_positive, check_positive_number

__all__ = ["Circuit"]


class Circuit:
    """Decides whether a service is called. Safe to share between threads.

    After `failures` failures in a row, the circuit is open: no call may begin for `seconds`. Then one call may begin, the
    trial. If it succeeds, the circuit is closed; if it fails, it is open again. `clock` returns the time in seconds.

    Every call that began must end with `record_success`, `record_failure`, or `abandon` if its end says nothing about the
    service, for example because it was cancelled.

        >>> circuit = Circuit(failures=1)
        >>> call = circuit.begin()
        >>> circuit.record_failure(call)
        >>> circuit.begin() is None
        True
    """

    def __init__(self, *, failures: int = 3, seconds: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        check_positive("failures", failures)
        check_positive_number("seconds", seconds)
        self._failures = failures
        self._seconds = seconds
        self._clock = clock
        self._call_numbers = itertools.count(1)
        self._failure_count = 0  # in a row
        self._retry_at = 0.0  # if the circuit is open: the time from which a trial may begin
        self._trial: int | None = None  # the number of the call that is the trial, while it runs
        self._lock = threading.Lock()
        renew_after_fork(self)

    def renew(self) -> None:
        """Replace the lock in a forked process, because a thread of the parent may have held it."""
        self._lock = threading.Lock()
        self._trial = None  # the trial, if there was one, runs in the parent

    @property
    def seconds_left(self) -> float:
        """The time until a trial may begin, 0 if a call may begin now or the trial is running."""
        with self._lock:
            return max(0.0, self._retry_at - self._clock()) if self._is_open else 0.0

    def begin(self) -> int | None:
        """Begin a call, and return its number. Return None if no call may begin now."""
        with self._lock:
            if self._is_open and (self._trial is not None or self._clock() < self._retry_at):
                return None
            call = next(self._call_numbers)
            if self._is_open:
                self._trial = call
            return call

    def record_success(self, call: int) -> None:
        with self._lock:
            self._end(call)
            self._failure_count = 0

    def record_failure(self, call: int) -> None:
        with self._lock:
            self._end(call)
            self._failure_count += 1
            self._retry_at = self._clock() + self._seconds

    def abandon(self, call: int) -> None:
        """End a call whose result is unknown. If it was the trial, the next call is the trial instead."""
        with self._lock:
            self._end(call)

    def _end(self, call: int) -> None:
        if call == self._trial:  # a call that began before the circuit opened does not end the trial
            self._trial = None

    @property
    def _is_open(self) -> bool:
        return self._failure_count >= self._failures
