"""Models by their names, under load, while they load and while the server stops."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

import podium
from fakes import WordOverlap
from loopback import wait_until
from podium.server.dialects.call import Refusal
from podium.server.models import Models
from podium.server.settings import Settings
from podium.server.threads import reranker_with_threads
from redisearch import TEXT_INFO, answering
from resp import FakeRedis
from serving import REQUEST, ServerThread, WaitingScorer, connect, http_request, rerankers


def test_concurrent_requests_get_the_offline_scores(mini):
    words = ("red", "green", "old")
    requests = [
        {"query": f"fruit {number}", "documents": [f"{word} apple {number}" for word in words[: number % 3 + 1]]}
        for number in range(64)
    ]
    with ServerThread(rerankers={"podium-mini": mini}) as server, ThreadPoolExecutor(64) as pool:
        replies = list(pool.map(lambda body: server.post("/v2/rerank", body), requests))
    for request, reply in zip(requests, replies, strict=True):
        expected = [(result.index, result.score) for result in mini.rerank(request["query"], request["documents"])]
        assert [(result["index"], result["relevance_score"]) for result in reply.json()["results"]] == expected


@pytest.mark.parametrize("path", ["/score", "/rank"])
def test_small_request_is_answered_before_a_large_one(mini, path):
    text = "the sea at night " * 20
    texts = [f"{number} {text}" for number in range(1000)]
    large_bodies = {
        "/score": {"text_1": [f"question {number}" for number in range(1000)], "text_2": texts},
        "/rank": {"query": "question", "documents": texts},
    }
    with ServerThread(rerankers={"podium-mini": mini}) as server:
        with connect(server) as connection:
            connection.sendall(http_request(large_bodies[path], path))
            wait_until(lambda: server.state.admission.request_count == 1)
            documents = [f"a red fruit {text}{number}" for number in range(5)]
            assert server.post("/v2/rerank", {"query": "red fruit", "documents": documents}).status_code == 200
            assert server.state.admission.request_count == 1  # the large request
        wait_until(lambda: server.state.admission.request_count == 0)


def test_draining_answers_accepted_requests_and_refuses_others():
    scorer = WaitingScorer()
    with ServerThread(rerankers=rerankers(waiting=scorer)) as server, ThreadPoolExecutor(2) as pool:
        future = pool.submit(httpx.post, f"{server.url}/v2/rerank", json=REQUEST | {"model": "waiting"}, timeout=30)
        wait_until(lambda: scorer.started_count == 1)
        drain_future = asyncio.run_coroutine_threadsafe(server.state.admission.drain(), server.loop)
        wait_until(lambda: server.state.admission.is_draining)
        reply = server.post("/v2/rerank", REQUEST)
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
        assert server.client.get("/ready").json() == {"status": "draining"}
        assert server.client.get("/health").status_code == 200
        assert not drain_future.done()
        scorer.release.set()
        assert future.result().status_code == 200
        drain_future.result(10)


def test_names_with_the_same_options_share_a_model():
    """The shared model is loaded once, with one set of threads."""
    options = {"name": "podium-mini"}
    with ServerThread(Settings(models={"mini": options, "*": options, "short": options | {"max_length": 16}})) as server:
        mini, wildcard, short = server.state.models.rerankers.values()
        assert mini is wildcard
        assert mini is not short
        assert server.state.models.distinct_rerankers == [mini, short]
        assert server.post("/v2/rerank", REQUEST | {"model": "any"}).status_code == 200


def test_blocking_reranker_with_two_names_is_one():
    """Otherwise the server would count it as two models, and each would have its own threads."""
    reranker = podium.Reranker(WordOverlap())
    models = Models({"one": reranker, "*": reranker})
    assert models.rerankers["one"] is models.rerankers["*"]
    assert len(models.distinct_rerankers) == 1


def test_closing_ends_the_threads_of_a_blocking_reranker():
    async def rank_after_close():
        reranker = reranker_with_threads(podium.Reranker(WordOverlap()))
        await reranker.arerank("q", ["a"])
        await reranker.scorer.aclose()
        with pytest.raises(RuntimeError, match="after shutdown"):
            await reranker.arerank("q", ["a"])

    asyncio.run(rank_after_close())


def test_closing_closes_the_index(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a red apple"}\n')

    async def search_after_close():
        models = Models({})
        await models.load(Settings(models={"mini": {"name": "podium-mini"}}, index=str(path)))
        assert len(await models.source.asearch("apple", 10)) == 1
        await models.close()
        with pytest.raises(RuntimeError, match="after shutdown"):
            await models.source.asearch("apple", 10)

    asyncio.run(search_after_close())


def test_closing_closes_the_connections_of_the_index():
    """A search after closing opens a new connection."""

    async def search_after_close(fake):
        models = Models({})
        await models.load(Settings(models={"mini": {"name": "podium-mini"}}, index=f"{fake.url}/docs"))
        await models.source.asearch("apple", 10)
        await models.source.asearch("apple", 10)
        connections_before = fake.connection_count
        await models.close()
        await models.source.asearch("apple", 10)
        return fake.connection_count - connections_before

    with FakeRedis(answering({"FT.INFO": TEXT_INFO, "FT.SEARCH": [0]}, 2)) as fake:
        assert asyncio.run(search_after_close(fake)) == 1


def test_requests_are_503_while_models_load():
    with pytest.raises(Refusal) as caught:
        Models({}).served_name(None)
    assert (caught.value.status, caught.value.retry_after) == (503, 1)
