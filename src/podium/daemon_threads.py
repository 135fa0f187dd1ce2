"""Run a function on a daemon thread, so that its caller can stop waiting for it."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

__all__ = ["start_on_thread"]

Result = TypeVar("Result")


def start_on_thread(function: Callable[[], Result], name: str) -> Future[Result]:
    """Run a function on a new daemon thread called `name`, and return the future of its result.

    The future cannot stop the function: the thread runs until the function returns. Raises RuntimeError if no thread can start.
    """
    future: Future[Result] = Future()
    future.set_running_or_notify_cancel()  # so that a caller that stops waiting does not cancel the future

    def work(result: Future[Result]) -> None:
        try:
            result.set_result(function())
        except BaseException as error:
            result.set_exception(error)
        finally:
            del result  # it may have an error that refers to this frame; such a cycle would keep a reply in memory

    threading.Thread(target=contextvars.copy_context().run, args=(work, future), daemon=True, name=name).start()
    return future
