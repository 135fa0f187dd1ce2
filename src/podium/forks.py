"""Prepare for forks: the new process has only the thread that forked, and shares connections and files with its parent."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol

__all__ = ["Closable", "Renewable", "close_before_fork", "no_fork", "renew_after_fork"]

MAX_WAIT_SECONDS = 5.0  # how long a fork waits for other threads to leave the barrier


class Renewable(Protocol):
    """An object that can replace its threads, locks or connections by new ones."""

    def renew(self) -> None: ...


class Closable(Protocol):
    """An object with connections that a forked process must not even inherit. It is used only within `no_fork`."""

    def close_connections(self) -> None:
        """Close the connections. The next use opens new ones."""


_renewables: weakref.WeakSet[Renewable] = weakref.WeakSet()
_closables: weakref.WeakSet[Closable] = weakref.WeakSet()


def renew_after_fork(renewable: Renewable) -> None:
    """Call the object's `renew` in every process forked from now on, before anything else runs there.

    An object cannot instead compare process ids whenever it is used: several threads of the new process could notice the
    difference at once, and all of them would renew the object.
    """
    _renewables.add(renewable)


def close_before_fork(closable: Closable) -> None:
    """Call the object's `close_connections` before every fork from now on, unless another thread is using it for too long."""
    _closables.add(closable)


class ForkBarrier:
    """A context for calls to libraries whose locks would stay locked in a process that is forked during the call.

    A fork waits until no other thread is in the context, but at most MAX_WAIT_SECONDS, because a call may take minutes.
    Several threads can be in the context at once, and a thread that is in it can enter it again.
    """

    def __init__(self) -> None:
        self._thread_local = threading.local()
        self.reset()

    def reset(self) -> None:
        """Create the locks, and count only the current thread. A new process has no other."""
        self._thread_ids = {threading.get_ident()} if self._depth else set()  # the threads in the context
        self._is_forking = False
        # This lock is used instead of the condition's own methods: in those, which are written in Python, an interrupt could
        # leave it locked.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._fork_lock = threading.Lock()

    @property
    def _depth(self) -> int:
        """How many times this thread has entered the context without leaving it."""
        return getattr(self._thread_local, "depth", 0)

    def __enter__(self) -> None:
        thread_id = threading.get_ident()
        depth = self._depth
        if depth == 0:
            try:
                with self._lock:
                    while self._is_forking:
                        self._changed.wait()
                    self._thread_ids.add(thread_id)
            except BaseException:  # an interrupt
                self._thread_ids.discard(thread_id)
                raise
        self._thread_local.depth = depth + 1  # last, because after it no interrupt can prevent the call of __exit__

    def __exit__(self, *error: object) -> None:
        depth = self._depth - 1
        self._thread_local.depth = depth
        if depth == 0:
            with self._lock:
                self._thread_ids.discard(threading.get_ident())
                self._changed.notify_all()

    def before_fork(self) -> None:
        """Wait for other threads to leave the context, and let none enter it until the fork has ended."""
        self._fork_lock.acquire()
        own_id = {threading.get_ident()}
        with self._lock:
            self._is_forking = True
            is_unused = self._changed.wait_for(lambda: self._thread_ids <= own_id, MAX_WAIT_SECONDS)
        if is_unused and not self._depth:  # a signal handler can fork while the thread that it interrupted is in the context
            for closable in list(_closables):
                closable.close_connections()

    def after_fork_in_parent(self) -> None:
        with self._lock:
            self._is_forking = False
            self._changed.notify_all()
        self._fork_lock.release()


no_fork = ForkBarrier()


def _renew_all() -> None:
    for renewable in list(_renewables):
        renewable.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=no_fork.before_fork, after_in_parent=no_fork.after_fork_in_parent, after_in_child=no_fork.reset)
    os.register_at_fork(after_in_child=_renew_all)
