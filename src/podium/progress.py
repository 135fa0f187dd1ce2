"""A progress bar on stderr for work that takes longer than a second."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from podium.types import Progress

__all__ = ["bar", "in_proportion"]

QUICK_SECONDS = 1.0  # work that ends within this time shows no bar


@contextlib.contextmanager
def bar(total: int, is_shown: bool, label: str = "scoring", detail: Callable[[], str] | None = None) -> Iterator[Progress]:
    """Yield a function to call with the number of items done since its last call. It must be called from one thread only.

    If `is_shown`, a bar appears after QUICK_SECONDS, with `label` on its left. On its right is the number of items, or a
    percentage and what `detail` returns.
    """
    late_bar = _LateBar(total, label, detail)
    try:
        yield late_bar.advance if is_shown else lambda count: None
    finally:
        late_bar.stop()


def in_proportion(progress: Progress | None, parts: int, total: int) -> Progress | None:
    """Return a function to call with numbers of parts, of which there are `parts`. It passes their share of `total` on.

    For a progress that counts `total` items, while the work is divided into another number of parts.
    """
    if progress is None or not parts:
        return progress
    done_parts = done_items = 0

    def advance(count: int) -> None:
        nonlocal done_parts, done_items
        done_parts = min(done_parts + count, parts)
        items = done_parts * total // parts - done_items
        done_items += items
        progress(items)

    return advance


class _LateBar:
    """A progress bar that appears after QUICK_SECONDS. It may not be used by several threads at once."""

    def __init__(self, total: int, label: str, detail: Callable[[], str] | None) -> None:
        self._total = total
        self._label = label
        self._detail = detail
        self._done_count = 0
        self._began = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def advance(self, count: int) -> None:
        """Count items that are done."""
        self._done_count += count
        if self._bar is None and time.monotonic() - self._began > QUICK_SECONDS:
            self._start()
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done_count, detail=self._detail() if self._detail else "")

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _start(self) -> None:
        from rich import progress
        from rich.console import Console

        percentage = (progress.TaskProgressColumn(), progress.TextColumn("{task.fields[detail]}"))
        count = percentage if self._detail else (progress.MofNCompleteColumn(),)
        columns = (self._label, progress.BarColumn(), *count, progress.TimeRemainingColumn())
        console = Console(stderr=True)
        # In a file or a pipe, a bar that disappears at its end would leave an empty line.
        is_visible = console.is_terminal or console.is_jupyter
        self._bar = progress.Progress(*columns, console=console, transient=True, disable=not is_visible)
        self._task = self._bar.add_task(self._label, total=self._total, detail="")
        self._bar.start()
