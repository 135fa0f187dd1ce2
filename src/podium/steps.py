"""Run a protocol that is written as a generator of steps, with blocking calls or on an event loop.

The generator yields a step, such as a request, and receives its outcome, such as the reply. So a protocol is written once,
without I/O, and run by one of two drivers:

    >>> def greeting():
    ...     name = yield "name?"
    ...     return f"hello {name}"
    >>> drive(greeting(), lambda question: "Ann")
    'hello Ann'

If a step fails, its exception is raised inside the generator at the `yield`, where it can be handled. If the call is
interrupted or cancelled, the generator is closed: GeneratorExit is raised at the `yield`.
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
        return end.value  # type: ignore[no-any-return]  # StopIteration.value is untyped; here it is a Result
    finally:
        steps.close()


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
        return end.value  # type: ignore[no-any-return]  # StopIteration.value is untyped; here it is a Result
    finally:
        steps.close()


def immediate(function: Callable[Arguments, Result]) -> Callable[Arguments, Generator[Any, Any, Result]]:
    """Turn a function into one that returns a generator without steps, whose result is the function's result."""

    @functools.wraps(function)
    def steps(*arguments: Arguments.args, **keywords: Arguments.kwargs) -> Generator[Any, Any, Result]:
        yield from ()
        return function(*arguments, **keywords)

    return steps


def result_of(steps: Generator[Any, Any, Result]) -> Result:
    """Return the result of a generator without steps. Raises TypeError if the generator yields a step."""
    try:
        next(steps)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # StopIteration.value is untyped; here it is a Result
    raise TypeError("this generator has steps; run it with drive or adrive")
