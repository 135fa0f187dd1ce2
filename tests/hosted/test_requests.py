"""Calls that send several requests, and several calls at the same time."""

from __future__ import annotations

import asyncio
import threading

import pytest

import loopback
import podium
from contracts import COHERE
from loopback import Answer, Loopback, as_json, wait_until
from podium.errors import InvalidInput
from podium.hosted.transport import MAX_CONCURRENT_REQUESTS


def test_request_over_the_limit_is_split_and_merged(server, rerank):
    def answer(request: loopback.Request) -> Answer:
        results = [{"index": index, "score": int(text) / 1000} for index, text in enumerate(request.json["texts"])]
        return as_json(results[::-1])

    server.answer = answer
    texts = [str((number * 37) % 101) for number in range(101)]  # the numbers from 0 to 100, shuffled
    ranking = rerank(podium.load("tei:", base_url=server.url), "q", texts)
    assert sorted(len(request.json["texts"]) for request in server.requests) == [5, 32, 32, 32]
    assert [result.document for result in ranking] == sorted(texts, key=int, reverse=True)
    assert "sent as 4 requests" in ranking.notes


def test_request_is_split_by_characters(server):
    server.answer = loopback.voyage
    ranking = podium.load("voyage:m", base_url=server.url, api_key="k").rerank("q", ["x" * 250_000] * 5)
    assert sorted(len(request.json["documents"]) for request in server.requests) == [1, 2, 2]
    assert ranking.usage.tokens == 5, "the tokens of the requests were not added up"


def test_some_requests_of_a_call_run_at_the_same_time(server, rerank):
    lock = threading.Lock()
    running = 0
    peak = 0

    def answer(request: loopback.Request) -> Answer:
        nonlocal running, peak
        with lock:
            running += 1
            peak = max(peak, running)
        wait_until(lambda: peak >= MAX_CONCURRENT_REQUESTS, seconds=60)
        with lock:
            running -= 1
        return loopback.cohere(request)

    server.answer = answer
    rerank(COHERE.load(server.url, max_documents=1, timeout=60.0), "q", [f"text {number}" for number in range(24)])
    assert peak == MAX_CONCURRENT_REQUESTS


def test_listwise_model_is_not_split(server):
    listwise = podium.load("jina:jina-reranker-v3", base_url=server.url, api_key="k", max_documents=2)
    with pytest.raises(InvalidInput, match="compares all documents"):
        listwise.rerank("q", ["a", "b", "c"])
    assert server.requests == []


def test_hundred_calls_at_once_return_their_own_results(server):
    server.answer = loopback.cohere

    async def rank_all() -> list[tuple[list[str], list[float]]]:
        async with COHERE.load(server.url, timeout=60.0) as reranker:
            texts_per_call = [[f"x w{number}" for number in range(start, start + 5)] for start in range(100)]
            calls = [reranker.arank(f"w{number}", texts) for number, texts in enumerate(texts_per_call)]
            return await asyncio.gather(*calls)

    for number, (documents, scores) in enumerate(asyncio.run(rank_all())):
        assert documents[0] == f"x w{number}"
        assert scores == sorted(scores, reverse=True)
    assert len(server.connections) <= 100


def test_reranker_can_be_used_in_several_event_loops(server):
    """The reranker is not closed between the loops. A connection that stayed open would be a warning and fail the test."""
    server.answer = loopback.cohere
    reranker = COHERE.load(server.url)
    for _ in range(3):
        assert asyncio.run(reranker.arank("b", ["a", "b"]))[0] == ["b", "a"]
    reranker.close()


def test_cancelling_a_call_ends_its_requests(server: Loopback):
    server.answer = lambda request: Answer(200, b"{}", seconds=100)

    async def cancel_call() -> None:
        task = asyncio.ensure_future(COHERE.load(server.url).arank("q", ["a"]))
        await asyncio.to_thread(wait_until, lambda: server.requests)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(cancel_call())
