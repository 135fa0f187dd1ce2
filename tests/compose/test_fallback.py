"""Fallback and its circuit breakers, with the failures of real servers."""

from __future__ import annotations

import asyncio
import math
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

import loopback
import podium
from fakes import FunctionScorer, WordOverlap
from loopback import Answer, Loopback, as_json, wait_until
from podium.compose.circuit import Circuit
from podium.compose.fallback import Fallback
from podium.errors import (
    DeadlineExceeded,
    InvalidInput,
    KeyRejected,
    ProviderUnavailable,
    RequestRejected,
)
from podium.hosted.scorer import HostedScorer
from podium.types import Scores

QUERY = "red fruit"
TEXTS = ["the sea", "a red fruit", "red"]


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def hosted(url: str, *, timeout: float = 20.0, retries: int = 0) -> HostedScorer:
    return HostedScorer("cohere", "m", base_url=url, api_key="k", timeout=timeout, retries=retries)


def unused_url() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


FAULTS = {
    "timeout": (Answer(seconds=60), {"timeout": 0.3, "retries": 3}, 1, "DeadlineExceeded"),
    "slow body": (Answer(content=b" " * 1000, drip=0.2), {"timeout": 0.3, "retries": 3}, 1, "DeadlineExceeded"),
    "429 after retries": (as_json({"message": "slow down"}, 429, retry_after_ms="1"), {"retries": 2}, 3, "RateLimited"),
    "500": (as_json({"message": "broken"}, 500), {}, 1, "ProviderUnavailable"),
    "503 after retries": (as_json({"message": "busy"}, 503, retry_after_ms="1"), {"retries": 1}, 2, "ProviderUnavailable"),
    "dropped connection": (Answer(drop=True), {}, 1, "ProviderUnavailable"),
    "refused connection": (None, {}, 0, "ProviderUnavailable"),
}
"""Name → the server's answer, None if there is no server; options of the scorer; number of requests; error."""


@pytest.mark.parametrize(("answer", "options", "request_count", "error"), FAULTS.values(), ids=FAULTS)
def test_next_scorer_is_called_after_a_failure(rerank, answer, options, request_count, error):
    with Loopback(lambda request: answer) as server:
        url = unused_url() if answer is None else server.url
        with podium.Reranker(Fallback(hosted(url, **options), WordOverlap())) as reranker:
            ranking = rerank(reranker, QUERY, TEXTS)
        assert len(server.requests) == request_count
    assert [(result.index, result.score) for result in ranking] == [(1, 2.0), (2, 1.0), (0, 0.0)]
    assert {result.scored_by for result in ranking} == {"word-overlap"}
    assert (ranking.model, ranking.revision, ranking.score_kind) == ("word-overlap", "1", "logit")
    assert ranking.degraded
    assert len(ranking.reasons) == 1
    assert ranking.reasons[0].startswith(f"cohere:m failed ({error}: ")


REJECTIONS = {
    "400": (400, RequestRejected),
    "422": (422, RequestRejected),
    "413": (413, RequestRejected),
    "404": (404, RequestRejected),
    "401": (401, KeyRejected),
}


@pytest.mark.parametrize(("status", "error_class"), REJECTIONS.values(), ids=REJECTIONS)
def test_rejected_request_is_an_error_and_does_not_open_the_circuit(rerank, status, error_class):
    second = FunctionScorer(lambda texts: Scores([0.0] * len(texts)))
    with Loopback(lambda request: as_json({"message": "no"}, status)) as server:
        reranker = podium.Reranker(Fallback(hosted(server.url), second, failures=1))
        for _ in range(2):
            with pytest.raises(error_class):
                rerank(reranker, QUERY, TEXTS)
        assert len(server.requests) == 2
        reranker.close()
    assert second.calls == []


def test_invalid_input_never_calls_the_next_scorer(rerank):
    def refuse(texts):
        raise InvalidInput("no")

    second = FunctionScorer(lambda texts: Scores([0.0] * len(texts)))
    with pytest.raises(InvalidInput, match="no"):
        rerank(podium.Reranker(Fallback(FunctionScorer(refuse), second)), QUERY, TEXTS)
    assert second.calls == []


def test_ranking_of_the_first_scorer_is_unchanged(rerank):
    with Loopback(loopback.cohere) as server, podium.load("cohere:m", base_url=server.url, api_key="k") as plain:
        with podium.Reranker(Fallback(hosted(server.url), WordOverlap())) as reranker:
            ranking = rerank(reranker, QUERY, TEXTS)
            assert list(ranking) == list(plain.rerank(QUERY, TEXTS))
        assert not ranking.degraded
        assert ranking.model == "cohere:m"


def fail(texts):
    raise ProviderUnavailable("the service failed")


def test_last_resort_keeps_the_order_and_invents_no_scores(rerank):
    ranking = rerank(podium.Reranker(Fallback(FunctionScorer(fail), FunctionScorer(fail))), QUERY, ["c", None, "a", "b"])
    assert [result.index for result in ranking] == [0, 2, 3, 1]
    assert [math.isnan(result.score) for result in ranking] == [True, True, True, False]
    assert [result.scored_by for result in ranking] == [None] * 4
    assert ranking.usage.pairs == 0
    assert ranking.degraded
    assert ranking.reasons == ("function failed (ProviderUnavailable: the service failed)",) * 2


def test_last_error_is_raised_without_a_last_resort(rerank):
    def time_out(texts):
        raise DeadlineExceeded("too late")

    reranker = podium.Reranker(Fallback(FunctionScorer(fail), FunctionScorer(time_out), or_keep_order=False, failures=1))
    with pytest.raises(DeadlineExceeded, match="too late"):
        rerank(reranker, QUERY, TEXTS)
    with pytest.raises(
        ProviderUnavailable, match=r"function was not called because it had failed repeatedly; .* again in 30 s"
    ):
        rerank(reranker, QUERY, TEXTS)


@pytest.mark.parametrize("error", [TimeoutError("secret text"), ConnectionResetError("secret text")])
def test_timeouts_and_connection_errors_of_a_users_scorer_are_failures(rerank, error):
    def raise_error(texts):
        raise error

    ranking = rerank(podium.Reranker(Fallback(FunctionScorer(raise_error), WordOverlap())), QUERY, TEXTS)
    assert ranking.reasons == (f"function failed ({type(error).__name__})",)


def test_other_errors_of_a_users_scorer_are_raised(rerank):
    def divide(texts):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        rerank(podium.Reranker(Fallback(FunctionScorer(divide), WordOverlap())), QUERY, TEXTS)


def test_open_circuit_is_not_called_until_one_call_tries_it_again(rerank):
    clock = Clock()
    status = 503
    with Loopback(lambda request: loopback.cohere(request) if status == 200 else as_json({}, status)) as server:
        fallback = Fallback(hosted(server.url), WordOverlap(), failures=2, seconds=10, clock=clock)
        with podium.Reranker(fallback) as reranker:
            models = [rerank(reranker, QUERY, TEXTS).model for _ in range(4)]
            assert models == ["word-overlap"] * 4
            assert len(server.requests) == 2
            assert "was not called" in rerank(reranker, QUERY, TEXTS).reasons[0]
            clock.time = 9.9
            assert rerank(reranker, QUERY, TEXTS).degraded
            assert len(server.requests) == 2
            clock.time = 10.0
            assert rerank(reranker, QUERY, TEXTS).degraded  # the attempt fails, and the circuit is open for 10 seconds more
            clock.time = 19.9
            assert rerank(reranker, QUERY, TEXTS).degraded
            assert len(server.requests) == 3
            clock.time = 20.0
            status = 200
            assert [rerank(reranker, QUERY, TEXTS).model for _ in range(2)] == ["cohere:m"] * 2
            assert len(server.requests) == 5


def test_failures_with_a_success_between_them_do_not_open_the_circuit():
    outcomes = iter([False, True] * 5)

    def score(texts):
        return Scores([1.0] * len(texts)) if next(outcomes) else fail(texts)

    reranker = podium.Reranker(Fallback(FunctionScorer(score), WordOverlap(), failures=2))
    assert [reranker.rerank(QUERY, TEXTS).degraded for _ in range(10)] == [True, False] * 5


def test_failure_concerns_one_query_of_a_scorer_that_scores_one_after_another():
    def answer(request):
        return as_json({}, 503) if request.json["query"] == "bad" else loopback.cohere(request)

    with Loopback(answer) as server, podium.Reranker(Fallback(hosted(server.url), WordOverlap())) as reranker:
        rankings = reranker.rerank_many(["good", "bad", "better"], [TEXTS] * 3)
    assert [ranking.model for ranking in rankings] == ["cohere:m", "word-overlap", "cohere:m"]
    assert [ranking.degraded for ranking in rankings] == [False, True, False]


def test_queries_are_scheduled_together():
    calls = []

    class ManyScorer(FunctionScorer):
        def score_many(self, queries, texts_per_query, *, progress=None):
            calls.append(list(queries))
            progress(sum(map(len, texts_per_query)))
            return [Scores([1.0] * len(texts)) for texts in texts_per_query]

    counts = []
    fallback = Fallback(FunctionScorer(fail), ManyScorer(fail), failures=1)
    scores = fallback.score_many(["a", "b", "c"], [TEXTS, [], TEXTS], progress=counts.append)
    assert calls == [["a", "c"]]
    assert sum(counts) == 6
    assert [len(query_scores.reasons) for query_scores in scores] == [1, 0, 1]


def test_cancelled_call_leaves_nothing_running_and_ends_the_attempt():
    """The cancelled call was the one that tried an open circuit, so the next call must be able to try it."""
    clock = Clock()
    is_slow = False
    answered = threading.Event()

    def answer(request):
        if is_slow:
            answered.set()
            return Answer(seconds=60)
        return as_json({}, 503)

    second = FunctionScorer(lambda texts: Scores([0.0] * len(texts)))

    async def cancel_a_call(fallback):
        task = asyncio.create_task(fallback.ascore(QUERY, TEXTS))
        await asyncio.to_thread(answered.wait, 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(asyncio.all_tasks()) == 1
        await fallback.aclose()

    with Loopback(answer) as server:
        fallback = Fallback(hosted(server.url), second, failures=1, seconds=5, clock=clock)
        fallback.score(QUERY, TEXTS)
        clock.time = 5.0
        is_slow = True
        asyncio.run(cancel_a_call(fallback))
        assert len(second.calls) == 1
        wait_until(lambda: len(server.requests) == 2)
        assert fallback._circuits[0].begin() is not None


def test_only_one_of_many_threads_tries_an_open_circuit():
    clock = Clock()
    circuit = Circuit(failures=1, seconds=1, clock=clock)
    circuit.record_failure(circuit.begin())
    clock.time = 1.0
    barrier = threading.Barrier(8)

    def begin(_):
        barrier.wait()
        return circuit.begin()

    with ThreadPoolExecutor(8) as pool:
        (trial,) = [call for call in pool.map(begin, range(8)) if call is not None]
    circuit.abandon(trial)
    circuit.record_success(circuit.begin())
    assert circuit.begin() is not None
    assert circuit.begin() is not None


@pytest.mark.parametrize("end", [Circuit.abandon, Circuit.record_failure], ids=["abandoned", "failed"])
def test_call_that_began_before_the_circuit_opened_does_not_end_the_trial(end):
    clock = Clock()
    circuit = Circuit(failures=1, seconds=1, clock=clock)
    early = circuit.begin()
    circuit.record_failure(circuit.begin())
    clock.time = 1.0
    trial = circuit.begin()
    end(circuit, early)
    clock.time = 10.0
    assert circuit.begin() is None
    circuit.record_success(trial)
    assert circuit.begin() is not None


def test_reason_says_if_another_call_is_the_trial():
    clock = Clock()
    fallback = Fallback(FunctionScorer(fail), WordOverlap(), failures=1, seconds=10, clock=clock)
    fallback.score(QUERY, TEXTS)
    clock.time = 9.9
    assert fallback.score(QUERY, TEXTS).reasons[0].endswith("it is tried again in 1 s")
    clock.time = 10.0
    fallback._circuits[0].begin()
    assert fallback.score(QUERY, TEXTS).reasons[0].endswith("another call is trying it again")


@given(outcomes=st.lists(st.booleans(), max_size=30), failures=st.integers(1, 4))
def test_circuit_is_open_exactly_after_the_number_of_failures_in_a_row(outcomes, failures):
    circuit = Circuit(failures=failures, clock=Clock())
    in_a_row = 0
    for is_success in outcomes:
        call = circuit.begin()
        assert (call is not None) == (in_a_row < failures)
        if call is None:
            break
        in_a_row = 0 if is_success else in_a_row + 1
        (circuit.record_success if is_success else circuit.record_failure)(call)


def test_threads_share_a_fallback():
    with Loopback(lambda request: as_json({}, 503)) as server:
        reranker = podium.Reranker(Fallback(hosted(server.url), WordOverlap(), failures=3))
        with ThreadPoolExecutor(8) as pool:
            rankings = list(pool.map(lambda _: reranker.rerank(QUERY, TEXTS), range(40)))
        assert 3 <= len(server.requests) <= 3 + 8  # calls that had begun before the third failure
        reranker.close()
    assert all(ranking.degraded and ranking.model == "word-overlap" for ranking in rankings)


INVALID_OPTIONS = {
    "no scorer": ((), {}, "at least one scorer"),
    "or_keep_order": ((WordOverlap(),), {"or_keep_order": "yes"}, "or_keep_order must be True or False"),
    "failures": ((WordOverlap(),), {"failures": 0}, "failures must be a positive whole number"),
    "seconds": ((WordOverlap(),), {"seconds": -1}, "seconds must be a positive number"),
}


@pytest.mark.parametrize(("scorers", "options", "message"), INVALID_OPTIONS.values(), ids=INVALID_OPTIONS)
def test_invalid_option_is_refused(scorers, options, message):
    with pytest.raises(InvalidInput, match=message):
        Fallback(*scorers, **options)


@pytest.mark.parametrize("error", [ConnectionError, TimeoutError, ProviderUnavailable], ids=lambda error: error.__name__)
def test_failure_after_the_budget_is_over_leaves_documents_unscored(error):
    def fails_late(texts):
        time.sleep(0.02)
        raise error("late")

    second = FunctionScorer(lambda texts: Scores([1.0] * len(texts)))
    reranker = podium.Reranker(Fallback(FunctionScorer(fails_late), second, failures=1))
    ranking = reranker.rerank(QUERY, TEXTS, budget_ms=10)
    assert [result.document for result in ranking] == TEXTS
    assert ranking.reasons == ("the budget of 10 ms was used up after 0 of 3 documents",)
    assert second.calls == []


def test_errors_of_python_become_errors_of_podium_if_all_scorers_fail():
    def fails(texts):
        raise ConnectionError("a secret of the user")

    with pytest.raises(ProviderUnavailable, match=r"function failed \(ConnectionError\); try again later") as info:
        Fallback(FunctionScorer(fails), or_keep_order=False).score(QUERY, TEXTS)
    assert isinstance(info.value.__cause__, ConnectionError)
