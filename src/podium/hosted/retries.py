"""Decide whether and when a request to a rerank API is sent again. `attempts` is a generator of steps for podium.steps.

Nothing is sent here, and nothing sleeps.
"""

from __future__ import annotations

import email.utils
import random
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import httpx

from podium.errors import DeadlineExceeded, ProviderError, ProviderUnavailable
from podium.hosted.wire import Reply

__all__ = ["Policy", "Request", "Response", "advised_wait", "attempts", "deadline_exceeded", "jittered_wait"]

# Waits are in seconds.
FIRST_WAIT = 0.5  # the longest wait after the first attempt
LONGEST_WAIT = 8.0  # the longest wait after any attempt, unless the server advises another wait
MAX_ADVISED_WAIT = 1e7  # a header with a larger number is ignored
RETRIED_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})


@dataclass(frozen=True, slots=True)
class Policy:
    """The limits of one call: in how many seconds its last response must arrive, and how often each request is sent again.

    `before_retry` is called before a request is sent again, and returns the least number of seconds to wait. If it raises a
    ProviderError, the call ends with that error.
    """

    timeout: float
    retries: int
    before_retry: Callable[[], float] | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A request that can be sent. The repr contains only the title, because the headers contain the key.

    `title` is the provider's name in messages. `content` writes the body, which has the query and the documents: it is called
    when the request is sent, so that the bodies of waiting requests are not in memory. `parse` returns the reply in the content
    of a success. `error_for` returns the error for a response's status and content.
    """

    title: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    content: Callable[[], bytes] = field(repr=False)
    parse: Callable[[bytes], Reply] = field(repr=False)
    error_for: Callable[[int, bytes], ProviderError] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Response:
    """A server's response. The repr contains only the status, because the rest may quote documents.

    `content` is the decoded content of a success. It is empty for an error, whose traceback would keep it in memory. `error` is
    the error that the status means, None for a success.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)
    error: ProviderError | None = field(repr=False)


class _Failure(NamedTuple):
    """A failure after which another attempt can succeed. `advised_seconds`: how long the server asks to wait, or None."""

    error: ProviderError
    advised_seconds: float | None


def attempts(request: Request, policy: Policy, deadline: float) -> Generator[float, Response, bytes]:
    """Return the content of the first success response, after as many attempts as `policy` allows.

    Every step is an attempt. The generator yields the seconds to wait before the request is sent, and receives its response.
    If sending fails, the driver raises the exception at the `yield`. Raises ProviderError if the last attempt fails, or if an
    attempt fails with an error that another attempt would not change.
    """
    error: ProviderError | None = None
    wait = 0.0
    for attempt in range(policy.retries + 1):
        if attempt and policy.before_retry:
            wait = max(wait, policy.before_retry())
        if time.monotonic() + wait >= deadline:
            break  # the response would be too late
        outcome = yield from _attempt(request, wait)
        if isinstance(outcome, bytes):
            return outcome
        error, advised_seconds = outcome
        if attempt == policy.retries:
            raise error from None
        wait = jittered_wait(attempt) if advised_seconds is None else advised_seconds
    raise _out_of_time_error(request.title, error, policy) from None


def _attempt(request: Request, wait: float) -> Generator[float, Response, bytes | _Failure]:
    """Send a request once. Return the content of a success response, or the failure if another attempt can succeed.

    Raises the ProviderError of any other failure.
    """
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
    failure = _Failure(response.error, advised_wait(response.headers, response.status))
    if response.status in RETRIED_STATUSES:
        return failure
    raise failure.error


def _transport_error(title: str, error: Exception) -> ProviderUnavailable:
    kind = type(error).__name__
    is_slow = isinstance(error, httpx.TimeoutException | TimeoutError)
    failure = f"did not answer in time ({kind})" if is_slow else f"could not be reached ({kind})"
    return ProviderUnavailable(f"{title} {failure}; check the network and base_url, or try again later")


def _out_of_time_error(title: str, error: ProviderError | None, policy: Policy) -> ProviderError:
    """Return the error of a request that cannot be sent again in time: the server's last error, or DeadlineExceeded."""
    if error is None or error.status is None:
        return deadline_exceeded(title, policy)
    return type(error)(f"{error} (and no time is left of {policy.timeout:g} s to try again)", status=error.status)


def deadline_exceeded(title: str, policy: Policy) -> DeadlineExceeded:
    return DeadlineExceeded(f"{title} did not answer within {policy.timeout:g} s; raise timeout or try again later")


def jittered_wait(attempt: int) -> float:
    """Return random seconds up to a bound that doubles with each attempt, so that clients do not retry together (jitter)."""
    return random.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2**attempt))  # noqa: S311  not a secret


def advised_wait(headers: Mapping[str, str], status: int = 429) -> float | None:
    """Return the seconds in retry-after-ms, Retry-After (seconds or a date) or x-ratelimit-reset, None if there is no advice.

    x-ratelimit-reset is the time at which a quota is renewed, so it is read only after a 429.
    """
    parsers = [("retry-after-ms", _seconds_from_milliseconds), ("retry-after", _seconds_or_date)]
    if status == 429:
        parsers.append(("x-ratelimit-reset", _seconds_until_reset))
    for name, parse in parsers:
        seconds = parse(headers.get(name, ""))
        if seconds is not None and 0 <= seconds < MAX_ADVISED_WAIT:
            return seconds
    return None


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _seconds_from_milliseconds(value: str) -> float | None:
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


def _seconds_until_reset(value: str) -> float | None:
    """Return the seconds until a quota is renewed. Providers send this number, or a Unix time in seconds or milliseconds."""
    number = _number(value)
    if number is None or not number > 1e8:  # a Unix time up to 1e8 would be before 1974, so this is a number of seconds
        return number
    is_in_milliseconds = number > 1e11  # in seconds, this Unix time would be after the year 5137
    unix_time = number / 1000 if is_in_milliseconds else number
    return max(0.0, unix_time - time.time())
