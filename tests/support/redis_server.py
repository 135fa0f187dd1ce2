"""A real Redis without modules, started for tests."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from loopback import wait_until

__all__ = ["NEEDS_REDIS", "running_redis"]

NEEDS_REDIS = pytest.mark.skipif(shutil.which("redis-server") is None, reason="there is no redis-server on this machine")


@contextlib.contextmanager
def running_redis(folder: Path) -> Iterator[str]:
    """Start a Redis and yield its URL."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    url = f"redis://127.0.0.1:{port}/0"

    def is_ready() -> bool:
        try:
            return redis.Redis.from_url(url).ping()
        except redis.ConnectionError:
            return False

    wait_until(is_ready)
    try:
        yield url
    finally:
        process.terminate()
        process.wait(10)
