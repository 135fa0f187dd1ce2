"""One request to a rerank API, made until it is answered, refused or out of time: retries, waiting, the deadline.

The rules are written once, as a generator that says what to do next (`Send`, `Wait`) and is told what came of it;
`exchange` and `aexchange` do it for all requests of a call, with threads or with an event loop. Nothing here knows what
a request says.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from podium.errors import BadResponse, DeadlineExceeded, ProviderError, ProviderUnavailable
from podium.hosted.bodies import ACCEPTED_ENCODING, check_size, decode
from podium.hosted.connections import Connection, Connections
from podium.hosted.retries import advised_wait, jittered_wait
from podium.hosted.wire import RETRIED

__all__ = ["Answer", "Exchange", "Policy", "aexchange", "exchange"]

GRACE = 0.25  # seconds for an exchange to say itself why it ended at the deadline


@dataclass(frozen=True, slots=True)
class Policy:
    """How long to try: `timeout` seconds in all, `socket_timeout` for one silence of the server, `retries` more tries.

    `at_once` of a call's requests are under way at a time.
    """

    timeout: float
    socket_timeout: float
    retries: int
    at_once: int


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request, ready to be sent. The repr leaves out what must not be logged: headers (the key) and content."""

    title: str
    url: str
    headers: Mapping[str, str]
    content: bytes
    error_for: Callable[[int, bytes], ProviderError]

    def __repr__(self) -> str:
        return f"Exchange({self.title!r}, {len(self.content)} bytes)"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered. The repr leaves out what may repeat a key or a document. `error`: what its status means."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)
    error: ProviderError | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Send:
    """Send the request now; give up `seconds` after any silence, and at `deadline` whatever is happening."""

    seconds: float
    deadline: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait before the next try."""

    seconds: float


Outcome = Answer | Exception | None
Steps = Generator[Send | Wait, Outcome, bytes]


def exchange(requests: Sequence[Exchange], connections: Connections, policy: Policy) -> list[bytes]:
    """Return the bodies of the success replies, in order, within one deadline. Raises the first ProviderError.

    Works on threads of its own, so that an interrupt or the deadline ends the call whatever a server is doing. Requests
    that are under way then are cut off, so that no thread or connection is left behind; the others are not sent.
    """
    deadline = time.monotonic() + policy.timeout
    calls = _Calls(requests, connections, policy, deadline)
    try:
        for _ in range(min(policy.at_once, len(requests))):
            threading.Thread(target=calls.work, daemon=True, name="podium-request").start()
        return _collected(calls.replies, requests, deadline, policy)
    except BaseException:
        calls.give_up()
        raise


class _Calls:
    """The requests of one `exchange`, shared by its threads."""

    def __init__(self, requests: Sequence[Exchange], connections: Connections, policy: Policy, deadline: float) -> None:
        self.replies: queue.SimpleQueue[tuple[int, bytes | BaseException]] = queue.SimpleQueue()
        self.stopped = threading.Event()
        self._waiting = iter(enumerate(requests))
        self._connections, self._policy, self._deadline = connections, policy, deadline
        self._busy: set[Connection] = set()
        self._lock = threading.Lock()

    def work(self) -> None:
        """Send requests one after the other, over one connection, until none is left."""
        while (numbered := self._next()) is not None:
            index, request = numbered
            try:
                with self._connection() as connection:
                    self.replies.put((index, _exchange(request, connection, self._policy, self._deadline, self.stopped)))
            except httpx.PoolTimeout:
                self.replies.put((index, _no_answer(request.title, self._policy)))
            except BaseException as error:
                self.replies.put((index, error))

    def give_up(self) -> None:
        """Send nothing more and cut off what is being sent or read."""
        with self._lock:
            self.stopped.set()
            for connection in self._busy:
                connection.cut_off()

    def _next(self) -> tuple[int, Exchange] | None:
        with self._lock:
            return None if self.stopped.is_set() else next(self._waiting, None)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[Connection]:
        with self._connections.borrow(self._deadline - time.monotonic()) as connection:
            with self._lock:
                self._busy.add(connection)
                if self.stopped.is_set():
                    connection.cut_off()
            try:
                yield connection
            finally:
                with self._lock:  # before it goes back: another call may use it next
                    self._busy.remove(connection)


def _collected(
    replies: queue.SimpleQueue[tuple[int, bytes | BaseException]], requests: Sequence[Exchange], deadline: float, policy: Policy
) -> list[bytes]:
    found: dict[int, bytes] = {}
    while len(found) < len(requests):
        try:
            at, reply = replies.get(timeout=max(0.0, deadline - time.monotonic()) + GRACE)
        except queue.Empty:
            raise _no_answer(requests[0].title, policy) from None
        if isinstance(reply, BaseException):
            raise reply
        found[at] = reply
    return [found[at] for at in range(len(requests))]


async def aexchange(requests: Sequence[Exchange], client: httpx.AsyncClient, policy: Policy) -> list[bytes]:
    """Do what `exchange` does on an event loop. Being cancelled ends every request."""
    deadline, room = time.monotonic() + policy.timeout, asyncio.Semaphore(policy.at_once)

    async def reply(request: Exchange) -> bytes:
        async with room:
            return await _aexchange(request, client, policy, deadline)

    tasks = [asyncio.ensure_future(reply(request)) for request in requests]
    try:
        done, late = await asyncio.wait(tasks, timeout=policy.timeout + GRACE, return_when=asyncio.FIRST_EXCEPTION)
        errors = [error for task in done if (error := task.exception())]
        if errors:
            raise errors[0]
        if late:
            raise _no_answer(requests[0].title, policy)
        return [task.result() for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _exchange(request: Exchange, connection: Connection, policy: Policy, deadline: float, stopped: threading.Event) -> bytes:
    steps = _steps(request, policy, deadline)
    outcome: Outcome = None
    while True:
        try:
            step = steps.send(outcome)
        except StopIteration as done:
            return bytes(done.value)
        if isinstance(step, Wait):
            if stopped.wait(step.seconds):
                return b""  # nobody waits for it any more, so it is not sent again
            outcome = None
        else:
            outcome = _sent(request, connection, step)


async def _aexchange(request: Exchange, client: httpx.AsyncClient, policy: Policy, deadline: float) -> bytes:
    steps = _steps(request, policy, deadline)
    outcome: Outcome = None
    while True:
        try:
            step = steps.send(outcome)
        except StopIteration as done:
            return bytes(done.value)
        if isinstance(step, Wait):
            await asyncio.sleep(step.seconds)
            outcome = None
        else:
            outcome = await _asent(request, client, step)


def _steps(request: Exchange, policy: Policy, deadline: float) -> Steps:
    """Yield what to do next, be sent what came of it, and return the reply's body. Raises what is final."""
    problem: ProviderError = DeadlineExceeded(f"{request.title} was not asked within {policy.timeout:g} s")
    for attempt in range(policy.retries + 1):
        if (left := deadline - time.monotonic()) <= 0:
            break
        outcome = yield Send(min(policy.socket_timeout, left), deadline)
        if isinstance(outcome, Answer) and outcome.error is None:
            return outcome.content
        problem, advised = _judged(request, outcome, policy)
        if attempt == policy.retries:
            raise problem
        seconds = jittered_wait(attempt) if advised is None else advised
        if time.monotonic() + seconds >= deadline:
            break  # the answer to the next try could not be used
        yield Wait(seconds)
    raise _out_of_time(request, problem, policy)


def _judged(request: Exchange, outcome: Outcome, policy: Policy) -> tuple[ProviderError, float | None]:
    """Return what is wrong and how long the server says to wait. Raises it at once where trying again is no use."""
    if isinstance(outcome, Answer) and outcome.error is not None:
        if outcome.status not in RETRIED:
            raise outcome.error
        return outcome.error, advised_wait(outcome.headers, outcome.status)
    if isinstance(outcome, ProviderError):
        raise outcome
    if isinstance(outcome, httpx.TransportError | TimeoutError):
        kind = type(outcome).__name__
        slow = isinstance(outcome, httpx.TimeoutException | TimeoutError)
        words = f"did not answer in time ({kind})" if slow else f"could not be reached ({kind})"
        return ProviderUnavailable(f"{request.title} {words}; check the network and base_url, or try again later"), None
    kind = type(outcome).__name__
    raise ProviderUnavailable(f"{request.title} could not be asked ({kind}); check base_url and the client you passed")


def _out_of_time(request: Exchange, problem: ProviderError, policy: Policy) -> ProviderError:
    """Say what stood in the way when time ran out; the kind of problem stays if the server told it."""
    if problem.status is None:
        return _no_answer(request.title, policy)
    return type(problem)(f"{problem} (and no time is left of {policy.timeout:g} s to try again)", status=problem.status)


def _no_answer(title: str, policy: Policy) -> DeadlineExceeded:
    return DeadlineExceeded(f"{title} gave no answer within {policy.timeout:g} s; raise timeout or ask later")


def _sent(request: Exchange, connection: Connection, step: Send) -> Outcome:
    try:
        http_request = _built(request, connection.client, step, {"trace": connection.trace})
        response = connection.client.send(http_request, stream=True, follow_redirects=False)
        with contextlib.closing(response):
            body = bytearray()
            for block in response.iter_raw():
                _take(request, body, block, step)
        return _answer(request, response, bytes(body))
    except Exception as error:  # judged above: httpx's errors, a user's own client's errors, ours
        return error


async def _asent(request: Exchange, client: httpx.AsyncClient, step: Send) -> Outcome:
    try:
        seconds = max(0.001, step.deadline - time.monotonic())
        response, body = await asyncio.wait_for(_areply(request, client, step), seconds)
        if 200 <= response.status_code < 300 and not response.headers.get("Content-Encoding"):
            return Answer(response.status_code, response.headers, body, None)
        # Decoding megabytes, or looking for repeated documents in an error, would hold up the event loop.
        return await asyncio.to_thread(_answer, request, response, body)
    except Exception as error:  # as above
        return TimeoutError() if isinstance(error, asyncio.TimeoutError) else error


async def _areply(request: Exchange, client: httpx.AsyncClient, step: Send) -> tuple[httpx.Response, bytes]:
    response = await client.send(_built(request, client, step, {}), stream=True, follow_redirects=False)
    try:
        body = bytearray()
        async for block in response.aiter_raw():
            _take(request, body, block, step)
        return response, bytes(body)
    finally:
        await response.aclose()


def _built(
    request: Exchange, client: httpx.Client | httpx.AsyncClient, step: Send, extensions: dict[str, Any]
) -> httpx.Request:
    headers = {**request.headers, "Accept-Encoding": ACCEPTED_ENCODING}
    timeout = httpx.Timeout(step.seconds)
    return client.build_request(
        "POST", request.url, headers=headers, content=request.content, timeout=timeout, extensions=extensions
    )


def _take(request: Exchange, body: bytearray, block: bytes, step: Send) -> None:
    """Add a block to the body. A server that drips bytes, or never stops, is left at the deadline or at the bound."""
    body += block
    if time.monotonic() > step.deadline:
        raise TimeoutError
    check_size(request.title, len(body))


def _answer(request: Exchange, response: httpx.Response, body: bytes) -> Answer:
    """Decode the body; where the status is an error, find out which. Raises BadResponse."""
    status, encoding = response.status_code, response.headers.get("Content-Encoding", "")
    if 200 <= status < 300:
        return Answer(status, response.headers, decode(request.title, encoding, body), None)
    try:
        content = decode(request.title, encoding, body)
    except BadResponse:
        content = b""  # the status says enough
    return Answer(status, response.headers, content, request.error_for(status, content))
