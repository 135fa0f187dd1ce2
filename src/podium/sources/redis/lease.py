"""Lease: the right to load documents into an index, held by one process at a time. It is a key that expires unless renewed."""

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

SECONDS, RENEWAL_SECONDS, POLL_SECONDS = 15.0, 3.0, 0.2
NO_EXPIRY = -1


class Lease:
    """The right to load documents into an index, and the only way to write them.

    A lease that has expired stays lost: while this process was suspended, another one may have loaded other documents.
    """

    def __init__(self, server: Server, key: str, *, seconds: float = SECONDS, renewal_seconds: float = RENEWAL_SECONDS) -> None:
        self._server, self._key, self._token = server, key, uuid.uuid4().hex
        self._milliseconds, self._renewal_seconds = int(1000 * seconds), renewal_seconds
        self._writing = threading.Lock()  # a renewal would abort the transaction of a write, which watches the key
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._renew_until_released, daemon=True, name="podium-lease")

    def acquire(self) -> None:
        """Take the lease. Raises SourceError if another process holds it.

        If the key exists but is not renewed, the process that held it was killed: wait until it expires.
        """
        gives_up_at = time.monotonic() + 2 * self._milliseconds / 1000
        left = self._milliseconds_left()
        while not self._take():
            time.sleep(POLL_SECONDS)
            before, left = left, self._milliseconds_left()
            was_renewed = left > before > 0
            if was_renewed or left == NO_EXPIRY or time.monotonic() > gives_up_at:
                raise SourceError(
                    f"another process is loading documents into {self._index()}; wait until it is done, then run this again"
                )
        self._thread.start()

    def write(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in one transaction, which also renews the lease, and return their replies.

        Raises SourceError if the lease is lost; then nothing is written. A cluster has no transactions across its shards, so
        there the lease is only checked beforehand.
        """
        replies = self._written(commands)
        if replies is None:
            raise SourceError(
                f"this process lost the right to load documents into {self._index()}: it was suspended or disconnected "
                f"for more than {self._milliseconds / 1000:g} seconds; run this again to load the rest"
            )
        return replies

    def release(self) -> None:
        """Let other processes load. Raises SourceError if the server cannot be reached; then the lease expires."""
        self._released.set()
        if self._thread.is_alive():
            self._thread.join()
        self._written([("DEL", self._key)])

    def _take(self) -> bool:
        return self._server.execute("SET", self._key, self._token, "NX", "PX", self._milliseconds) is not None

    def _milliseconds_left(self) -> int:
        return int(self._server.execute("PTTL", self._key))

    def _written(self, commands: Sequence[Command]) -> list[Any] | None:
        """Return the replies to commands, None if the lease is lost."""
        renewal = ("PEXPIRE", self._key, self._milliseconds)
        with self._writing:
            replies = self._server.transaction([*commands, renewal], key=self._key, value=self._token.encode())
        return None if replies is None else replies[:-1]

    def _renew_until_released(self) -> None:
        while not self._released.wait(self._renewal_seconds):
            try:
                if self._written(()) is None:
                    return
            except SourceError:  # the next write meets the same error
                continue

    def _index(self) -> str:
        return f"index {self._server.index!r} on {self._server.address}"
