"""One line per request: sizes and times, never what a request holds. For people, or as JSON for machines."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

__all__ = ["RateLimitedLog", "log", "set_up"]

_log = logging.getLogger("podium.server")


def log(event: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """Log an event with what is known of it. Fields that are None are left out."""
    _log.log(level, event, extra={"fields": {name: value for name, value in fields.items() if value is not None}})


class RateLimitedLog:
    """Warnings of one kind, at most one every ten seconds; each says how many were left out before it."""

    SECONDS = 10.0

    def __init__(self, event: str) -> None:
        self._event, self._next, self._left_out = event, 0.0, 0

    def warn(self, **fields: Any) -> None:
        if (now := time.monotonic()) < self._next:
            self._left_out += 1
            return
        log(self._event, level=logging.WARNING, **fields, left_out=self._left_out or None)
        self._next, self._left_out = now + self.SECONDS, 0


def set_up(form: str) -> None:
    """Send the server's lines to stderr. Called by the process that serves, not by the library."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    for name, level in (("podium", logging.INFO), ("uvicorn.error", logging.ERROR)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return getattr(record, "fields", {})


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {"time": f"{at}.{int(record.msecs):03}Z", "level": record.levelname.lower(), "event": record.getMessage()}
        return json.dumps(line | _fields(record), default=str)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        said = " ".join(f"{name}={value}" for name, value in _fields(record).items())
        level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()} "
        return f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {level}{record.getMessage()} {said}".rstrip()
