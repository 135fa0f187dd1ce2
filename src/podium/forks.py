"""Forked processes: only the forking thread exists there, and connections, locks and files are shared with the parent."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol

__all__ = ["Renewable", "no_fork", "renew_after_fork"]

WAIT_SECONDS = 5.0


class Renewable(Protocol):
    """An object that can replace its threads, locks or connections."""

    def renew(self) -> None: ...


_renewables: weakref.WeakSet[Renewable] = weakref.WeakSet()


def renew_after_fork(renewable: Renewable) -> None:
    """Call the object's `renew` in every process forked from now on, before anything else runs there.

    Comparing process ids on each use instead would be a race between the first threads of the new process.
    """
    _renewables.add(renewable)


class ForkBarrier:
    """A context for calls that hold locks of another library. A fork waits until no other thread is in one.

    Such a lock would stay locked in the new process forever, and a lock on a file in the parent, too. Any number of threads
    can be in the context at once, and a thread repeatedly. A fork waits for WAIT_SECONDS at most, so that it is not held up
    by a call that takes minutes.
    """

    def __init__(self) -> None:
        self._own = threading.local()
        self._reset(calls=0)

    def _reset(self, calls: int) -> None:
        self._calls = calls  # the number of threads that are in the context
        self._is_forking = False
        self._changed = threading.Condition()
        self._one_fork = threading.Lock()

    @property
    def _depth(self) -> int:
        return getattr(self._own, "depth", 0)

    def __enter__(self) -> None:
        if self._depth == 0:
            with self._changed:
                while self._is_forking:
                    self._changed.wait()
                self._calls += 1
        self._own.depth = self._depth + 1

    def __exit__(self, *error: object) -> None:
        self._own.depth -= 1
        if self._own.depth == 0:
            with self._changed:
                self._calls -= 1
                self._changed.notify_all()

    def before_fork(self) -> None:
        self._one_fork.acquire()
        own_calls = min(self._depth, 1)  # a signal handler can fork between two calls of its thread
        with self._changed:
            self._is_forking = True
            self._changed.wait_for(lambda: self._calls <= own_calls, WAIT_SECONDS)

    def after_fork_in_parent(self) -> None:
        with self._changed:
            self._is_forking = False
            self._changed.notify_all()
        self._one_fork.release()

    def after_fork_in_child(self) -> None:
        self._reset(calls=min(self._depth, 1))


no_fork = ForkBarrier()


def _renew_all() -> None:
    for renewable in list(_renewables):
        renewable.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=no_fork.before_fork,
        after_in_parent=no_fork.after_fork_in_parent,
        after_in_child=no_fork.after_fork_in_child,
    )
    os.register_at_fork(after_in_child=_renew_all)
