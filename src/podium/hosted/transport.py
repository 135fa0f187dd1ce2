"""Send the requests of one call over httpx, in threads or on an event loop, with one deadline for all of them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx

from podium.errors import BadResponse
from podium.hosted.bodies import ACCEPTED_ENCODING, check_size, decode
from podium.hosted.connections import Connection, ConnectionPool
from podium.hosted.retries import Policy, Request, Response, attempts, deadline_exceeded
from podium.steps import adrive, drive
from podium.threads import to_thread

__all__ = ["asend_all", "send_all"]

MAX_CONCURRENT_REQUESTS = 8  # the maximum number of requests of one call that run at the same time
SOCKET_TIMEOUT = 15.0  # an attempt fails after this many seconds without a byte from the server
GRACE_SECONDS = 0.25  # how long a call waits after the deadline for its requests to report why they failed


def send_all(requests: Sequence[Request], connections: ConnectionPool, policy: Policy) -> list[bytes]:
    """Return the contents of the responses, in the order of the requests. Raises the first ProviderError.

    The requests run on threads of their own, so that an error, an interrupt or the deadline ends the call even while a
    server blocks. In that case, running requests are cut off, so that no thread and no connection is left behind, and
    pending requests are not sent.
    """
    call = _Call(requests, connections, policy)
    try:
        for _ in range(min(MAX_CONCURRENT_REQUESTS, len(requests))):
            threading.Thread(target=call.run, daemon=True, name="podium-request").start()
        return call.contents()
    except BaseException:
        call.cancel()
        raise


class _Call:
    """The requests of one `send_all`, shared by its threads."""

    def __init__(self, requests: Sequence[Request], connections: ConnectionPool, policy: Policy) -> None:
        self._requests = requests
        self._connections = connections
        self._policy = policy
        self._deadline = time.monotonic() + policy.timeout
        self._pending = iter(enumerate(requests))
        self._outcomes: queue.SimpleQueue[tuple[int, bytes | BaseException]] = queue.SimpleQueue()
        self._busy: set[Connection] = set()
        self._cancelled = threading.Event()
        self._lock = threading.Lock()

    def run(self) -> None:
        """Send pending requests, one after the other, until none is left. Several threads do so at once."""
        while (pending := self._next_request()) is not None:
            index, request = pending
            try:
                self._outcomes.put((index, self._send_with_retries(request)))
            except BaseException as error:
                self._outcomes.put((index, error))

    def contents(self) -> list[bytes]:
        """Wait for every response, and return their contents. Raises the first error, and DeadlineExceeded."""
        contents: dict[int, bytes] = {}
        while len(contents) < len(self._requests):
            seconds_left = max(0.0, self._deadline - time.monotonic())
            try:
                index, outcome = self._outcomes.get(timeout=seconds_left + GRACE_SECONDS)
            except queue.Empty:
                raise deadline_exceeded(self._requests[0].title, self._policy) from None
            if isinstance(outcome, BaseException):
                raise outcome
            contents[index] = outcome
        return [contents[index] for index in range(len(self._requests))]

    def cancel(self) -> None:
        """Send nothing more, and cut off the requests that are running."""
        with self._lock:
            self._cancelled.set()
            for connection in self._busy:
                connection.cut_off()

    def _next_request(self) -> tuple[int, Request] | None:
        with self._lock:
            return None if self._cancelled.is_set() else next(self._pending, None)

    def _send_with_retries(self, request: Request) -> bytes:
        try:
            with self._connection() as connection:
                send = functools.partial(self._send_after, request=request, connection=connection)
                return drive(attempts(request, self._policy, self._deadline), send)
        except httpx.PoolTimeout:
            raise deadline_exceeded(request.title, self._policy) from None

    def _send_after(self, wait: float, request: Request, connection: Connection) -> Response:
        if self._cancelled.wait(wait):
            raise deadline_exceeded(request.title, self._policy)  # ends this thread; the call itself has ended before
        return _send(request, connection, self._deadline)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[Connection]:
        """Yield a connection that `cancel` cuts off. Raises httpx.PoolTimeout if none becomes free before the deadline."""
        with self._connections.borrow(self._deadline - time.monotonic()) as connection:
            with self._lock:
                self._busy.add(connection)
                if self._cancelled.is_set():
                    connection.cut_off()
            try:
                yield connection
            finally:
                with self._lock:  # from here on, the connection may belong to another call
                    self._busy.remove(connection)


async def asend_all(requests: Sequence[Request], client: httpx.AsyncClient, policy: Policy) -> list[bytes]:
    """Do what `send_all` does on an event loop. Cancelling it cancels every request."""
    deadline = time.monotonic() + policy.timeout
    slots = asyncio.Semaphore(MAX_CONCURRENT_REQUESTS)

    async def content_of(request: Request) -> bytes:
        async def send_after(wait: float) -> Response:
            await asyncio.sleep(wait)
            return await _asend(request, client, deadline)

        async with slots:
            return await adrive(attempts(request, policy, deadline), send_after)

    tasks = [asyncio.ensure_future(content_of(request)) for request in requests]
    try:
        timeout = policy.timeout + GRACE_SECONDS
        done, unfinished = await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_EXCEPTION)
        errors = [error for task in done if (error := task.exception())]
        if errors:
            raise errors[0]
        if unfinished:
            raise deadline_exceeded(requests[0].title, policy)
        return [task.result() for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _send(request: Request, connection: Connection, deadline: float) -> Response:
    http_request = _http_request(request, connection.client, deadline, trace=connection.trace)
    http_response = connection.client.send(http_request, stream=True, follow_redirects=False)
    body = bytearray()
    with contextlib.closing(http_response):
        for block in http_response.iter_raw():
            _append_block(body, block, request.title, deadline)
    return _response(request, http_response, bytes(body))


async def _asend(request: Request, client: httpx.AsyncClient, deadline: float) -> Response:
    http_request = _http_request(request, client, deadline)
    seconds_left = max(0.001, deadline - time.monotonic())
    try:
        http_response, body = await asyncio.wait_for(_aresponse_and_body(request, http_request, client, deadline), seconds_left)
    except asyncio.TimeoutError:
        raise TimeoutError from None  # in Python 3.10, asyncio has its own class
    if http_response.is_success and not http_response.headers.get("Content-Encoding"):
        return Response(http_response.status_code, http_response.headers, body, None)
    # Decoding megabytes, or looking for repeated documents in an error, would block the event loop.
    return await to_thread(_response, request, http_response, body)


async def _aresponse_and_body(
    request: Request, http_request: httpx.Request, client: httpx.AsyncClient, deadline: float
) -> tuple[httpx.Response, bytes]:
    http_response = await client.send(http_request, stream=True, follow_redirects=False)
    body = bytearray()
    async with contextlib.aclosing(http_response):
        async for block in http_response.aiter_raw():
            _append_block(body, block, request.title, deadline)
    return http_response, bytes(body)


def _http_request(
    request: Request, client: httpx.Client | httpx.AsyncClient, deadline: float, trace: Callable[..., Any] | None = None
) -> httpx.Request:
    seconds_left = max(0.001, deadline - time.monotonic())
    return client.build_request(
        "POST",
        request.url,
        headers={**request.headers, "Accept-Encoding": ACCEPTED_ENCODING},
        content=request.content,
        timeout=min(SOCKET_TIMEOUT, seconds_left),
        extensions={"trace": trace} if trace else {},
    )


def _append_block(body: bytearray, block: bytes, title: str, deadline: float) -> None:
    """Append a block to the body of a response. Raises TimeoutError after the deadline, BadResponse if it is too large."""
    body += block
    if time.monotonic() > deadline:
        raise TimeoutError
    check_size(title, len(body))


def _response(request: Request, http_response: httpx.Response, body: bytes) -> Response:
    """Return the response with its body decoded. Raises BadResponse if the body of a success cannot be decoded."""
    status, headers = http_response.status_code, http_response.headers
    encoding = headers.get("Content-Encoding", "")
    if http_response.is_success:
        return Response(status, headers, decode(request.title, encoding, body), None)
    try:
        content = decode(request.title, encoding, body)
    except BadResponse:
        content = b""  # the status is enough for an error
    return Response(status, headers, content, request.error_for(status, content))
