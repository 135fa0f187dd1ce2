"""Limits of jobs with hosted models."""

from __future__ import annotations

import threading
from collections import deque

import pytest

import podium
from batches import pairs, results_in, write_table
from commands import run_in_process
from fakes import FunctionScorer
from loopback import Answer, Loopback, as_json
from podium.batch.limits import LimitedScorer, Limits, RequestMeter, with_limits
from podium.compose.cached import CachedScorer
from podium.compose.stores.sqlite import SqliteScores
from podium.errors import InvalidInput, PodiumError, RequestRejected
from podium.prices import Price
from podium.types import Scores


class Clock:
    """A clock that moves only when someone sleeps."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def limited_by(limits, scorer):
    """Return the scorer with limits, its meter, and the clock of both."""
    clock = Clock()
    meter = RequestMeter(limits, clock)
    return LimitedScorer(scorer, meter, limits.price, sleep=clock.sleep), meter, clock


def limited(limits, tokens=None):
    calls = FunctionScorer(lambda texts: Scores([0.0] * len(texts), total_tokens=tokens))
    scorer, meter, clock = limited_by(limits, calls)
    return scorer, meter, calls, clock


def test_requests_are_spread_over_minutes():
    scorer, _, _, clock = limited(Limits(requests_per_minute=10))
    for _ in range(10):
        scorer.score("q", ["a"])
    assert clock.now == 0
    for _ in range(20):
        scorer.score("q", ["a"])
    assert clock.now == pytest.approx(120)


def test_tokens_are_spread_over_minutes():
    scorer, _, _, clock = limited(Limits(tokens_per_minute=100, requests_per_minute=1000))
    for _ in range(3):
        scorer.score("q" * 100, ["a" * 300])  # about 100 tokens
    assert clock.now == pytest.approx(120)


def test_no_call_is_made_that_could_exceed_the_maximum_cost():
    """A call of 100 characters may cost 100 tokens and costs 25, so the budget of 1,000 tokens suffices for 37 calls."""
    scorer, meter, calls, _ = limited(Limits(max_cost=0.001, price=Price(1.0, "Mtokens")), tokens=25)
    with pytest.raises(PodiumError, match=r"could exceed the maximum cost of 0.001 US dollars.*max_cost"):
        deque((scorer.score("q" * 50, ["a" * 50]) for _ in range(1000)), maxlen=0)
    assert len(calls.calls) == 37
    assert meter.cost() == pytest.approx(37 * 25 / 1e6)


def test_searches_are_counted_per_hundred_documents_or_as_billed():
    scorer, meter, *_ = limited(Limits(price=Price(2.0, "ksearches")))
    scorer.score("q", ["a"] * 101)
    assert meter.cost() == pytest.approx(2 * 2 / 1000)
    billed = FunctionScorer(lambda texts: Scores([0.0] * len(texts), billed={"search_units": 5}))
    scorer, meter, _ = limited_by(Limits(price=Price(2.0, "ksearches")), billed)
    scorer.score("q", ["a"])
    assert meter.cost() == pytest.approx(5 * 2 / 1000)


def test_failed_call_counts_with_its_highest_cost():
    def fail(texts):
        raise PodiumError("down")

    scorer, meter, _ = limited_by(Limits(price=Price(1.0, "Mtokens")), FunctionScorer(fail))
    with pytest.raises(PodiumError, match="down"):
        scorer.score("q" * 50, ["a" * 50])
    assert meter.cost() == pytest.approx(100 / 1e6)


def test_queries_are_sent_at_once_and_scores_keep_their_order():
    """Each call waits until another one has begun."""
    both_began = threading.Barrier(2, timeout=30)

    def scores(texts):
        both_began.wait()
        return Scores([float(text) for text in texts])

    scorer, *_ = limited_by(Limits(), FunctionScorer(scores))
    many = scorer.score_many(["q"] * 5, [["1"], ["2", "3"], [], ["4"], ["5"]])
    assert [list(result.values) for result in many] == [[1.0], [2.0, 3.0], [], [4.0], [5.0]]


@pytest.fixture
def server():
    def answer(request):
        documents = request.json["documents"]
        results = [{"index": index, "relevance_score": 1 / (1 + len(text))} for index, text in enumerate(documents)]
        return as_json({"data": results, "usage": {"total_tokens": 10 * len(documents)}})

    with Loopback(answer) as loopback:
        yield loopback


@pytest.fixture
def failing_server():
    """A server that drops the first two requests."""
    with Loopback(lambda request: as_json({"data": [{"index": 0, "relevance_score": 1}]})) as loopback:
        answer = loopback.answer
        loopback.answer = lambda request: Answer(drop=True) if len(loopback.requests) <= 2 else answer(request)
        yield loopback


def test_retries_count_with_their_highest_cost(failing_server, tmp_path, out):
    """A request may cost 10 tokens. 30 of them cost 0.03 dollars."""
    path = write_table(tmp_path / "in.jsonl", [{"query": "a" * 5, "document": "b" * 5}])
    with podium.load("voyage:m", api_key="k", base_url=failing_server.url) as reranker:
        with pytest.raises(PodiumError, match=r"could exceed the maximum cost of 0\.025"):
            podium.batch(path, out, reranker=reranker, price="1000/Mtokens", max_cost=0.025)
        assert len(failing_server.requests) == 2
        failing_server.requests.clear()
        result = podium.batch(path, out, reranker=reranker, price="1000/Mtokens")
    assert len(failing_server.requests) == 3
    assert result.cost == pytest.approx(0.0225)  # without a number in the reply, four characters count as a token


def test_retry_waits_for_the_rate(failing_server, tmp_path, out):
    """At one request per minute, the second request would be too late for the timeout of the call."""
    path = write_table(tmp_path / "in.jsonl", [{"query": "a", "document": "b"}])
    with (
        podium.load("voyage:m", api_key="k", base_url=failing_server.url, timeout=20) as reranker,
        pytest.raises(PodiumError, match="20"),
    ):
        podium.batch(path, out, reranker=reranker, requests_per_minute=1)
    assert len(failing_server.requests) == 1


def test_every_request_of_a_query_counts(server):
    """A query with 25 documents becomes three requests of at most ten documents."""
    with podium.load("voyage:m", api_key="k", base_url=server.url, max_documents=10) as reranker:
        limits = Limits(requests_per_minute=2, price=Price(1.0, "Mtokens"))
        scorer, _, clock = limited_by(limits, reranker.scorer)
        scores = scorer.score("q", ["a" * length for length in range(1, 26)])
    assert len(server.requests) == 3
    assert clock.now == pytest.approx(30)
    assert list(scores.values) == [1 / (1 + length) for length in range(1, 26)]
    assert (scores.total_tokens, scores.notes) == (250, ("sent as 3 requests",))


def test_scores_from_a_cache_cost_nothing(server, tmp_path):
    with podium.load("voyage:m", api_key="k", base_url=server.url) as hosted:
        store = SqliteScores(tmp_path / "scores")
        limits = Limits(price=Price(1.0, "Mtokens"))
        meter = RequestMeter(limits)
        reranker = with_limits(hosted.with_scorer(CachedScorer(hosted.scorer, store)), meter, limits.price)
        for _ in range(2):
            reranker.rerank("q", ["a", "b"])
        store.close()
    assert meter.cost() == pytest.approx(20 / 1e6)


def test_job_stops_at_the_maximum_cost_and_is_continued(server, tmp_path, out):
    """A part costs 100 tokens. At the list price, 500 tokens are 0.000025 dollars."""
    path = write_table(tmp_path / "in.parquet", pairs([10] * 12), rows_per_group=10)
    with podium.load("voyage:rerank-2.5", api_key="k", base_url=server.url) as reranker:
        with pytest.raises(PodiumError, match="could exceed the maximum cost"):
            podium.batch(path, out, reranker=reranker, part_size=10, max_cost=0.000025)
        complete = len(results_in(out)) // 10
        assert 0 < complete <= 5
        sent = len(server.requests)
        result = podium.batch(path, out, reranker=reranker, part_size=10)
    assert len(server.requests) - sent == 12 - complete
    assert (result.pairs, result.complete_before) == (120, complete)
    assert result.cost == pytest.approx((12 - complete) * 100 * 0.05 / 1e6)


def test_request_that_the_provider_refuses_is_located(server, tmp_path, out):
    path = write_table(tmp_path / "in.parquet", pairs([1, 1, 1]))
    answer = server.answer
    server.answer = lambda request: as_json({"detail": "x"}, 400) if "2" in request.json["query"] else answer(request)
    with (
        podium.load("voyage:m", api_key="k", base_url=server.url) as reranker,
        pytest.raises(RequestRejected, match=r"the rows from .*in.parquet, row 0 to 2: "),
    ):
        podium.batch(path, out, reranker=reranker)


def test_command_prints_the_estimated_cost(server, tmp_path, monkeypatch):
    monkeypatch.setenv("VOYAGE_API_KEY", "k")
    path = write_table(tmp_path / "in.jsonl", pairs([10]))
    model = ("--model", "voyage:rerank-2.5", "--base-url", server.url)
    code, stdout, _ = run_in_process("batch", path, "--to", tmp_path / "out", *model, "--plan")
    assert code == 0
    assert "US dollars, estimated at 0.05 US dollars per million tokens (openrouter.ai/voyageai on 27 July 2026)" in stdout
    assert not server.requests
    stdout = run_in_process("batch", path, "--to", tmp_path / "out", *model, "--plan", "--price", "3000/ksearches")[1]
    assert "about 3.00 US dollars, estimated at 3000 US dollars per thousand searches" in stdout
    model = ("--model", "voyage:new", "--base-url", server.url)
    stdout = run_in_process("batch", path, "--to", tmp_path / "out", *model, "--plan")[1]
    assert "the price of the model is not listed, so the cost is unknown; name it with --price" in stdout
    code, _, stderr = run_in_process("batch", path, "--to", tmp_path / "out", *model, "--price", "100/Mtokens")
    assert code == 0
    assert "note: the estimated cost of this command is 0.0100 US dollars" in stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"max_cost": 1}, "max_cost needs the price of the model", id="unknown-price"),
        pytest.param({"price": "1"}, "price is written as 0.05/Mtokens or 2/ksearches", id="price"),
        pytest.param({"price": "x/Mtokens"}, "price is written as", id="amount"),
        pytest.param({"requests_per_minute": 0}, "requests_per_minute must be a positive number", id="rate"),
        pytest.param({"max_cost": -1, "price": "1/Mtokens"}, "max_cost must be a positive number", id="cost"),
    ],
)
def test_invalid_limit_is_refused(server, tmp_path, out, options, message):
    path = write_table(tmp_path / "in.parquet", pairs([1]))
    with podium.load("voyage:new", api_key="k", base_url=server.url) as reranker, pytest.raises(InvalidInput, match=message):
        podium.batch(path, out, reranker=reranker, **options)


def test_limits_are_refused_for_local_models(tmp_path, out, reranker):
    path = write_table(tmp_path / "in.parquet", pairs([1]))
    with pytest.raises(InvalidInput, match="only hosted models have the option max_cost; leave it out"):
        podium.batch(path, out, reranker=reranker, max_cost=1)
