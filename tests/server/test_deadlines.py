"""Requests whose time is over, and clients that go away."""

from __future__ import annotations

import socket
import threading

import pytest

from fakes import WordOverlap
from loopback import wait_until
from podium.local.schedule import Work, Workers
from podium.server.settings import Settings
from serving import ASKED, Serving, Waiting, post_without_waiting, words


def test_a_deadline_is_a_504_and_stops_the_work():
    waiting = Waiting()
    with Serving(Settings(timeout=0.1), rerankers=words(waiting=waiting)) as server:
        reply = server.post("/v2/rerank", ASKED | {"model": "waiting"})
        assert reply.status_code == 504
        assert "not done within 0.1 seconds" in reply.json()["message"]
        wait_until(lambda: waiting.cancelled == 1 and server.state.admission.requests == 0)


@pytest.mark.parametrize(("header", "status"), [("0.05", 504), ("soon", 400), ("-1", 400), ("0", 400), ("nan", 400)])
def test_a_request_may_have_less_time(header, status):
    with Serving(rerankers=words(waiting=Waiting())) as server:
        reply = server.post("/v2/rerank", ASKED | {"model": "waiting"}, x_request_timeout=header)
        assert reply.status_code == status


def test_a_question_that_is_refused_stops_the_others():
    waiting = Waiting()
    with Serving(rerankers=words(waiting=waiting)) as server:
        asked = {"text_1": ["", *(f"q{at}" for at in range(2000))], "text_2": ["the sea"] * 2001, "model": "waiting"}
        assert server.post("/score", asked).status_code == 400
        wait_until(lambda: waiting.cancelled == waiting.begun)
        assert waiting.begun < 2000


def test_a_client_that_goes_away_frees_its_place():
    waiting = Waiting()
    with Serving(Settings(max_requests=2), rerankers=words(waiting=waiting)) as server:
        for gone in range(1, 21):
            with post_without_waiting(server, ASKED | {"model": "waiting"}):
                wait_until(lambda gone=gone: waiting.begun == gone)
            wait_until(lambda gone=gone: waiting.cancelled == gone)
        wait_until(lambda: server.state.admission.requests == 0)
        assert server.post("/v2/rerank", ASKED).status_code == 200


class Stepwise(WordOverlap):
    """Runs on the schedule of local models, a step per text, and counts its steps."""

    def __init__(self) -> None:
        self.workers, self.may_go_on, self.steps = Workers(1), threading.Event(), 0

    async def ascore(self, query, texts):
        await self.workers.arun(Work([1] * len(texts), self._step))
        return self.score(query, texts)

    def _step(self, items):
        self.steps += 1
        self.may_go_on.wait(60)


def test_a_client_that_goes_away_stops_the_steps_of_its_work():
    stepwise = Stepwise()
    with Serving(rerankers=words(stepwise=stepwise)) as server:
        with post_without_waiting(server, {"query": "a", "documents": ["b"] * 2000, "model": "stepwise"}):
            wait_until(lambda: stepwise.steps == 1)
        wait_until(lambda: server.state.admission.requests == 0)
        stepwise.may_go_on.set()
        assert server.post("/v2/rerank", ASKED | {"model": "stepwise"}).status_code == 200
        assert stepwise.steps == 1 + len(ASKED["documents"])


def test_a_body_that_comes_too_slowly_is_refused():
    with (
        Serving(Settings(read_timeout=0.2), rerankers=words()) as server,
        socket.create_connection(("127.0.0.1", server.port)) as s,
    ):
        s.sendall(b"POST /v2/rerank HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
        answer = b"".join(iter(lambda: s.recv(10_000), b""))  # to the end: the server hangs up
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"did not come within 0.2 seconds" in answer


def test_a_client_that_hangs_up_in_its_body_leaves_nothing():
    with Serving(rerankers=words()) as server:
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", server.port)) as s:
                s.sendall(b"POST /v2/rerank HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{" + b" " * 50)
        wait_until(lambda: server.state.admission.bytes == 0)
        assert server.post("/v2/rerank", ASKED).status_code == 200
