"""The server's log: one line per event or request, as text or as JSON. It has sizes and times, never a request's content."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import sys
import threading
import time
from typing import Any

from podium.inputs import without_none

__all__ = ["RateLimitedLog", "log", "set_up"]

MAX_WAITING_LINES = 10_000
LAST_LINES_SECONDS = 1.0  # how long a process waits at its end for its last lines to be written

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
    handler = _BackgroundHandler(sys.stderr.fileno())
    handler.setFormatter(_JsonFormatter() if log_format == "json" else _TextFormatter())
    for name, level in (("podium", logging.INFO), ("uvicorn.error", logging.ERROR), ("asyncio", logging.ERROR)):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(level)


class _BackgroundHandler(logging.Handler):
    """Writes lines to a file descriptor on a thread, so that a program that stops reading them does not block the event loop.

    At most MAX_WAITING_LINES wait. Further ones are dropped, and their number is logged when lines can be written again.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._lines: queue.Queue[bytes] = queue.Queue(MAX_WAITING_LINES)
        self._dropped_count = 0
        threading.Thread(target=self._write_lines, daemon=True, name="podium-log").start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(self.format(record).encode("utf-8", "backslashreplace") + b"\n")
        except queue.Full:
            self._dropped_count += 1

    def flush(self) -> None:
        """Wait until all lines are written, at most for LAST_LINES_SECONDS. logging.shutdown calls this when a process ends."""
        deadline = time.monotonic() + LAST_LINES_SECONDS
        while self._lines.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.005)

    def _write_lines(self) -> None:
        while True:
            line = self._lines.get()
            with contextlib.suppress(OSError):  # the reader has ended
                while line:
                    line = line[os.write(self._descriptor, line) :]
            if dropped_count := self._dropped_count:
                self._dropped_count = 0
                log("log_lines_dropped", level=logging.WARNING, lines=dropped_count)
            self._lines.task_done()


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
