"""Send the requests of one call over httpx, in threads or on an event loop, with one deadline for all of them.

An exception's traceback refers to every frame that the exception passed. If such a frame refers to the exception, this is a
cycle, and the megabytes in its frames stay in memory until garbage is collected. Comments here call it "the cycle".
"""

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

from podium.errors import BadResponse, ProviderError
from podium.hosted.bodies import ACCEPTED_ENCODING, check_size, decode, reply_limit
from podium.hosted.connections import Connection, ConnectionPool
from podium.hosted.retries import Policy, Request, Response, attempts, deadline_exceeded
from podium.hosted.wire import Reply
from podium.steps import adrive, drive
from podium.threads import to_thread

__all__ = ["asend_all", "send_all"]

MAX_CONCURRENT_REQUESTS = 8  # the maximum number of requests of one call that run at the same time
SOCKET_TIMEOUT = 15.0  # an attempt fails after this many seconds without a byte from the server
SECONDS_BETWEEN_PAUSES = 0.005  # while a reply is received, other tasks of the event loop can run in the pauses
GRACE_SECONDS = 0.25  # how long a call waits after the deadline for its requests to report why they failed


def send_all(requests: Sequence[Request], connections: ConnectionPool, policy: Policy) -> list[Reply]:
    """Return the replies, in the order of the requests. Raises the first ProviderError, or DeadlineExceeded if a reply is late.

    The requests run on at most MAX_CONCURRENT_REQUESTS threads, so that an error, an interrupt or the deadline ends the call
    even while a server does not respond. When the call ends in this way, pending requests are not sent, and running ones are
    cut off as far as ConnectionPool can, so that their threads end soon.
    """
    call = _Call(requests, connections, policy)
    try:
        for _ in range(min(MAX_CONCURRENT_REQUESTS, len(requests))):
            threading.Thread(target=call.run, daemon=True, name="podium-request").start()
        return call.replies()
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
        self._unsent = iter(enumerate(requests))
        self._outcomes: queue.SimpleQueue[tuple[int, Reply | BaseException]] = queue.SimpleQueue()
        self._busy: set[Connection] = set()
        self._cancelled = threading.Event()
        self._lock = threading.Lock()

    def run(self) -> None:
        """Send pending requests, one after the other, until none is left. Several threads run this at the same time."""
        while (numbered_request := self._next_request()) is not None:
            index, request = numbered_request
            try:
                self._outcomes.put((index, self._send_with_retries(request)))
            except BaseException as error:
                self._outcomes.put((index, error))

    def replies(self) -> list[Reply]:
        """Wait for every reply, and return all. Raises the first error, or DeadlineExceeded if a reply is late."""
        end = self._deadline + GRACE_SECONDS
        replies: dict[int, Reply] = {}
        outcome: Reply | BaseException | None = None
        try:
            while len(replies) < len(self._requests):
                try:
                    index, outcome = self._outcomes.get(timeout=max(0.0, end - time.monotonic()))
                except queue.Empty:
                    raise deadline_exceeded(self._requests[0].title, self._policy) from None
                if isinstance(outcome, BaseException):
                    raise outcome
                replies[index] = outcome
        finally:
            del outcome  # breaks the cycle
        return [replies[index] for index in range(len(self._requests))]

    def cancel(self) -> None:
        """Send no pending request, and cut off the requests that are running."""
        with self._lock:
            self._cancelled.set()
            for connection in self._busy:
                connection.cut_off()

    def _next_request(self) -> tuple[int, Request] | None:
        with self._lock:
            return None if self._cancelled.is_set() else next(self._unsent, None)

    def _send_with_retries(self, request: Request) -> Reply | ProviderError:
        """Return the reply, or the error if the response cannot be parsed."""
        try:
            with self._connection() as connection:
                request_body = request.content()
                send = functools.partial(self._send_after, request=request, request_body=request_body, connection=connection)
                content = drive(attempts(request, self._policy, self._deadline), send)
        except httpx.PoolTimeout:
            raise deadline_exceeded(request.title, self._policy) from None
        return _reply_or_error(request, content)

    def _send_after(self, wait: float, request: Request, request_body: bytes, connection: Connection) -> Response:
        """Send a request once, after `wait` seconds."""
        if self._cancelled.wait(wait):
            raise deadline_exceeded(request.title, self._policy)  # ends this thread; the call itself has ended before
        return _send(request, request_body, connection, self._deadline)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[Connection]:
        """Yield a connection that `cancel` cuts off. Raises httpx.PoolTimeout if none becomes free before the deadline."""
        with self._connections.borrow(self._deadline - time.monotonic()) as connection:
            with self._lock:
                self._busy.add(connection)
            try:
                yield connection
            finally:
                with self._lock:  # from here on, the connection may belong to another call
                    self._busy.remove(connection)


async def asend_all(requests: Sequence[Request], client: httpx.AsyncClient, policy: Policy) -> list[Reply]:
    """Do what `send_all` does on an event loop. If this is cancelled, every request is cancelled."""
    deadline = time.monotonic() + policy.timeout
    replies: dict[int, Reply] = {}
    errors: list[BaseException] = []  # the first one first
    unsent = iter(enumerate(requests))  # shared by the tasks, each of which takes the next request

    async def send_unsent() -> None:
        try:
            for index, request in unsent:
                outcome = await _asend_with_retries(request, client, policy, deadline)
                if isinstance(outcome, ProviderError):
                    raise outcome
                replies[index] = outcome
        except BaseException as error:
            errors.append(error)
            raise

    tasks = [asyncio.ensure_future(send_unsent()) for _ in range(min(MAX_CONCURRENT_REQUESTS, len(requests)))]
    try:
        timeout = policy.timeout + GRACE_SECONDS
        await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_EXCEPTION)
        if errors:
            raise errors[0]
        if len(replies) < len(requests):
            raise deadline_exceeded(requests[0].title, policy)
        return [replies[index] for index in range(len(requests))]
    finally:
        await _cancel(tasks)
        tasks.clear()  # this and the next line break the cycle
        errors.clear()


async def _cancel(tasks: Sequence[asyncio.Future[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _asend_with_retries(
    request: Request, client: httpx.AsyncClient, policy: Policy, deadline: float
) -> Reply | ProviderError:
    """Return the reply, or the error if the response cannot be parsed."""
    request_body = await to_thread(request.content)  # writing or parsing megabytes of JSON would block the event loop

    async def send_after(wait: float) -> Response:
        await asyncio.sleep(wait)
        return await _asend(request, request_body, client, deadline)

    content = await adrive(attempts(request, policy, deadline), send_after)
    return await to_thread(_reply_or_error, request, content)


def _reply_or_error(request: Request, content: bytes) -> Reply | ProviderError:
    """Return the reply in the content of a success, or the error if it cannot be parsed.

    The error is returned without its traceback and its cause, whose frames refer to the content: an exception that passes a
    future is always in a cycle.
    """
    try:
        return request.parse(content)
    except ProviderError as error:
        error.__context__ = None
        return error.with_traceback(None)


def _send(request: Request, request_body: bytes, connection: Connection, deadline: float) -> Response:
    """Send a request once, and return its response. Raises httpx.TransportError, TimeoutError and BadResponse."""
    http_request = _http_request(request, request_body, connection.client, deadline, trace=connection.trace)
    http_response = connection.client.send(http_request, stream=True, follow_redirects=False)
    limit = reply_limit(len(request_body))
    with contextlib.closing(http_response), _body() as body:
        for block in http_response.iter_raw():
            _append_block(body, block, request.title, deadline, limit)
        return _response(request, http_response, bytes(body), limit)


async def _asend(request: Request, request_body: bytes, client: httpx.AsyncClient, deadline: float) -> Response:
    """Do what `_send` does without blocking the event loop."""
    http_request = _http_request(request, request_body, client, deadline)
    limit = reply_limit(len(request_body))
    receiving = _areceive(request, http_request, client, deadline, limit)
    try:
        http_response, body = await asyncio.wait_for(receiving, _seconds_left(deadline))
    except asyncio.TimeoutError:
        raise TimeoutError from None  # in Python 3.10, asyncio has its own class
    if http_response.is_success and not http_response.headers.get("Content-Encoding"):
        return Response(http_response.status_code, http_response.headers, body, None)
    # Decoding megabytes, or looking for repeated documents in an error, would block the event loop.
    return await to_thread(_response, request, http_response, body, limit)


async def _areceive(
    request: Request, http_request: httpx.Request, client: httpx.AsyncClient, deadline: float, limit: int
) -> tuple[httpx.Response, bytes]:
    """Send a request once. Return its response, and the body before decoding."""
    http_response = await client.send(http_request, stream=True, follow_redirects=False)
    async with contextlib.aclosing(http_response):
        with _body() as body:
            last_pause = time.monotonic()
            async for block in http_response.aiter_raw():
                _append_block(body, block, request.title, deadline, limit)
                # A received packet can have thousands of tiny blocks, between which nothing waits.
                if time.monotonic() > last_pause + SECONDS_BETWEEN_PAUSES:
                    await asyncio.sleep(0)
                    last_pause = time.monotonic()
            return http_response, bytes(body)


@contextlib.contextmanager
def _body() -> Iterator[bytearray]:
    """Yield an empty body. Clear it at the end, because the frame of an error may be in the cycle."""
    body = bytearray()
    try:
        yield body
    finally:
        body.clear()


def _http_request(
    request: Request,
    request_body: bytes,
    client: httpx.Client | httpx.AsyncClient,
    deadline: float,
    trace: Callable[..., Any] | None = None,
) -> httpx.Request:
    """Return a request of httpx. It fails after SOCKET_TIMEOUT seconds without a byte, or the time left now if that is less."""
    return client.build_request(
        "POST",
        request.url,
        headers={**request.headers, "Accept-Encoding": ACCEPTED_ENCODING},
        content=request_body,
        timeout=min(SOCKET_TIMEOUT, _seconds_left(deadline)),
        extensions={"trace": trace} if trace else {},
    )


def _seconds_left(deadline: float) -> float:
    """Return the seconds until the deadline, at least a millisecond: a socket whose timeout is 0 does not wait at all."""
    return max(0.001, deadline - time.monotonic())


def _append_block(body: bytearray, block: bytes, title: str, deadline: float, limit: int) -> None:
    """Append a block to a response's body. Raises TimeoutError after the deadline, BadResponse if the body is too large."""
    body += block
    if time.monotonic() > deadline:
        raise TimeoutError
    check_size(title, len(body), limit)


def _response(request: Request, http_response: httpx.Response, body: bytes, limit: int) -> Response:
    """Return the response with its body decoded. Raises BadResponse if the body of a success cannot be decoded."""
    status = http_response.status_code
    headers = http_response.headers
    encoding = headers.get("Content-Encoding", "")
    if http_response.is_success:
        return Response(status, headers, decode(request.title, encoding, body, limit), None)
    try:
        content = decode(request.title, encoding, body, limit)
    except BadResponse:
        content = b""  # the status is enough for an error
    return Response(status, headers, b"", request.error_for(status, content))
