"""What objects with threads or connections do in a forked process, where threads are gone and connections are the parent's."""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["Renewable", "renew_after_fork"]


class Renewable(Protocol):
    """An object that can make its threads or connections anew."""

    def renew(self) -> None: ...


_renewables: weakref.WeakSet[Renewable] = weakref.WeakSet()


def renew_after_fork(renewable: Renewable) -> None:
    """Call the object's `renew` in every process that is forked from now on, before anything else runs there.

    Comparing process ids at each use instead would be a race between the first threads of the new process.
    """
    _renewables.add(renewable)


def _renew_all() -> None:
    for renewable in list(_renewables):
        renewable.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
