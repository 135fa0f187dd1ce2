"""HTTP clients of a hosted scorer: a pool of clients with one connection for threads, and one AsyncClient per event loop.

httpx limits the time between two bytes, but not the time until the response headers are complete. A server that sends its
headers byte by byte could therefore block a thread indefinitely. To end such a request, another thread shuts down its socket.
The socket of a request is known only if its client has a single connection, so the pool has one client per connection.
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
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from typing import Any, TypeVar

import httpx

from podium.errors import InvalidInput

__all__ = ["AsyncClients", "Connection", "ConnectionPool", "new_client"]

MAX_CONNECTIONS = 100
MAX_IDLE_SECONDS = 5.0  # the default of httpx; most servers close idle connections somewhat later
SINGLE_CONNECTION_LIMITS = httpx.Limits(max_connections=1, max_keepalive_connections=1)
# Both limits must be equal. httpcore counts busy connections as kept alive, so with a lower second limit it would close
# connections after each use.
ASYNC_LIMITS = httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS)

Client = TypeVar("Client", httpx.Client, httpx.AsyncClient)


def new_client() -> httpx.Client:
    """Return a client with a single connection. Raises InvalidInput if the environment's proxy or certificates are invalid."""
    return _new_client(httpx.Client, SINGLE_CONNECTION_LIMITS)


def _new_client(client_class: Callable[..., Client], limits: httpx.Limits) -> Client:
    try:
        ssl_context = _ssl_context(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
        return client_class(limits=limits, verify=ssl_context)
    except (ValueError, OSError, ImportError, httpx.InvalidURL) as error:
        raise InvalidInput(
            f"no HTTP client can be created with this environment ({type(error).__name__}); check the variables HTTP_PROXY, "
            "HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE and SSL_CERT_DIR"
        ) from None  # the error may repeat a proxy's password


@functools.lru_cache(maxsize=4)
def _ssl_context(file: str | None, folder: str | None) -> ssl.SSLContext:
    """Return httpx's SSL context, cached because creating one takes 20 ms.

    httpx reads the environment variables itself. The arguments only make the cache notice that the variables changed.
    """
    return httpx.create_ssl_context()


class Connection:
    """A client for one request at a time. `cut_off` ends the current request from any thread."""

    def __init__(self, client: httpx.Client, *, is_shared: bool) -> None:
        self.client = client
        self.idle_since = 0.0
        self.is_cut_off = False
        self._client_is_shared = is_shared
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def trace(self, event: str, details: Mapping[str, Any]) -> None:
        """Store the socket of the request. httpx calls this at every step of a request (its `trace` extension)."""
        if event.endswith((".connect_tcp.complete", ".connect_unix_socket.complete", ".start_tls.complete")):
            with self._lock:
                self._socket = details["return_value"].get_extra_info("socket")
                if self.is_cut_off:
                    self._shut_down()
        elif self._client_is_shared and event.endswith(".response_closed.complete"):
            with self._lock:
                self._socket = None  # a shared client may use this socket for a request of another thread

    def cut_off(self) -> None:
        """End the current request. The connection must not be used afterwards."""
        with self._lock:
            self.is_cut_off = True
            self._shut_down()

    def _shut_down(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # closed already
                self._socket.shutdown(socket.SHUT_RDWR)


class ConnectionPool:
    """A pool of at most MAX_CONNECTIONS connections.

    If there is a `shared_client`, which is the user's, every connection uses it, and the pool never closes it. This client
    chooses the socket of each request itself, so only requests that open a new socket can be cut off.
    """

    def __init__(self, shared_client: httpx.Client | None = None) -> None:
        self._shared_client = shared_client
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._lock = threading.Lock()
        self._idle: list[Connection] = []  # the connection that was used last is at the end
        self._is_closed = False

    @contextlib.contextmanager
    def borrow(self, timeout: float) -> Iterator[Connection]:
        """Yield a connection for exclusive use. Raises httpx.PoolTimeout if none becomes free within `timeout` seconds."""
        if not self._slots.acquire(timeout=max(0.0, timeout)):
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
            unused = self._idle
            self._idle = []
        for connection in unused:
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
            expired_before = connection.idle_since - MAX_IDLE_SECONDS
            unusable = [pooled for pooled in self._idle if pooled.idle_since < expired_before]
            self._idle = [pooled for pooled in self._idle if pooled.idle_since >= expired_before]
            if connection.is_cut_off or self._is_closed:
                unusable.append(connection)
            else:
                self._idle.append(connection)
        for discarded in unusable:
            discarded.client.close()


class AsyncClients:
    """One AsyncClient per event loop, because its connections belong to the loop in which they were opened.

    A client is closed when its loop ends, even if `aclose` is not called. If there is a `shared_client`, which is the user's,
    it is used in every loop and never closed.
    """

    def __init__(self, shared_client: httpx.AsyncClient | None = None) -> None:
        self._shared_client = shared_client
        # Event loop → client, and the generator that closes it. Both refer to the loop, so a loop that ended is removed here.
        self._clients: dict[asyncio.AbstractEventLoop, tuple[httpx.AsyncClient, AsyncGenerator[None, None]]] = {}

    async def client(self) -> httpx.AsyncClient:
        """Return the client of the running event loop."""
        if self._shared_client is not None:
            return self._shared_client
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            for other_loop in list(self._clients):  # copied, because other threads have loops, too
                if other_loop.is_closed():
                    self._clients.pop(other_loop, None)
            client = _new_client(httpx.AsyncClient, ASYNC_LIMITS)
            closer = _closer(client)
            self._clients[loop] = (client, closer)
            await anext(closer)
        client, _ = self._clients[loop]
        return client

    async def aclose(self) -> None:
        """Close the client of the running event loop."""
        _, closer = self._clients.pop(asyncio.get_running_loop(), (None, None))
        if closer is not None:
            await closer.aclose()


async def _closer(client: httpx.AsyncClient) -> AsyncGenerator[None, None]:
    """Close the client when this generator is closed. asyncio.run closes every open generator before its event loop ends."""
    try:
        yield
    finally:
        await client.aclose()
