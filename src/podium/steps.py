"""Run a protocol that is written as a generator of steps, with blocking calls or on an event loop.

The generator yields what is to be done, such as a request, and receives the outcome, such as its reply. So the protocol is
written once, without I/O, and its two drivers are here:

    >>> def greeting():
    ...     name = yield "name?"
    ...     return f"hello {name}"
    >>> drive(greeting(), lambda question: "Ann")
    'hello Ann'

If the step fails, the exception is raised inside the generator at the `yield`, where it can be handled.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Generator
from typing import Any, ParamSpec, TypeVar

__all__ = ["adrive", "drive", "immediate", "result_of"]

Arguments = ParamSpec("Arguments")

Step = TypeVar("Step")
Outcome = TypeVar("Outcome")
Result = TypeVar("Result")


def drive(steps: Generator[Step, Outcome, Result], perform: Callable[[Step], Outcome]) -> Result:
    """Return the generator's result after performing each of its steps."""
    try:
        step = next(steps)
        while True:
            try:
                outcome = perform(step)
            except Exception as error:
                step = steps.throw(error)
            else:
                step = steps.send(outcome)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # a Result


async def adrive(steps: Generator[Step, Outcome, Result], perform: Callable[[Step], Awaitable[Outcome]]) -> Result:
    """Do what `drive` does with an asynchronous `perform`."""
    try:
        step = next(steps)
        while True:
            try:
                outcome = await perform(step)
            except Exception as error:
                step = steps.throw(error)
            else:
                step = steps.send(outcome)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # a Result


def immediate(function: Callable[Arguments, Result]) -> Callable[Arguments, Generator[Any, Any, Result]]:
    """Decorate a function to return a generator that has no steps, and the function's result."""

    @functools.wraps(function)
    def steps(*arguments: Arguments.args, **keywords: Arguments.kwargs) -> Generator[Any, Any, Result]:
        yield from ()
        return function(*arguments, **keywords)

    return steps


def result_of(steps: Generator[Any, Any, Result]) -> Result:
    """Return the result of a generator that has no steps. Raises TypeError if it has one."""
    try:
        next(steps)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # a Result
    raise TypeError("this generator has steps; run it with drive or adrive")
