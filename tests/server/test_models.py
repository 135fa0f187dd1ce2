"""Models by their names, under load and while they load."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from loopback import wait_until
from podium.server.dialects.call import Refusal
from podium.server.models import Models
from podium.server.settings import Settings
from serving import ASKED, Serving, Waiting, post_without_waiting, words


def test_many_connections_get_the_offline_answers(mini):
    """Sixty-four at once, of many sizes: every one is answered, and by the very scores of the offline call."""
    asked = [
        {"query": f"fruit {at}", "documents": [f"{word} apple {at}" for word in ("red", "green", "old")[: at % 3 + 1]]}
        for at in range(64)
    ]
    with Serving(rerankers={"podium-mini": mini}) as server, ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda body: httpx.post(f"{server.url}/v2/rerank", json=body, timeout=60), asked))
    for body, answer in zip(asked, answers, strict=True):
        expected = [(result.index, result.score) for result in mini.rerank(body["query"], body["documents"])]
        assert [(each["index"], each["relevance_score"]) for each in answer.json()["results"]] == expected


@pytest.mark.parametrize("path", ["/score", "/rank"])
def test_a_small_request_is_answered_before_a_large_one(mini, path):
    text = "the sea at night " * 20
    large = {
        "/score": {"text_1": [f"question {at}" for at in range(1000)], "text_2": [f"{at} {text}" for at in range(1000)]},
        "/rank": {"query": "question", "documents": [f"{at} {text}" for at in range(1000)]},
    }
    with Serving(rerankers={"podium-mini": mini}) as server:
        with post_without_waiting(server, large[path], path):
            wait_until(lambda: server.state.admission.requests == 1)
            documents = [f"a red fruit {text}{number}" for number in range(5)]
            assert server.post("/v2/rerank", {"query": "red fruit", "documents": documents}).status_code == 200
            assert server.state.admission.requests == 1  # the large one
        wait_until(lambda: server.state.admission.requests == 0)


def test_draining_answers_the_accepted_and_refuses_the_others():
    waiting = Waiting()
    with Serving(rerankers=words(waiting=waiting)) as server, ThreadPoolExecutor(2) as pool:
        accepted = pool.submit(httpx.post, f"{server.url}/v2/rerank", json=ASKED | {"model": "waiting"}, timeout=30)
        wait_until(lambda: waiting.begun == 1)
        loop = server._server.servers[0].get_loop()
        drained = asyncio.run_coroutine_threadsafe(server.state.admission.drain(), loop)
        wait_until(lambda: server.state.admission.draining)
        refused = server.post("/v2/rerank", ASKED)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert server.client.get("/ready").json() == {"status": "draining"}
        assert server.client.get("/health").status_code == 200
        assert not drained.done()
        waiting.may_go_on.set()
        assert accepted.result().status_code == 200
        drained.result(10)


def test_several_names_can_stand_for_one_model():
    """It is loaded once, with one set of threads; and it is the server's only model."""
    options = {"name": "podium-mini"}
    with Serving(Settings(models={"mini": options, "*": options, "short": options | {"max_length": 16}})) as server:
        mini, wildcard, short = server.state.models.rerankers.values()
        assert mini is wildcard
        assert mini is not short
        assert server.state.models.distinct == [mini, short]
        assert server.post("/v2/rerank", ASKED | {"model": "any"}).status_code == 200


def test_while_models_load_a_request_is_told_to_come_again():
    with pytest.raises(Refusal) as refused:
        Models({}).served_name(None)
    assert (refused.value.status, refused.value.retry_after) == (503, 1)
