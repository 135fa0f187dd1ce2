"""A limit on the memory of the documents that a search loads. Callers of a source can set one, as the server does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from podium.json_values import decoded_bytes

__all__ = ["is_limited", "limited_by", "reserve", "reserve_for_json"]

_reserve: ContextVar[Callable[[int], None] | None] = ContextVar("reserve", default=None)


@contextmanager
def limited_by(function: Callable[[int], None]) -> Iterator[None]:
    """Call a function with a number of bytes before a search in the block allocates them, also if the search runs on a thread.

    The function refuses the bytes by raising an exception, which ends the search.
    """
    token = _reserve.set(function)
    try:
        yield
    finally:
        _reserve.reset(token)


def is_limited() -> bool:
    """Whether this search runs within `limited_by`."""
    return _reserve.get() is not None


def reserve(count: int) -> None:
    """Reserve `count` bytes. Raises what the function of `limited_by` raises. Does nothing without a limit."""
    if (function := _reserve.get()) is not None:
        function(count)


def reserve_for_json(content: bytes) -> None:
    """Reserve the memory that a document in JSON takes when it is parsed."""
    if is_limited():
        reserve(decoded_bytes(content))
