"""The server's log: one line per event or request, as text or as JSON. It has sizes and times, never a request's content."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

from podium.inputs import without_none

__all__ = ["RateLimitedLog", "log", "set_up"]

_logger = logging.getLogger("podium.server")


def log(event: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """Log an event. Fields that are None are left out."""
    _logger.log(level, event, extra={"fields": without_none(fields)})


class RateLimitedLog:
    """Logs at most one warning about an event every ten seconds. The warning has the number of those left out before it."""

    SECONDS = 10.0

    def __init__(self, event: str) -> None:
        self._event = event
        self._next_time = 0.0
        self._left_out_count = 0

    def warn(self, **fields: Any) -> None:
        now = time.monotonic()
        if now < self._next_time:
            self._left_out_count += 1
            return
        left_out = self._left_out_count or None  # the log leaves out None
        log(self._event, level=logging.WARNING, **fields, left_out=left_out)
        self._next_time = now + self.SECONDS
        self._left_out_count = 0


def set_up(log_format: str) -> None:
    """Send the server's log to stderr, in the format "json" or "text". Only server processes call this, never the library."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if log_format == "json" else _TextFormatter())
    for name, level in (("podium", logging.INFO), ("uvicorn.error", logging.ERROR), ("asyncio", logging.ERROR)):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(level)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields that `log` added to a record. Return {} for a record of another library."""
    return getattr(record, "fields", {})


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        timestamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{timestamp}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        return json.dumps(line | _fields(record), default=str)


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value}" for name, value in _fields(record).items())
        level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()} "
        return f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {level}{record.getMessage()} {fields}".rstrip()
