"""Requests that exceed their time limit, and clients that disconnect."""

from __future__ import annotations

import threading

import pytest

from fakes import WordOverlap
from loopback import wait_until
from podium.schedule import Work, Workers
from podium.server.settings import Settings
from serving import REQUEST, ServerThread, WaitingScorer, connect, http_request, received_until_closed, rerankers

UNFINISHED = b"POST /v2/rerank HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{"


def test_request_over_the_time_limit_is_504_and_stops():
    scorer = WaitingScorer()
    with ServerThread(Settings(timeout=0.1), rerankers=rerankers(waiting=scorer)) as server:
        reply = server.post("/v2/rerank", REQUEST | {"model": "waiting"})
        assert reply.status_code == 504
        assert "not done within 0.1 seconds" in reply.json()["message"]
        wait_until(lambda: scorer.cancelled_count == 1 and server.state.admission.request_count == 0)


@pytest.mark.parametrize(("header", "status"), [("0.05", 504), ("soon", 400), ("-1", 400), ("0", 400), ("nan", 400)])
def test_client_can_shorten_the_time_limit(header, status):
    with ServerThread(rerankers=rerankers(waiting=WaitingScorer())) as server:
        reply = server.post("/v2/rerank", REQUEST | {"model": "waiting"}, x_request_timeout=header)
        assert reply.status_code == status


def test_refused_question_stops_the_others():
    """The first of the 2,001 queries is empty, so the whole request is refused, and some of the others never start."""
    scorer = WaitingScorer()
    with ServerThread(rerankers=rerankers(waiting=scorer)) as server:
        queries = ["", *(f"query {number}" for number in range(2000))]
        request = {"text_1": queries, "text_2": ["the sea"] * 2001, "model": "waiting"}
        assert server.post("/score", request).status_code == 400
        wait_until(lambda: scorer.cancelled_count == scorer.started_count)
        assert scorer.started_count < 2000


def test_disconnected_client_does_not_count_as_a_request_in_progress():
    scorer = WaitingScorer()
    with ServerThread(Settings(max_requests=2), rerankers=rerankers(waiting=scorer)) as server:
        for count in range(1, 21):
            with connect(server) as connection:
                connection.sendall(http_request(REQUEST | {"model": "waiting"}))
                wait_until(lambda count=count: scorer.started_count == count)
            wait_until(lambda count=count: scorer.cancelled_count == count)
        wait_until(lambda: server.state.admission.request_count == 0)
        assert server.post("/v2/rerank", REQUEST).status_code == 200


class StepScorer(WordOverlap):
    """A scorer that runs on the scheduler of local models, with a step for each text. `step_count` steps have started."""

    def __init__(self) -> None:
        self.workers = Workers(1)
        self.release = threading.Event()
        self.step_count = 0

    async def ascore(self, query, texts):
        await self.workers.arun(Work([1] * len(texts), self._step))
        return self.score(query, texts)

    def _step(self, items):
        self.step_count += 1
        self.release.wait(60)


def test_disconnected_client_stops_the_remaining_steps():
    scorer = StepScorer()
    with ServerThread(rerankers=rerankers(steps=scorer)) as server:
        with connect(server) as connection:
            connection.sendall(http_request({"query": "a", "documents": ["b"] * 2000, "model": "steps"}))
            wait_until(lambda: scorer.step_count == 1)
        wait_until(lambda: server.state.admission.request_count == 0)
        scorer.release.set()
        assert server.post("/v2/rerank", REQUEST | {"model": "steps"}).status_code == 200
        assert scorer.step_count == 1 + len(REQUEST["documents"])


def test_slow_body_is_408():
    with ServerThread(Settings(read_timeout=0.2), rerankers=rerankers()) as server, connect(server) as connection:
        connection.sendall(UNFINISHED)
        reply = received_until_closed(connection)
        assert reply.startswith(b"HTTP/1.1 408 ")
        assert b"did not arrive within 0.2 seconds" in reply


def test_client_that_disconnects_during_its_body_leaves_no_memory_counted():
    with ServerThread(rerankers=rerankers()) as server:
        for _ in range(20):
            with connect(server) as connection:
                connection.sendall(UNFINISHED + b" " * 50)
        wait_until(lambda: server.state.admission.used_bytes == 0)
        assert server.post("/v2/rerank", REQUEST).status_code == 200
