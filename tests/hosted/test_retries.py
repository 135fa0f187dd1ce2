"""Retries, waits between them, and the deadline of a call."""

from __future__ import annotations

import email.utils
import json
import signal
import subprocess
import sys
import time

import pytest

import loopback
from contracts import COHERE, QUERY, TEXTS
from loopback import Answer, Loopback, as_json, wait_until
from podium.errors import DeadlineExceeded, ProviderError, ProviderUnavailable, RateLimited
from podium.hosted.connections import MAX_CONNECTIONS
from podium.hosted.retries import LONGEST_WAIT, RETRIED_STATUSES, advised_wait, jittered_wait
from podium.hosted.transport import MAX_CONCURRENT_REQUESTS

REPLY = json.dumps(COHERE.reply).encode()


def after(*failures: Answer, reply: Answer):
    """Return an `answer` for Loopback: it sends each failure once, and then always the reply."""
    remaining = iter(failures)
    return lambda request: next(remaining, reply)


@pytest.mark.parametrize("status", sorted(RETRIED_STATUSES))
def test_temporary_failure_is_retried(contract, server, rerank, status):
    failure = Answer(status, b"<html>", {"Retry-After": "0"})
    server.answer = after(failure, failure, reply=as_json(contract.reply))
    assert [result.index for result in rerank(contract.load(server.url, retries=3), QUERY, TEXTS)] == [1, 2, 0]
    assert len(server.requests) == 3


def test_dropped_connection_is_retried(server, rerank):
    server.answer = after(Answer(drop=True), Answer(drop=True), reply=as_json(COHERE.reply))
    assert [result.index for result in rerank(COHERE.load(server.url, retries=3), QUERY, TEXTS)] == [1, 2, 0]
    assert len(server.requests) == 3


def test_reply_that_is_cut_off_is_retried(server, rerank):
    server.answer = after(Answer(200, REPLY[:30], length=len(REPLY)), reply=Answer(200, REPLY))
    assert len(rerank(COHERE.load(server.url, retries=1), QUERY, TEXTS)) == 3


def test_server_that_does_not_exist_is_unavailable(rerank):
    with Loopback(lambda request: Answer()) as server:
        unused_url = server.url
    with pytest.raises(ProviderUnavailable, match="could not be reached"):
        rerank(COHERE.load(unused_url, retries=1), "q", ["a"])


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"x-ratelimit-reset": "3"}, 3.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e99"}, None),
        ({"x-ratelimit-reset": "nan"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_advised_wait_is_read_from_headers(headers, seconds):
    assert advised_wait(headers) == seconds


def test_advised_wait_can_be_a_date_or_a_unix_time():
    date = email.utils.formatdate(time.time() + 700, usegmt=True)
    assert advised_wait({"retry-after": date}) == pytest.approx(700, abs=60)
    assert advised_wait({"x-ratelimit-reset": str(time.time() + 700)}) == pytest.approx(700, abs=60)
    assert advised_wait({"x-ratelimit-reset": str((time.time() + 700) * 1000)}) == pytest.approx(700, abs=60)


def test_waits_are_random_and_bounded():
    waits = [jittered_wait(attempt) for attempt in range(12) for _ in range(50)]
    assert min(waits) >= 0
    assert max(waits) <= LONGEST_WAIT
    assert len(set(waits)) > 500  # there are 600 waits


def test_request_is_retried_after_the_advised_wait(server, rerank):
    server.answer = after(Answer(429, b"{}", {"retry-after-ms": "300"}), reply=as_json(COHERE.reply))
    start = time.monotonic()
    rerank(COHERE.load(server.url, retries=1), QUERY, TEXTS)
    assert time.monotonic() - start >= 0.3


def test_quota_reset_is_ignored_after_503(server, rerank):
    """If podium waited for the reset, the call would exceed its deadline."""
    server.answer = after(Answer(503, b"{}", {"x-ratelimit-reset": "60"}), reply=as_json(COHERE.reply))
    assert len(rerank(COHERE.load(server.url, retries=1), QUERY, TEXTS)) == 3


def test_wait_beyond_the_deadline_is_not_started(server, rerank):
    """If podium waited, the call would take a day."""
    server.answer = lambda request: Answer(429, b"{}", {"Retry-After": "90000"})
    with pytest.raises(RateLimited, match="no time is left"):
        rerank(COHERE.load(server.url, retries=5, timeout=80_000), QUERY, TEXTS)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [Answer(200, b"{}", seconds=30), Answer(200, REPLY, drip=0.2), Answer(200, REPLY, drip_headers=0.2)],
    ids=["silent", "slow body", "slow headers"],
)
def test_slow_server_does_not_delay_the_deadline(server, rerank, answer):
    """The call ends while the server is still sending its reply, which takes most of a minute."""
    server.answer = lambda request: answer
    with pytest.raises((DeadlineExceeded, ProviderUnavailable)):
        rerank(COHERE.load(server.url, timeout=0.6, retries=3), QUERY, TEXTS)
    assert server.finished_count == 0


def test_slow_server_does_not_keep_the_process_alive(server):
    server.answer = lambda request: Answer(200, b"{}", drip_headers=10)  # 10 seconds per byte: minutes in all
    script = f"import podium; podium.load('cohere:m', base_url={server.url!r}, timeout=0.5).rank('q', ['a'])"
    assert b"DeadlineExceeded" in subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=120).stderr
    assert server.finished_count == 0


def test_interrupt_ends_the_call_and_sends_nothing_more(server):
    server.answer = lambda request: Answer(200, b"{}", seconds=100)
    script = (
        "import signal, podium\n"
        # If the tests run in the background, the shell makes them and their child processes ignore SIGINT.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"podium.load('cohere:m', base_url={server.url!r}, max_documents=1).rank('q', [str(n) for n in range(40)])\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE) as process:
        wait_until(lambda: server.requests)
        process.send_signal(signal.SIGINT)
        assert b"KeyboardInterrupt" in process.communicate(timeout=60)[1]
    assert len(server.requests) <= MAX_CONCURRENT_REQUESTS


def test_deadline_covers_all_requests_of_a_call(server, rerank):
    """Each request alone would be answered in time."""
    server.answer = lambda request: Answer(200, loopback.cohere(request).content, seconds=0.25)
    with pytest.raises(ProviderError):
        rerank(COHERE.load(server.url, timeout=1.0, max_documents=1), "q", [f"text {number}" for number in range(100)])
    assert len(server.requests) < 100


def test_reranker_recovers_when_its_server_recovers(server):
    """Requests that timed out do not keep their connections of the pool."""
    server.answer = lambda request: Answer(200, b"{}", {"X": "x" * 3000}, drip_headers=0.1)
    texts = [f"text {number}" for number in range(MAX_CONCURRENT_REQUESTS)]
    with COHERE.load(server.url, timeout=0.4, max_documents=1) as reranker:
        for _ in range(MAX_CONNECTIONS // len(texts) + 2):  # more requests than the pool has connections
            with pytest.raises(ProviderError):  # which subclass depends on whether a request or the whole call times out first
                reranker.scorer.score("q", texts)
        server.answer = loopback.cohere

        def is_working() -> bool:
            try:
                return len(reranker.rerank("q", ["a"])) == 1
            except ProviderError:  # on a busy machine, a good reply can be too late
                return False

        wait_until(is_working, seconds=60)
        # The client can have a reply before the server counts it.
        wait_until(lambda: server.finished_count > 0, seconds=60)
