"""Scorers and sources that fail or hang."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from fakes import FunctionScorer
from loopback import wait_until
from podium.errors import (
    BadResponse,
    DeadlineExceeded,
    InvalidInput,
    KeyRejected,
    PodiumError,
    ProviderUnavailable,
    RateLimited,
    RequestRejected,
)
from podium.server.settings import Settings
from podium.server.threads import THREADS
from podium.types import Scores
from serving import ASKED, Hanging, Serving, post_briefly, words


@pytest.mark.parametrize(
    ("error", "status", "again"),
    [
        (InvalidInput("no"), 400, None),
        (RequestRejected("no", status=422), 400, None),
        (RateLimited("no", status=429), 429, "5"),
        (ProviderUnavailable("no"), 503, "5"),
        (DeadlineExceeded("no"), 504, None),
        (KeyRejected("no", status=401), 502, None),  # the server's own key: the client's is not to blame
        (BadResponse("no"), 502, None),
        (PodiumError("no"), 500, None),
    ],
)
def test_what_fails_below_is_told_by_its_status(error, status, again):
    def fail(texts):
        raise error

    with Serving(rerankers=words(failing=FunctionScorer(fail))) as server:
        reply = server.post("/v2/rerank", ASKED | {"model": "failing"})
        assert (reply.status_code, reply.headers.get("retry-after")) == (status, again)
        assert reply.json()["message"] == "no"


def test_an_error_of_nobodys_is_a_500_without_its_words(caplog):
    def fail(texts):
        raise RuntimeError(f"could not read {texts}")

    with caplog.at_level(logging.INFO, "podium"), Serving(rerankers=words(failing=FunctionScorer(fail))) as server:
        reply = server.post("/v2/rerank", ASKED | {"model": "failing", "documents": ["a secret"]})
        assert reply.status_code == 500
        assert reply.json()["message"].startswith("the server failed (RuntimeError); its log has more under ")
        assert "secret" not in reply.text
    failure = next(record for record in caplog.records if record.message == "failure")
    assert "test_requests.py" in failure.fields["at"]
    assert "secret" not in str([vars(record) for record in caplog.records])


@pytest.mark.parametrize("scores", [[1.0], [1.0, float("nan")], [1.0, 2.0, 3.0]])
def test_scores_that_fit_no_document_are_an_error(scores):
    with Serving(rerankers=words(lying=FunctionScorer(lambda texts: Scores(scores)))) as server:
        assert server.post("/v2/rerank", ASKED | {"model": "lying"}).status_code == 500


def test_a_scorer_that_hangs_holds_up_nobody_else():
    hanging = Hanging()
    with Serving(rerankers=words(hanging=hanging)) as server, ThreadPoolExecutor(10) as pool:
        asked = ASKED | {"model": "hanging"}
        hung = [pool.submit(post_briefly, server, "/v2/rerank", asked) for _ in range(10)]
        assert server.post("/v2/rerank", ASKED).status_code == 200
        assert {answer.result().status_code for answer in hung} == {504}
        hanging.may_go_on.set()


class CountingHang(Hanging):
    """A scorer that blocks its threads, and counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.threads = 0

    def score(self, query, texts):
        self.threads += 1
        return super().score(query, texts)


def test_a_model_that_hangs_takes_neither_all_threads_nor_all_places():
    """Eight times as many requests as it has threads. Threads of requests that were given up stay taken."""
    hanging, asked = CountingHang(), ASKED | {"model": "hanging"}
    with Serving(Settings(max_requests=128), rerankers=words(hanging=hanging)) as server, ThreadPoolExecutor(128) as pool:
        hung = [pool.submit(post_briefly, server, "/v2/rerank", asked) for _ in range(128)]
        wait_until(lambda: hanging.threads == THREADS)
        assert server.post("/v2/rerank", ASKED).status_code == 200
        assert {answer.result().status_code for answer in hung} <= {429, 504}
        assert hanging.threads == THREADS  # which are still held, and will be
        assert server.post("/v2/rerank", ASKED).status_code == 200
        assert post_briefly(server, "/v2/rerank", asked).status_code == 504
        hanging.may_go_on.set()
        wait_until(lambda: server.post("/v2/rerank", asked).status_code == 200)


class HangingSource:
    """A source that blocks its threads."""

    def __init__(self) -> None:
        self.may_go_on = threading.Event()

    def search(self, query, limit):
        self.may_go_on.wait(60)
        return []


def test_an_index_that_hangs_holds_up_no_model():
    source = HangingSource()
    with (
        Serving(rerankers=words(), source=source) as server,
        ThreadPoolExecutor(70) as pool,
    ):
        hung = [pool.submit(post_briefly, server, "/search", {"query": "a"}) for _ in range(70)]
        assert {answer.result().status_code for answer in hung} == {504}
        assert server.post("/v2/rerank", ASKED).status_code == 200
        source.may_go_on.set()
