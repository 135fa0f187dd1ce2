"""send_all and asend_all: which error ends a call, and when."""

from __future__ import annotations

import asyncio
import threading
import time

import httpx
import pytest

from podium.errors import DeadlineExceeded, ProviderError, ProviderUnavailable
from podium.hosted.connections import ConnectionPool
from podium.hosted.retries import Policy, Request
from podium.hosted.transport import MAX_CONCURRENT_REQUESTS, asend_all, send_all
from podium.hosted.wire import Reply


def parse_nothing(content: bytes) -> Reply:
    return Reply([], None, {})


def requests_with(parse):
    """Return as many requests as run at the same time, each with its number as its body and in its title."""
    return [
        Request(
            title=f"request {number}",
            url="http://example.test",
            headers={},
            content=str(number).encode,
            parse=parse,
            error_for=lambda status, content: ProviderError(str(status)),
        )
        for number in range(MAX_CONCURRENT_REQUESTS)
    ]


def test_replies_after_the_deadline_do_not_extend_the_call():
    """The replies are parsed one after the other, each within the grace period of the one before."""
    lock = threading.Lock()

    def parse(content: bytes) -> Reply:
        with lock:
            time.sleep(0.2)
        return Reply([1.0], None, {})

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=httpx.ByteStream(b"{}"))

    with httpx.Client(transport=httpx.MockTransport(answer)) as client, pytest.raises(DeadlineExceeded):
        send_all(requests_with(parse), ConnectionPool(client), Policy(timeout=0.5, retries=0))


def test_first_of_several_errors_is_raised_on_an_event_loop():
    failed_numbers = []

    async def call() -> None:
        arrived_numbers = []
        all_arrived = asyncio.Event()

        async def fail(request: httpx.Request) -> httpx.Response:
            arrived_numbers.append(int(request.content))
            if len(arrived_numbers) == MAX_CONCURRENT_REQUESTS:
                all_arrived.set()
            await all_arrived.wait()
            failed_numbers.append(int(request.content))
            raise RuntimeError

        async with httpx.AsyncClient(transport=httpx.MockTransport(fail)) as client:
            await asend_all(requests_with(parse_nothing), client, Policy(timeout=60, retries=0))

    with pytest.raises(ProviderUnavailable) as caught:
        asyncio.run(call())
    assert len(failed_numbers) == MAX_CONCURRENT_REQUESTS
    assert f"request {failed_numbers[0]} failed" in str(caught.value)
