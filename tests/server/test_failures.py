"""Scorers and sources that fail or block."""

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
from podium.server.threads import THREADS_PER_POOL
from podium.types import Scores
from serving import REQUEST, BlockingScorer, ServerThread, post_with_short_timeout, rerankers


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (InvalidInput("no"), 400, None),
        (RequestRejected("no", status=422), 400, None),
        (RateLimited("no", status=429), 429, "5"),
        (ProviderUnavailable("no"), 503, "5"),
        (DeadlineExceeded("no"), 504, None),
        (KeyRejected("no", status=401), 502, None),  # the server's own key, not the client's
        (BadResponse("no"), 502, None),
        (PodiumError("no"), 500, None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_error_of_podium_determines_the_status(error, status, retry_after):
    def fail(texts):
        raise error

    with ServerThread(rerankers=rerankers(failing=FunctionScorer(fail))) as server:
        reply = server.post("/v2/rerank", REQUEST | {"model": "failing"})
        assert (reply.status_code, reply.headers.get("retry-after")) == (status, retry_after)
        assert reply.json()["message"] == "no"


@pytest.mark.parametrize("error_type", [RuntimeError, StopIteration])  # a future cannot have the second as its exception
def test_unexpected_error_is_500_without_message(caplog, error_type):
    def fail(texts):
        raise error_type(f"could not read {texts}")

    with caplog.at_level(logging.INFO, "podium"), ServerThread(rerankers=rerankers(failing=FunctionScorer(fail))) as server:
        reply = server.post("/v2/rerank", REQUEST | {"model": "failing", "documents": ["a secret"]})
        assert reply.status_code == 500
        assert reply.json()["message"].startswith("the server failed (RuntimeError); see its log for request ")
        assert "secret" not in reply.text
    failure = next(record for record in caplog.records if record.message == "failure")
    assert "test_failures.py" in failure.fields["location"]
    assert "secret" not in str([vars(record) for record in caplog.records])


@pytest.mark.parametrize("scores", [[1.0], [1.0, float("nan")], [1.0, 2.0, 3.0]], ids=["too few", "not a number", "too many"])
def test_wrong_scores_are_500(scores):
    with ServerThread(rerankers=rerankers(wrong=FunctionScorer(lambda texts: Scores(scores)))) as server:
        assert server.post("/v2/rerank", REQUEST | {"model": "wrong"}).status_code == 500


def test_blocked_scorer_does_not_delay_other_models():
    scorer = BlockingScorer()
    with ServerThread(rerankers=rerankers(blocked=scorer)) as server, ThreadPoolExecutor(10) as pool:
        request = REQUEST | {"model": "blocked"}
        futures = [pool.submit(post_with_short_timeout, server, "/v2/rerank", request) for _ in range(10)]
        assert server.post("/v2/rerank", REQUEST).status_code == 200
        assert {future.result().status_code for future in futures} == {504}
        scorer.release.set()


def test_blocked_model_takes_neither_all_threads_nor_all_requests():
    """A thread stays in use after its request has timed out."""
    scorer = BlockingScorer()
    request = REQUEST | {"model": "blocked"}
    count = 8 * THREADS_PER_POOL
    settings = Settings(max_requests=count)
    with ServerThread(settings, rerankers=rerankers(blocked=scorer)) as server, ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(post_with_short_timeout, server, "/v2/rerank", request) for _ in range(count)]
        wait_until(lambda: scorer.started_count == THREADS_PER_POOL)
        assert server.post("/v2/rerank", REQUEST).status_code == 200
        assert {future.result().status_code for future in futures} <= {429, 504}
        assert scorer.started_count == THREADS_PER_POOL  # these threads are still in use
        assert server.post("/v2/rerank", REQUEST).status_code == 200
        assert post_with_short_timeout(server, "/v2/rerank", request).status_code == 504
        scorer.release.set()
        wait_until(lambda: server.post("/v2/rerank", request).status_code == 200)


class BlockingSource:
    """A source whose searches block their threads until `release` is set."""

    def __init__(self) -> None:
        self.release = threading.Event()

    def search(self, query, limit):
        self.release.wait(60)
        return []


def test_blocked_source_does_not_delay_models():
    source = BlockingSource()
    count = 4 * THREADS_PER_POOL
    with ServerThread(rerankers=rerankers(), source=source) as server, ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(post_with_short_timeout, server, "/search", {"query": "a"}) for _ in range(count)]
        assert {future.result().status_code for future in futures} == {504}
        assert server.post("/v2/rerank", REQUEST).status_code == 200
        source.release.set()
