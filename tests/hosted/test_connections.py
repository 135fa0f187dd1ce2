"""Connections: when they are reused and closed, and clients that the user passes."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

import loopback
import podium
from contracts import COHERE
from loopback import Answer, wait_until
from podium.errors import InvalidInput, ProviderError
from podium.hosted.connections import MAX_CONNECTIONS
from podium.hosted.transport import MAX_CONCURRENT_REQUESTS


def test_connection_is_reused(server):
    server.answer = loopback.cohere
    with COHERE.load(server.url) as reranker:
        for _ in range(5):
            reranker.rank("q", ["a"])
    assert len(server.connections) == 1


def test_connections_of_abandoned_calls_are_closed(server):
    """The headers of each reply take five minutes to arrive, and every call ends after half a second.

    Together, the calls send more requests than the pool has connections. So the last calls would fail if the connections of
    abandoned calls stayed in use.
    """
    server.answer = lambda request: Answer(200, b"{}", {"X-Padding": "x" * 3000}, drip_headers=0.1)
    texts = [f"text {number}" for number in range(MAX_CONCURRENT_REQUESTS)]
    call_count = MAX_CONNECTIONS // len(texts) + 2
    with COHERE.load(server.url, timeout=0.5, max_documents=1) as reranker:
        for _ in range(call_count):
            with pytest.raises(ProviderError):  # which subclass depends on whether a request or the whole call times out first
                reranker.rerank("q", texts)
        wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "podium-request"], seconds=60)
        assert server.finished_count == 0, "a call waited for the end of a slow reply"
    with COHERE.load(server.url, max_documents=1) as reranker:
        server.answer = loopback.cohere
        assert len(reranker.rerank("q", texts)) == len(texts)


def test_running_call_survives_close(server):
    has_arrived = threading.Event()
    can_answer = threading.Event()

    def answer(request: loopback.Request) -> Answer:
        has_arrived.set()
        can_answer.wait(60)
        return loopback.cohere(request)

    server.answer = answer
    reranker = COHERE.load(server.url, timeout=60.0)
    rankings: list[podium.Ranking] = []
    thread = threading.Thread(target=lambda: rankings.append(reranker.rerank("q", ["a"])))
    thread.start()
    assert has_arrived.wait(60)
    reranker.close()
    can_answer.set()
    thread.join(60)
    assert len(rankings) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_connections_of_the_parent_are_not_closed_in_a_forked_process(server):
    """A thread of the parent may use them during the fork. Then their lock stays locked in the new process."""
    scorer = COHERE.load(server.url).scorer
    with scorer._connections._lock:
        child = os.fork()
        if not child:
            signal.alarm(30)
            del scorer
            gc.collect()
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_client_of_the_user_is_used_and_not_closed(server):
    server.answer = loopback.cohere
    hook_calls = []
    with httpx.Client(event_hooks={"request": [hook_calls.append]}, headers={"X-Mine": "1"}) as client:
        with COHERE.load(server.url, client=client) as reranker:
            reranker.rank("q", ["a"])
        assert len(hook_calls) == 1
        assert not client.is_closed
    assert server.requests[0].headers["x-mine"] == "1"


def test_async_client_of_the_user_is_used_and_not_closed(server):
    server.answer = loopback.cohere

    async def rank() -> None:
        async with httpx.AsyncClient(headers={"X-Mine": "2"}) as async_client:
            async with COHERE.load(server.url, async_client=async_client) as reranker:
                await reranker.arank("q", ["a"])
            assert not async_client.is_closed

    asyncio.run(rank())
    assert server.requests[0].headers["x-mine"] == "2"


def test_error_in_a_client_of_the_user_is_a_provider_error(server, rerank):
    """A user's client can raise anything, for example in its event hooks."""

    def fail(request: httpx.Request) -> None:
        raise RuntimeError("secret of the hook")

    async def afail(request: httpx.Request) -> None:
        fail(request)

    client = httpx.Client(event_hooks={"request": [fail]})
    async_client = httpx.AsyncClient(event_hooks={"request": [afail]})
    reranker = COHERE.load(server.url, client=client, async_client=async_client, retries=3)
    with (
        client,
        pytest.raises(podium.ProviderUnavailable, match=r"failed \(RuntimeError\); check base_url and the client") as caught,
    ):
        rerank(reranker, "q", ["a"])
    assert "secret" not in str(caught.value)
    assert server.requests == []
    asyncio.run(async_client.aclose())


@pytest.mark.parametrize(
    ("variable", "value"),
    [("HTTP_PROXY", "nonsense://user:hidden@h"), ("SSL_CERT_FILE", "/does/not/exist")],
    ids=["proxy", "certificates"],
)
def test_error_of_an_invalid_environment_names_the_variable(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidInput, match=variable) as caught:
        podium.load("cohere:m", api_key="k")
    assert "hidden" not in str(caught.value)


def test_cookies_are_not_kept(server, rerank):
    server.answer = lambda request: replace(loopback.cohere(request), headers={"Set-Cookie": "session=1"})
    reranker = COHERE.load(server.url)
    rerank(reranker, "q", ["a"])
    rerank(COHERE.load(server.url), "q", ["a"])
    with COHERE.load(server.url) as reranker:
        for _ in range(2):
            reranker.rerank("q", ["a"])
    assert [request.headers["Cookie"] for request in server.requests] == [None] * 4


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system does not list open descriptors")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("ends_generators", [True, False], ids=["asyncio.run", "closed loop"])
def test_connections_of_ended_event_loops_are_closed(server, ends_generators):
    server.answer = loopback.cohere
    reranker = COHERE.load(server.url)

    def rank_in_a_new_loop(ends_generators: bool) -> None:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(reranker.arerank("q", ["a"]))
        if ends_generators:  # asyncio.run does this
            loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    descriptors = Path("/proc/self/fd")
    rank_in_a_new_loop(ends_generators)
    gc.collect()
    before = len(list(descriptors.iterdir()))
    for _ in range(30):
        rank_in_a_new_loop(ends_generators)
    gc.collect()
    assert len(list(descriptors.iterdir())) < before + 10
    rank_in_a_new_loop(True)  # removes the connections of the last loop,
    gc.collect()  # so that their warnings are ignored in this test
