"""Objects with threads, connections or locks in forked processes: threads do not run there, connections are the parent's."""

from __future__ import annotations

import os
import threading
import weakref
from collections import Counter
from typing import Protocol

__all__ = ["Renewable", "no_fork", "renew_after_fork"]


class Renewable(Protocol):
    """An object that can replace its threads, locks or connections."""

    def renew(self) -> None: ...


_renewables: weakref.WeakSet[Renewable] = weakref.WeakSet()


def renew_after_fork(renewable: Renewable) -> None:
    """Call the object's `renew` in every process forked from now on, before anything else runs there.

    Comparing process ids on each use instead would be a race between the first threads of the new process.
    """
    _renewables.add(renewable)


class _NoFork:
    """A context manager whose block no other thread can interrupt by a fork: the fork waits for the end of the block.

    For foreign code with locks that cannot be renewed: a lock that is held during a fork stays locked in the new process,
    because the thread that would release it does not exist there. The block must not wait for another thread.
    """

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self._changed = threading.Condition()
        self._threads: Counter[int] = Counter()  # how many blocks each thread is in
        self._pending_forks = 0

    def __enter__(self) -> None:
        thread = threading.get_ident()
        with self._changed:
            self._changed.wait_for(lambda: not self._pending_forks or thread in self._threads)
            self._threads[thread] += 1

    def __exit__(self, *_: object) -> None:
        thread = threading.get_ident()
        with self._changed:
            self._threads[thread] -= 1
            if self._threads[thread] <= 0:
                del self._threads[thread]
            self._changed.notify_all()

    def before_fork(self) -> None:
        thread = threading.get_ident()  # can itself be in a block, in a signal handler
        with self._changed:
            self._pending_forks += 1
            self._changed.wait_for(lambda: not self._threads.keys() - {thread})

    def after_fork_in_parent(self) -> None:
        with self._changed:
            self._pending_forks -= 1
            self._changed.notify_all()


no_fork = _NoFork()
"""`with no_fork:` around calls of foreign code."""


def _renew_all() -> None:
    no_fork.renew()
    for renewable in list(_renewables):
        renewable.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=no_fork.before_fork, after_in_parent=no_fork.after_fork_in_parent, after_in_child=_renew_all)
