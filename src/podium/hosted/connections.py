"""HTTP connections for the threads of a hosted scorer: reused between calls, and cut off when a call is given up.

httpx limits the seconds between two bytes, not those of a whole response head, so a server that sends the head byte by
byte would keep a thread and a connection for as long as it likes. Shutting the socket down from another thread ends
that. Only a client with a single connection tells which socket a request uses, so each connection is a client.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx

__all__ = ["SINGLE_CONNECTION", "Connection", "Connections"]

SINGLE_CONNECTION = httpx.Limits(max_connections=1, max_keepalive_connections=1)
MAX_CONNECTIONS = 100
KEEP_IDLE_SECONDS = 5.0  # httpx's own keep-alive: most servers close idle connections soon after


class Connection:
    """A client for one request at a time. `cut_off` ends the request that it is busy with, from any thread."""

    def __init__(self, client: httpx.Client, *, is_shared: bool) -> None:
        self.client = client
        self.idle_since = 0.0
        self.is_cut_off = False
        self._is_shared = is_shared
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def trace(self, event: str, details: Mapping[str, Any]) -> None:
        """Remember the socket in use. httpx calls this at every step of a request (its `trace` extension)."""
        if event.endswith((".connect_tcp.complete", ".connect_unix_socket.complete", ".start_tls.complete")):
            with self._lock:
                self._socket = details["return_value"].get_extra_info("socket")
                if self.is_cut_off:
                    self._shut_down()
        elif self._is_shared and event.endswith(".response_closed.complete"):
            with self._lock:
                self._socket = None  # a shared client may give this socket to another thread's request

    def cut_off(self) -> None:
        with self._lock:
            self.is_cut_off = True
            self._shut_down()

    def _shut_down(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # closed already
                self._socket.shutdown(socket.SHUT_RDWR)


class Connections:
    """At most a hundred connections, made by `make_client` when none is idle.

    Where `shared_client` is given, every connection is that client, which is never closed here. Its own pool decides
    which socket a request uses, so only requests that opened a new socket can be cut off.
    """

    def __init__(self, make_client: Callable[[], httpx.Client], shared_client: httpx.Client | None = None) -> None:
        self._make_client, self._shared_client = make_client, shared_client
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._lock = threading.Lock()
        self._idle: list[Connection] = []  # the one used last is at the end
        self._is_closed = False

    @contextlib.contextmanager
    def borrow(self, seconds: float) -> Iterator[Connection]:
        """Yield a connection that nobody else uses. Raises httpx.PoolTimeout when none becomes free within `seconds`."""
        if not self._slots.acquire(timeout=max(0.0, seconds)):
            raise httpx.PoolTimeout("all connections are in use")
        try:
            connection = self._take()
            try:
                yield connection
            finally:
                self._put_back(connection)
        finally:
            self._slots.release()

    def close(self) -> None:
        """Close what is idle. A connection in use is closed when its call ends."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.client.close()

    def _take(self) -> Connection:
        if self._shared_client is not None:
            return Connection(self._shared_client, is_shared=True)
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return Connection(self._make_client(), is_shared=False)

    def _put_back(self, connection: Connection) -> None:
        if self._shared_client is not None:
            return
        connection.idle_since = time.monotonic()
        with self._lock:
            outdated = [each for each in self._idle if connection.idle_since - each.idle_since > KEEP_IDLE_SECONDS]
            self._idle = [each for each in self._idle if each not in outdated]
            keep = not (connection.is_cut_off or self._is_closed)
            (self._idle if keep else outdated).append(connection)
        for each in outdated:
            each.client.close()
