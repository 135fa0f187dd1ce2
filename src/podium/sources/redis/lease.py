"""Lease: the right of one process to load documents into an index. It is a key that expires unless it is renewed."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Sequence
from typing import Any

from podium.errors import SourceError
from podium.sources.redis.commands import Command
from podium.sources.redis.server import Server

__all__ = ["Lease"]

SECONDS = 15.0  # how long a lease lasts if it is not renewed
RENEWAL_SECONDS = 3.0  # the time between two renewals
POLL_SECONDS = 0.2  # the time between two attempts to acquire a lease
NO_EXPIRY = -1  # the reply to PTTL for a key that does not expire


class Lease:
    """The right to load documents into an index. Documents are written only through it.

    A lease that expired cannot be taken again: another process may have loaded other documents meanwhile.
    """

    def __init__(self, server: Server, key: str, *, seconds: float = SECONDS, renewal_seconds: float = RENEWAL_SECONDS) -> None:
        self._server = server
        self._key = key
        self._token = uuid.uuid4().hex
        self._milliseconds = int(1000 * seconds)
        self._renewal_seconds = renewal_seconds
        # Held during a write and a renewal: a write watches the key, so a renewal at the same time would abort it.
        self._write_lock = threading.Lock()
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._renew_until_released, daemon=True, name="podium-lease")

    def acquire(self) -> None:
        """Take the lease. Raises SourceError if another process holds it.

        If the key exists but is not renewed, the process that set it was killed, and this waits until the key expires.
        """
        # The key of a killed process expires before this. The deadline ends the wait if other processes take the key in turn.
        deadline = time.monotonic() + 2 * self._milliseconds / 1000
        milliseconds_left = self._milliseconds_left()
        while not self._set_key():
            time.sleep(POLL_SECONDS)
            previous = milliseconds_left
            milliseconds_left = self._milliseconds_left()
            was_renewed = milliseconds_left > previous > 0
            if was_renewed or milliseconds_left == NO_EXPIRY or time.monotonic() > deadline:
                raise SourceError(
                    f"another process is loading documents into {self._server.index_label}; run this again when it is done"
                )
        self._thread.start()

    def write(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in one transaction, which also renews the lease, and return their replies.

        Raises SourceError if the lease is lost; then nothing is written. In a cluster, whose transactions cannot span shards,
        the lease is only checked before the commands are sent.
        """
        replies = self._run(commands)
        if replies is None:
            raise SourceError(
                f"this process lost the right to load documents into {self._server.index_label}: it was suspended or "
                f"disconnected for more than {self._milliseconds / 1000:g} seconds; run this again to load the rest"
            )
        return replies

    def release(self) -> None:
        """Let other processes load documents. Raises SourceError if the server cannot be reached; then the lease expires."""
        self._released.set()
        if self._thread.is_alive():
            self._thread.join()
        self._run([("DEL", self._key)])

    def _set_key(self) -> bool:
        """Set the key if it does not exist, and return whether it was set."""
        return self._server.execute("SET", self._key, self._token, "NX", "PX", self._milliseconds) is not None

    def _milliseconds_left(self) -> int:
        """Return the time until the key expires: -1 if it never does, -2 if it does not exist."""
        return int(self._server.execute("PTTL", self._key))

    def _run(self, commands: Sequence[Command]) -> list[Any] | None:
        """Run commands and renew the lease. Return their replies, None if the lease is lost."""
        renewal = ("PEXPIRE", self._key, self._milliseconds)
        with self._write_lock:
            replies = self._server.transaction([*commands, renewal], key=self._key, value=self._token.encode())
        return None if replies is None else replies[:-1]

    def _renew_until_released(self) -> None:
        while not self._released.wait(self._renewal_seconds):
            try:
                if self._run(()) is None:
                    return
            except SourceError:  # the next write fails, too, and reports the error
                continue
