"""HTTP clients of a hosted scorer: a pool of single connections for threads, and one AsyncClient per event loop.

httpx limits the seconds between two bytes, not those until the end of a response's head, so a server that sends the head
byte by byte could block a thread for as long as it likes. Shutting down the socket from another thread ends that. The socket
of a request is known only if its client has a single connection, so each connection in the pool is a client.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import ssl
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from typing import Any, TypeVar

import httpx

from podium.errors import InvalidInput

__all__ = ["AsyncClients", "Connection", "Connections", "new_client"]

MAX_CONNECTIONS = 100
MAX_IDLE_SECONDS = 5.0  # httpx's own keep-alive: most servers close idle connections soon after
SINGLE_CONNECTION = httpx.Limits(max_connections=1, max_keepalive_connections=1)
# httpcore counts busy connections as kept alive: with a lower second limit it would close a connection after each use.
ALL_CONNECTIONS = httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS)

Client = TypeVar("Client", httpx.Client, httpx.AsyncClient)


def new_client() -> httpx.Client:
    """Return a client with a single connection. Raises InvalidInput if the environment has settings that do not work."""
    return _new_client(httpx.Client, SINGLE_CONNECTION)


def _new_client(client_class: Callable[..., Client], limits: httpx.Limits) -> Client:
    try:
        certificates = _certificates(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
        return client_class(limits=limits, verify=certificates)
    except (ValueError, OSError, ImportError, httpx.InvalidURL) as error:
        raise InvalidInput(
            f"no HTTP client can be created with this environment ({type(error).__name__}); check the variables HTTP_PROXY, "
            "HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE and SSL_CERT_DIR"
        ) from None  # the error may repeat a proxy's password


@functools.lru_cache(maxsize=4)
def _certificates(file: str | None, folder: str | None) -> ssl.SSLContext:
    """Return the trusted certificates. httpx reads the two variables itself; they are arguments only for the cache.

    Reading them takes 20 ms.
    """
    return httpx.create_ssl_context()


class Connection:
    """A client for one request at a time, which `cut_off` can end from any thread."""

    def __init__(self, client: httpx.Client, *, is_shared: bool) -> None:
        self.client = client
        self.idle_since = 0.0
        self.is_cut_off = False
        self._is_shared = is_shared
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def trace(self, event: str, details: Mapping[str, Any]) -> None:
        """Remember the socket of the request. httpx calls this at every step of a request (its `trace` extension)."""
        if event.endswith((".connect_tcp.complete", ".connect_unix_socket.complete", ".start_tls.complete")):
            with self._lock:
                self._socket = details["return_value"].get_extra_info("socket")
                if self.is_cut_off:
                    self._shut_down()
        elif self._is_shared and event.endswith(".response_closed.complete"):
            with self._lock:
                self._socket = None  # a shared client may use this socket for a request of another thread

    def cut_off(self) -> None:
        """End the request that is running. The connection must not be used afterwards."""
        with self._lock:
            self.is_cut_off = True
            self._shut_down()

    def _shut_down(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # closed already
                self._socket.shutdown(socket.SHUT_RDWR)


class Connections:
    """A pool of at most a hundred connections.

    With a `shared_client`, which is a user's own and is never closed here, every connection is that client. Its own pool
    decides which socket a request uses, so only requests that opened a new socket can be cut off.
    """

    def __init__(self, shared_client: httpx.Client | None = None) -> None:
        self._shared_client = shared_client
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._lock = threading.Lock()
        self._idle: list[Connection] = []  # the one used last is at the end
        self._is_closed = False

    @contextlib.contextmanager
    def borrow(self, seconds: float) -> Iterator[Connection]:
        """Yield a connection for exclusive use. Raises httpx.PoolTimeout if none becomes free within `seconds`."""
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
        """Close the idle connections. A connection in use is closed when its call ends."""
        with self._lock:
            self._is_closed = True
            idle = self._idle
            self._idle = []
        for connection in idle:
            connection.client.close()

    def _take(self) -> Connection:
        if self._shared_client is not None:
            return Connection(self._shared_client, is_shared=True)
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return Connection(new_client(), is_shared=False)

    def _put_back(self, connection: Connection) -> None:
        if self._shared_client is not None:
            return
        connection.idle_since = time.monotonic()
        with self._lock:
            oldest = connection.idle_since - MAX_IDLE_SECONDS
            unusable = [idle for idle in self._idle if idle.idle_since < oldest]
            self._idle = [idle for idle in self._idle if idle.idle_since >= oldest]
            if connection.is_cut_off or self._is_closed:
                unusable.append(connection)
            else:
                self._idle.append(connection)
        for other in unusable:
            other.client.close()


class AsyncClients:
    """One AsyncClient per event loop, because its connections belong to the loop in which they were opened.

    A client is closed when its loop ends, even if `aclose` is not called. A `shared_client` is used in every loop and is
    never closed here.
    """

    def __init__(self, shared_client: httpx.AsyncClient | None = None) -> None:
        self._shared_client = shared_client
        self._clients: weakref.WeakKeyDictionary[Any, tuple[httpx.AsyncClient, AsyncGenerator[None, None]]]
        self._clients = weakref.WeakKeyDictionary()

    async def client(self) -> httpx.AsyncClient:
        """Return the client of the running event loop."""
        if self._shared_client is not None:
            return self._shared_client
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            client = _new_client(httpx.AsyncClient, ALL_CONNECTIONS)
            lifetime = _closed_at_end_of_loop(client)
            self._clients[loop] = (client, lifetime)
            await anext(lifetime)
        return self._clients[loop][0]

    async def aclose(self) -> None:
        """Close the client of the running event loop."""
        if entry := self._clients.pop(asyncio.get_running_loop(), None):
            await entry[1].aclose()


async def _closed_at_end_of_loop(client: httpx.AsyncClient) -> AsyncGenerator[None, None]:
    """Wait at the `yield`, then close the client. asyncio.run closes generators that are still open before its loop ends."""
    try:
        yield
    finally:
        await client.aclose()
