"""Circuit, a circuit breaker: a service that failed several times in a row is not called for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from podium.errors import Argument, InvalidInput
from podium.forks import renew_after_fork
from podium.inputs import check_positive

__all__ = ["Circuit"]


class Circuit:
    """Decides whether a service is called. Safe to share between threads.

    After `failures` failures in a row, the circuit is open: no call may begin for `seconds`. Then one call may begin, which
    tries the service. If it succeeds, the circuit is closed; if it fails, the circuit is open again. `clock` is that of `time`.

    Every call that may begin must end with `record_success`, `record_failure`, or `abandon` if its end says nothing about the
    service, for example because it was cancelled.

        >>> circuit = Circuit(failures=1)
        >>> circuit.may_begin(), circuit.record_failure(), circuit.may_begin()
        (True, None, False)
    """

    def __init__(self, *, failures: int = 3, seconds: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        check_positive("failures", failures)
        _check_seconds(seconds)
        self._failures = failures
        self._seconds = seconds
        self._clock = clock
        self._failure_count = 0  # in a row
        self._closed_at = 0.0  # when the service may be tried again, if the circuit is open
        self._is_tried = False  # whether a call is trying the service
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """Replace the lock in a forked process, because a thread of the parent may have held it."""
        self._lock = threading.Lock()
        self._is_tried = False  # the call, if there was one, is in the parent

    @property
    def seconds_left(self) -> float:
        """How many seconds the circuit stays open, 0 if a call may begin now."""
        with self._lock:
            return max(0.0, self._closed_at - self._clock()) if self._is_open else 0.0

    def may_begin(self) -> bool:
        """Return whether a call may begin. If it may, the caller must begin it."""
        with self._lock:
            if not self._is_open:
                return True
            if self._is_tried or self._clock() < self._closed_at:
                return False
            self._is_tried = True
            return True

    def record_success(self) -> None:
        with self._lock:
            self._failure_count = 0
            self._is_tried = False

    def record_failure(self) -> None:
        with self._lock:
            self._failure_count += 1
            self._is_tried = False
            self._closed_at = self._clock() + self._seconds

    def abandon(self) -> None:
        """End a call whose result is unknown. If it tried the service, the next call tries it instead."""
        with self._lock:
            self._is_tried = False

    @property
    def _is_open(self) -> bool:
        return self._failure_count >= self._failures


def _check_seconds(seconds: Any) -> None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < 1e6:
        raise InvalidInput(Argument("seconds"), f" must be a positive number, not {seconds!r:.40}")
