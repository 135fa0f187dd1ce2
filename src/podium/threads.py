"""Blocking functions on other threads, for asynchronous callers."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = ["convert_stop_iteration", "to_thread"]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


async def to_thread(function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
    """Call a function on another thread and return its result. If it raises StopIteration, this raises RuntimeError."""
    import asyncio  # half of podium's import time, so only for async callers

    return await asyncio.to_thread(convert_stop_iteration(function), *args, **kwargs)


def convert_stop_iteration(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Return the function with StopIteration converted to RuntimeError, as Python does in generators.

    A future of asyncio refuses a StopIteration as its exception, so code that awaits it would wait forever.
    """

    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            return function(*args, **kwargs)
        except StopIteration as error:
            raise RuntimeError("a function raised StopIteration").with_traceback(error.__traceback__) from error

    return call
