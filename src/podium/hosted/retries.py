"""When a request to a rerank API is sent again, as steps for podium.steps. No I/O and no sleeping."""

from __future__ import annotations

import email.utils
import random
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import httpx

from podium.errors import DeadlineExceeded, ProviderError, ProviderUnavailable

__all__ = ["Policy", "Request", "Response", "advised_wait", "attempts", "deadline_exceeded", "jittered_wait"]

FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0
MAX_ADVISED_WAIT = 1e7
RETRIED_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})


@dataclass(frozen=True, slots=True)
class Policy:
    """The limits of one call: seconds until the last response must have arrived, and how often a request is sent again."""

    timeout: float
    retries: int


@dataclass(frozen=True, slots=True)
class Request:
    """A request that can be sent. The repr leaves out the headers (which contain the key) and the content.

    `title` is the provider's, for messages. `error_for` returns the error for a response's status and content.
    """

    title: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)
    error_for: Callable[[int, bytes], ProviderError] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Response:
    """A server's response, decoded. The repr leaves out what may repeat a key or a document.

    `error` is the error for its status, None for a success.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)
    error: ProviderError | None = field(repr=False)


class _Failure(NamedTuple):
    """A failure after which another attempt can succeed, and the seconds that the server asks to wait before it."""

    error: ProviderError
    advised_wait: float | None


def attempts(request: Request, policy: Policy, deadline: float) -> Generator[float, Response, bytes]:
    """Yield the seconds to wait before the request is sent (again), receive its response, and return a success's content.

    If sending fails, the exception is raised at the `yield`. Raises ProviderError if the request fails for good.
    """
    error: ProviderError | None = None
    wait = 0.0
    for attempt in range(policy.retries + 1):
        if time.monotonic() + wait >= deadline:
            break  # the response would be too late
        outcome = yield from _attempt(request, wait)
        if isinstance(outcome, bytes):
            return outcome
        error, advised = outcome
        if attempt == policy.retries:
            raise error from None
        wait = jittered_wait(attempt) if advised is None else advised
    raise _out_of_time(request.title, error, policy) from None


def _attempt(request: Request, wait: float) -> Generator[float, Response, bytes | _Failure]:
    try:
        response = yield wait
    except (httpx.TransportError, TimeoutError) as error:
        return _Failure(_transport_error(request.title, error), None)
    except ProviderError:
        raise
    except Exception as error:  # a user's own client can raise anything
        raise ProviderUnavailable(
            f"the request to {request.title} failed ({type(error).__name__}); check base_url and the client you passed"
        ) from None
    if response.error is None:
        return response.content
    if response.status not in RETRIED_STATUSES:
        raise response.error
    return _Failure(response.error, advised_wait(response.headers, response.status))


def _transport_error(title: str, error: Exception) -> ProviderUnavailable:
    kind = type(error).__name__
    is_slow = isinstance(error, httpx.TimeoutException | TimeoutError)
    failure = f"did not answer in time ({kind})" if is_slow else f"could not be reached ({kind})"
    return ProviderUnavailable(f"{title} {failure}; check the network and base_url, or try again later")


def _out_of_time(title: str, error: ProviderError | None, policy: Policy) -> ProviderError:
    """Return the error of a request that cannot be sent again in time: the last one if the server reported it."""
    if error is None or error.status is None:
        return deadline_exceeded(title, policy)
    return type(error)(f"{error} (and no time is left of {policy.timeout:g} s to try again)", status=error.status)


def deadline_exceeded(title: str, policy: Policy) -> DeadlineExceeded:
    return DeadlineExceeded(f"{title} did not answer within {policy.timeout:g} s; raise timeout or try again later")


def jittered_wait(attempt: int) -> float:
    """Return random seconds up to a bound that doubles with each attempt (full jitter: clients do not retry in step)."""
    return random.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2**attempt))  # noqa: S311  not a secret


def advised_wait(headers: Mapping[str, str], status: int = 429) -> float | None:
    """Return the seconds in retry-after-ms, Retry-After (seconds or a date) or x-ratelimit-reset, None if there is no advice.

    x-ratelimit-reset is the time at which a quota is renewed, so it is read only after a 429.
    """
    readers = [("retry-after-ms", _milliseconds), ("retry-after", _seconds_or_date)]
    if status == 429:
        readers.append(("x-ratelimit-reset", _reset))
    for name, seconds_in in readers:
        seconds = seconds_in(headers.get(name, ""))
        if seconds is not None and 0 <= seconds < MAX_ADVISED_WAIT:
            return seconds
    return None


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _milliseconds(value: str) -> float | None:
    number = _number(value)
    return None if number is None else number / 1000


def _seconds_or_date(value: str) -> float | None:
    number = _number(value)
    if number is not None:
        return number
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _reset(value: str) -> float | None:
    """Return the seconds until a reset. Providers send seconds from now, or a Unix time in seconds or milliseconds."""
    number = _number(value)
    if number is None or not number > 1e8:
        return number
    return max(0.0, (number / 1000 if number > 1e11 else number) - time.time())
