"""Objects with threads or connections in forked processes, where threads no longer run and connections are the parent's."""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["Renewable", "renew_after_fork"]


class Renewable(Protocol):
    """An object that can replace its threads, locks or connections."""

    def renew(self) -> None: ...


_renewables: weakref.WeakSet[Renewable] = weakref.WeakSet()


def renew_after_fork(renewable: Renewable) -> None:
    """Call the object's `renew` in every process forked from now on, before anything else runs there.

    Comparing process ids on each use instead would be a race between the first threads of the new process.
    """
    _renewables.add(renewable)


def _renew_all() -> None:
    for renewable in list(_renewables):
        renewable.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
