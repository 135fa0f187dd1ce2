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
    """A context for calls that hold locks of another library, which would stay locked in a process forked meanwhile.

    A fork waits until no other thread is in the context, but no longer than WAIT_SECONDS, as a call may take minutes. Any
    number of threads can be in it at once, and each thread repeatedly.
    """

    def __init__(self) -> None:
        self._own = threading.local()
        self._reset()

    def _reset(self) -> None:
        self._threads = 1 if self._depth else 0  # how many are in the context: in a new process only the forking thread
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
                self._threads += 1
        self._own.depth = self._depth + 1

    def __exit__(self, *error: object) -> None:
        self._own.depth -= 1
        if self._own.depth == 0:
            with self._changed:
                self._threads -= 1
                self._changed.notify_all()

    def before_fork(self) -> None:
        self._one_fork.acquire()
        own = 1 if self._depth else 0  # a signal handler can fork while its thread is in the context
        with self._changed:
            self._is_forking = True
            self._changed.wait_for(lambda: self._threads <= own, WAIT_SECONDS)

    def after_fork_in_parent(self) -> None:
        with self._changed:
            self._is_forking = False
            self._changed.notify_all()
        self._one_fork.release()

    def after_fork_in_child(self) -> None:
        self._reset()


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
