"""How long to wait before a request is sent again: what the server advises, else a while that is drawn. No sleeping here."""

from __future__ import annotations

import email.utils
import random
import time
from collections.abc import Mapping

__all__ = ["advised_wait", "jittered_wait"]

FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0


def jittered_wait(attempt: int) -> float:
    """Return anything up to a bound that doubles with each attempt (full jitter), so that clients don't come back together."""
    return random.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2**attempt))  # noqa: S311  not a secret


def advised_wait(headers: Mapping[str, str], status: int = 429) -> float | None:
    """Return the seconds that a reply asks for: retry-after-ms, Retry-After (seconds or a date), x-ratelimit-reset.

    The last tells when a quota is renewed, which is no reason to wait after anything but a 429.
    """
    readers = [("retry-after-ms", _milliseconds), ("retry-after", _seconds_or_date), ("x-ratelimit-reset", _reset)]
    for name, seconds in readers[: 3 if status == 429 else 2]:
        if (value := headers.get(name)) is not None and (waits := seconds(value)) is not None and 0 <= waits < 1e7:
            return waits
    return None


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _milliseconds(value: str) -> float | None:
    return None if (number := _number(value)) is None else number / 1000


def _seconds_or_date(value: str) -> float | None:
    if (number := _number(value)) is not None:
        return number
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _reset(value: str) -> float | None:
    """Read seconds from now, or a moment since 1970 in seconds or milliseconds: providers differ."""
    if (number := _number(value)) is None:
        return None
    if number > 1e11:
        number /= 1000
    return max(0.0, number - time.time()) if number > 1e8 else number
