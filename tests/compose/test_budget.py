"""Budgets: documents are scored in input order until the time, the tokens or the money is used up."""

from __future__ import annotations

import asyncio
import gc
import json
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

import podium
from commands import run_in_process
from fakes import FunctionScorer, MemoryStore, WordOverlap
from loopback import Answer, Loopback, as_json, cohere, voyage, word_scores
from podium.compose import budget_meter
from podium.compose.budget import Budget, within
from podium.compose.budget_meter import PROBE_CHARACTERS
from podium.compose.cached import CachedScorer
from podium.compose.calibrated import CalibratedScorer, Calibration
from podium.compose.call_limits import CallLimits
from podium.compose.wrapped import WrappedScorer
from podium.errors import InvalidInput, ProviderError
from podium.scorers import BaseScorer
from podium.types import Scores
from serving import ServerThread

DOCUMENTS = [f"document {index}" for index in range(40)]
MANY_TOKENS = 100_000


class Recording(BaseScorer):
    """A scorer whose score is the number in a text, and that reads as many tokens as the text has characters.

    `calls` has the texts, the start and the end of each call.
    """

    model, score_kind = "recording", "logit"

    def __init__(self, seconds_per_text=0.0, listwise=False):
        self._seconds_per_text = seconds_per_text
        self._listwise = listwise
        self.calls = []

    @property
    def listwise(self):
        return self._listwise

    def score(self, query, texts):
        began = time.perf_counter()
        time.sleep(self._seconds_per_text * len(texts))
        self.calls.append((list(texts), began, time.perf_counter()))
        return Scores([float(text.split()[1]) for text in texts], total_tokens=sum(map(len, texts)))


def with_best_first(scored_count):
    """Return the order of DOCUMENTS if only the first ones are scored by their numbers: the last of these is the best."""
    return [*reversed(DOCUMENTS[:scored_count]), *DOCUMENTS[scored_count:]]


def scored_documents(ranking):
    return {result.document for result in ranking if result.scored_by is not None}


def test_call_without_a_budget_is_one_step():
    scorer = Recording()
    podium.Reranker(scorer).rerank("q", DOCUMENTS)
    assert [texts for texts, _, _ in scorer.calls] == [DOCUMENTS]


def test_documents_are_scored_in_input_order_until_the_tokens_are_used_up():
    ranking = podium.Reranker(Recording()).rerank("q", DOCUMENTS, max_tokens=100)
    count = len(scored_documents(ranking))
    assert 0 < count < len(DOCUMENTS)
    assert [result.document for result in ranking] == with_best_first(count)
    assert [result.scored_by for result in ranking] == ["recording"] * count + [None] * (len(DOCUMENTS) - count)
    assert all(math.isnan(result.score) for result in ranking[count:])
    assert ranking.usage.pairs == count
    assert ranking.degraded
    assert ranking.reasons == (f"the budget of 100 tokens was used up after {count} of {len(DOCUMENTS)} documents",)
    assert f"{len(DOCUMENTS) - count} of {len(DOCUMENTS)} documents were not scored" in " ".join(ranking.notes)


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=60),
    st.integers(1, 2000),
    st.integers(1, 3),
)
def test_first_documents_of_all_queries_are_scored_and_the_others_follow_without_scores(numbers, max_tokens, query_count):
    documents = [f"x {number}" for number in numbers]
    scorer = Recording()
    rankings = podium.Reranker(scorer).rerank_many(["q"] * query_count, [documents] * query_count, max_tokens=max_tokens)
    for ranking in rankings:
        assert sorted(result.index for result in ranking) == list(range(len(documents)))
        assert all(result.score == numbers[result.index] for result in ranking if result.scored_by)
        scored = sorted(result.index for result in ranking if result.scored_by)
        assert scored == list(range(len(scored)))
    scored_counts = [ranking.usage.pairs for ranking in rankings]
    assert max(scored_counts) - min(scored_counts) <= 1  # the first documents of all queries are scored first
    token_counts = [sum(map(len, texts)) for texts, _, _ in scorer.calls]
    assert sum(token_counts[:-1]) < max_tokens  # at most the last step exceeds the budget


def test_at_most_one_step_ends_after_the_deadline():
    scorer = Recording(seconds_per_text=0.004)
    began = time.perf_counter()
    scores = within(scorer, CallLimits(budget_ms=60), began).score("q", DOCUMENTS)
    late = [end for _, _, end in scorer.calls if end > began + 0.06]
    assert len(late) <= 1
    assert not late or late[0] == scorer.calls[-1][2]
    scored_count = sum(len(texts) for texts, _, _ in scorer.calls)
    assert scored_count < len(DOCUMENTS)
    assert [model is not None for model in scores.scored_by] == [index < scored_count for index in range(len(DOCUMENTS))]


class Reading(Recording):
    """A scorer with threads that compute one text each. A thread reads 20,000 characters per second."""

    def __init__(self, threads):
        super().__init__()
        self._threads = threads

    @property
    def threads(self):
        return self._threads

    def score(self, query, texts):
        time.sleep(max(max(map(len, texts)), sum(map(len, texts)) / self._threads) / 20_000)
        return super().score(query, texts)

    @property
    def max_text_length(self):
        return max(len(text) for texts, _, _ in self.calls for text in texts)


def test_first_document_that_takes_longer_than_the_budget_is_only_measured():
    scorer = Reading(threads=2)
    documents = [f"document 0 {'word ' * 4000}", *DOCUMENTS]
    ranking = podium.Reranker(scorer).rerank("q", documents, budget_ms=100)
    assert scorer.max_text_length <= PROBE_CHARACTERS
    assert [len(texts) for texts, _, _ in scorer.calls] == [1]
    assert [result.document for result in ranking] == documents
    assert scored_documents(ranking) == set()
    assert ranking.usage.tokens == scorer.max_text_length  # the measurement costs tokens, too
    assert ranking.reasons == (f"the budget of 100 ms was used up after 0 of {len(documents)} documents",)


def test_time_of_a_long_document_is_not_divided_by_the_threads():
    scorer = Reading(threads=8)
    documents = [*(f"document {index} {'word ' * 20}" for index in range(8)), f"document 8 {'word ' * 2000}"]
    ranking = podium.Reranker(scorer).rerank("q", documents, budget_ms=250)  # the last takes 500 ms, an eighth of that is 63 ms
    assert scorer.max_text_length < 200
    assert documents[8] not in scored_documents(ranking)


def test_long_document_in_passages_is_not_begun():
    reader = Reading(threads=1)
    documents = [f"document 0 {'word ' * 20}", f"document 1 {'document 1. ' * 5000}"]
    reranker = podium.Reranker(podium.Passages(MaximumLength(reader), size=64))
    ranking = reranker.rerank("q", documents, budget_ms=500)  # the second takes 3 s, and the first 64 tokens of it 13 ms
    assert len(reader.calls) == 1
    assert scored_documents(ranking) == {documents[0]}


class MaximumLength(WrappedScorer):
    """A scorer with a maximum length of 64 tokens. It does not cut longer texts: Passages does."""

    max_length = 64

    def score(self, query, texts):
        return self.scorer.score(query, texts)


def test_measured_speed_of_a_scorer_is_forgotten_when_the_scorer_is_deleted():
    class Unhashable(Recording):
        __hash__ = None

    scorer = Unhashable()
    podium.Reranker(scorer).rerank("q", DOCUMENTS, budget_ms=100_000)
    key = id(scorer)
    assert key in budget_meter._slowest_speeds
    del scorer
    gc.collect()
    assert key not in budget_meter._slowest_speeds


def test_long_document_is_not_measured_if_there_is_much_time():
    scorer = Reading(threads=2)
    documents = [f"document {index} {'word ' * 100}" for index in range(3)]
    ranking = podium.Reranker(scorer).rerank("q", documents, budget_ms=100_000)
    assert [text for texts, _, _ in scorer.calls for text in texts] == documents
    assert not ranking.degraded


@pytest.mark.parametrize("query_count", [1, 2])
def test_measurement_of_a_long_document_changes_no_score(query_count):
    scorer = Recording()
    documents = [f"document {index} {'word ' * 20_000}" for index in range(3)]  # 25 seconds each at a millisecond per token
    queries = ["q"] * query_count
    rankings = podium.Reranker(scorer).rerank_many(queries, [documents] * query_count, budget_ms=20_000)
    assert scorer.calls[0][0] == [documents[0][:PROBE_CHARACTERS]]
    measured_tokens = [PROBE_CHARACTERS, 0][:query_count]
    for ranking, tokens in zip(rankings, measured_tokens, strict=True):  # on a busy machine, some documents are not scored
        assert sorted(result.index for result in ranking) == [0, 1, 2]
        assert all(result.score == result.index for result in ranking if result.scored_by)
        assert ranking.usage.tokens == tokens + sum(map(len, scored_documents(ranking)))
        assert ranking.usage.pairs == len(scored_documents(ranking))


def test_time_that_suffices_changes_nothing(mini):
    complete = mini.rerank("a red fruit", DOCUMENTS).to_dict()
    ranking = mini.rerank("a red fruit", DOCUMENTS, budget_ms=60_000).to_dict()
    assert ranking["results"] == complete["results"]
    assert ranking["notes"] == complete["notes"]
    assert not ranking["degraded"]


def test_budget_that_is_over_at_once_keeps_the_input_order(mini):
    ranking = mini.rerank("a red fruit", DOCUMENTS, budget_ms=1e-6)
    assert [result.document for result in ranking] == DOCUMENTS
    assert scored_documents(ranking) == set()
    assert ranking.usage.pairs == 0


def test_asynchronous_call_has_the_same_order():
    ranking = asyncio.run(podium.Reranker(Recording()).arerank("q", DOCUMENTS, max_tokens=100))
    assert ranking.results == podium.Reranker(Recording()).rerank("q", DOCUMENTS, max_tokens=100).results


def test_rank_and_arank_have_budgets():
    reranker = podium.Reranker(Recording())
    documents, scores = reranker.rank("q", DOCUMENTS, max_tokens=100)
    count = sum(not math.isnan(score) for score in scores)
    assert documents == with_best_first(count)
    assert asyncio.run(reranker.arank("q", DOCUMENTS, max_tokens=100, return_score=False)) == documents


def test_cancelled_call_begins_no_further_step():
    class Waiting(Recording):
        cancelled_count = 0

        async def ascore(self, query, texts):
            self.calls.append(texts)
            self.started.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.cancelled_count += 1
                raise

    async def cancel_first_step(scorer):
        scorer.started = asyncio.Event()
        call = asyncio.ensure_future(podium.Reranker(scorer).arerank("q", DOCUMENTS, budget_ms=50_000))
        await scorer.started.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    scorer = Waiting()
    asyncio.run(cancel_first_step(scorer))
    assert len(scorer.calls) == scorer.cancelled_count == 1


def test_listwise_scorer_gets_all_documents_in_one_step():
    scorer = Recording(listwise=True)
    podium.Reranker(scorer).rerank("q", DOCUMENTS, budget_ms=5_000)
    assert [len(texts) for texts, _, _ in scorer.calls] == [len(DOCUMENTS)]


def test_scores_of_another_model_are_in_a_lower_tier():
    calls = []

    def function(texts):
        calls.append(texts)
        other = None if len(calls) == 1 else "other"
        return Scores([float(len(calls))] * len(texts), total_tokens=10, model=other, reasons=(other,) if other else ())

    ranking = podium.Reranker(FunctionScorer(function)).rerank("q", DOCUMENTS[:6], max_tokens=MANY_TOKENS, budget_ms=60_000)
    assert len(calls) > 1
    models = [result.scored_by for result in ranking]
    function_count = models.count("function")
    assert 0 < function_count < 6
    assert models == ["function"] * function_count + ["other"] * (6 - function_count)
    assert "other" in ranking.reasons


def test_budget_applies_to_each_call_and_is_part_of_the_identity():
    budget = Budget(Recording(), max_tokens=100)
    assert budget.identity != Budget(Recording(), max_tokens=200).identity
    ranking = podium.Reranker(budget).rerank("q", DOCUMENTS)
    assert ranking.degraded
    assert 0 < ranking.usage.pairs < len(DOCUMENTS)


@pytest.mark.parametrize(
    "options",
    [
        {"budget_ms": 0},
        {"budget_ms": math.nan},
        {"budget_ms": "50"},
        {"max_tokens": 1.5},
        {"max_cost": -1},
        {"max_tokens": True},
    ],
    ids=str,
)
def test_invalid_budget_is_an_error(options):
    with pytest.raises(InvalidInput, match=next(iter(options))):
        podium.Reranker(WordOverlap()).rerank("q", DOCUMENTS, **options)


def test_budget_without_a_limit_is_an_error():
    with pytest.raises(InvalidInput, match="a budget needs a limit; set budget_ms, max_tokens or max_cost"):
        podium.Budget(WordOverlap())


def test_price_that_is_a_number_is_an_error():
    with pytest.raises(InvalidInput, match=r"price is written as 0\.05/Mtokens"):
        podium.Budget(WordOverlap(), max_cost=1, price=0.05)


def test_cascade_limits_the_strong_scorer():
    strong = Recording()
    cascade = podium.Cascade(WordOverlap(), strong, keep=20)
    ranking = podium.Reranker(cascade).rerank("document 7", DOCUMENTS, max_tokens=100)
    count = sum(result.scored_by == "recording" for result in ranking)
    assert 0 < count < 20
    assert [result.scored_by for result in ranking] == ["recording"] * count + ["word-overlap"] * (len(DOCUMENTS) - count)
    assert ranking.reasons == (f"the budget of 100 tokens was used up after {count} of 20 documents",)
    assert cascade.scorers[1] is strong  # the limits are those of one call


@pytest.mark.parametrize(
    ("limit", "stack_limit"), [pytest.param(200, 100, id="call-is-higher"), pytest.param(100, 200, id="call-is-lower")]
)
@pytest.mark.parametrize("is_wrapped", [pytest.param(False, id="budget"), pytest.param(True, id="budget-with-calibration")])
def test_budgets_of_a_stack_and_of_a_call_are_not_added(limit, stack_limit, is_wrapped):
    """A text has ten tokens. The lower budget is that of the whole call, and not of each step."""
    scorer = Recording()
    stack = Budget(scorer, max_tokens=stack_limit)
    if is_wrapped:
        stack = CalibratedScorer(stack, Calibration("recording", None, "platt", 1.0, 0.0))
    ranking = podium.Reranker(stack).rerank("q", [f"text {number:5}" for number in range(40)], max_tokens=limit)
    assert 0 < sum(len(text) for texts, _, _ in scorer.calls for text in texts) <= 100
    assert [result.index for result in ranking if result.scored_by is None][-1] == 39


# Hosted scorers


def test_cost_is_an_estimate_by_the_list_of_prices():
    with Loopback(voyage) as api, podium.load("voyage:rerank-2.5", api_key="k", base_url=api.url) as reranker:
        ranking = reranker.rerank("q", DOCUMENTS, max_cost=1.0)
    assert ranking.usage.estimated_cost == pytest.approx(0.05 * ranking.usage.tokens / 1e6)
    assert "the cost is an estimate, by the price of 0.05 US dollars per million tokens" in " ".join(ranking.notes)
    assert not ranking.degraded


def test_documents_that_cost_too_much_are_not_scored():
    with Loopback(cohere) as api, podium.load("cohere:rerank-v3.5", api_key="k", base_url=api.url) as reranker:
        documents = [f"document {index}" for index in range(250)]
        ranking = reranker.rerank("q", documents, max_cost=0.005, price="2/ksearches")
        assert [len(request.json["documents"]) for request in api.requests] == [100, 100]
    assert scored_documents(ranking) == set(documents[:200])
    assert ranking.usage.estimated_cost == pytest.approx(0.004)
    assert ranking.reasons == ("the budget of 0.005 US dollars was used up after 200 of 250 documents",)


def test_scores_from_a_cache_cost_nothing():
    with Loopback(cohere) as api, podium.load("cohere:rerank-v3.5", api_key="k", base_url=api.url) as hosted:
        reranker = podium.Reranker(CachedScorer(hosted.scorer, MemoryStore()))
        documents = [f"document {index}" for index in range(250)]
        reranker.rerank("q", documents[:150])
        requests_before = len(api.requests)
        ranking = reranker.rerank("q", documents, max_cost=0.003, price="2/ksearches")
        assert [len(request.json["documents"]) for request in api.requests[requests_before:]] == [50]
    assert scored_documents(ranking) == set(documents[:200])
    assert ranking.usage.estimated_cost == pytest.approx(0.002)


def test_cost_of_a_model_without_a_price_is_an_error(mini):
    with pytest.raises(InvalidInput, match=r"max_cost needs the price of the model.*price='0.05/Mtokens'"):
        mini.rerank("q", DOCUMENTS, max_cost=1.0)


@pytest.mark.parametrize("is_async", [False, True], ids=["blocking", "asynchronous"])
def test_request_that_is_not_answered_in_time_is_given_up(is_async):
    with (
        Loopback(lambda request: Answer(seconds=60)) as api,
        podium.load("cohere:rerank-v3.5", api_key="k", base_url=api.url) as reranker,
    ):
        began = time.perf_counter()
        if is_async:
            ranking = asyncio.run(reranker.arerank("q", DOCUMENTS, budget_ms=100))
        else:
            ranking = reranker.rerank("q", DOCUMENTS, budget_ms=100)
        assert time.perf_counter() - began < 30  # the default timeout
    assert [result.document for result in ranking] == DOCUMENTS
    assert ranking.reasons == (f"the budget of 100 ms was used up after 0 of {len(DOCUMENTS)} documents",)


def test_documents_of_a_request_that_is_not_answered_in_time_are_not_scored():
    def answer(request):
        if len(api.requests) > 1:
            return Answer(seconds=60)
        return cohere(request)

    with Loopback(answer) as api, podium.load("cohere:rerank-v3.5", api_key="k", base_url=api.url) as reranker:
        documents = [f"word {index}" for index in range(150)]
        ranking = reranker.rerank("word 3", documents, budget_ms=2_000)
    assert scored_documents(ranking) == set(documents[:100])
    expected = word_scores("word 3", documents)
    assert all(result.score == expected[result.index] for result in ranking if result.scored_by)


def test_budget_does_not_open_the_circuit_of_a_fallback():
    second = FunctionScorer(lambda texts: Scores([1.0] * len(texts)))
    with (
        Loopback(lambda request: Answer(seconds=60) if len(api.requests) == 1 else cohere(request)) as api,
        podium.load("cohere:rerank-v3.5", api_key="k", base_url=api.url) as first,
    ):
        reranker = podium.Reranker(podium.Fallback(first, second, failures=1))
        ranking = reranker.rerank("q", DOCUMENTS, budget_ms=100)
        assert scored_documents(ranking) == set()
        assert second.calls == []
        assert reranker.rerank("q", DOCUMENTS).model == "cohere:rerank-v3.5"


def test_refusal_is_an_error_although_there_is_a_budget():
    with (
        Loopback(lambda request: as_json({"message": "no"}, 400)) as api,
        podium.load("cohere:rerank-v3.5", api_key="k", base_url=api.url) as reranker,
        pytest.raises(ProviderError),
    ):
        reranker.rerank("q", DOCUMENTS, budget_ms=10_000)


# Search, the command line and the server


class ListSource:
    def search(self, query, limit):
        return [{"text": text} for text in DOCUMENTS[:limit]]


def test_budget_of_a_search_includes_the_source():
    class SlowSource(ListSource):
        def search(self, query, limit):
            time.sleep(0.03)
            return super().search(query, limit)

    scorer = Recording()
    ranking = podium.Search(SlowSource(), podium.Reranker(scorer)).search("q", budget_ms=20)
    assert scorer.calls == []
    assert ranking.degraded
    assert ranking[0].document == {"text": DOCUMENTS[0]}
    ranking = asyncio.run(podium.Search(ListSource(), podium.Reranker(scorer)).asearch("q", max_tokens=100))
    assert ranking.degraded
    assert scorer.calls


def test_commands_have_budgets(tmp_path):
    file = tmp_path / "documents.txt"
    file.write_text("\n".join(DOCUMENTS))
    code, out, err = run_in_process("rank", "a red fruit", file, "--max-tokens", "1")
    assert code == 0
    assert "not scored" in out
    assert "the budget of 1 tokens was used up" in err
    code, out, err = run_in_process("rank", "a red fruit", file, "--budget-ms", "60000", "--json")
    assert not json.loads(out)["degraded"]
    code, out, err = run_in_process("search", "document 3", "--in", file, "--max-tokens", "1", "--csv")
    assert code == 0
    assert "the budget of 1 tokens was used up" in err
    code, out, err = run_in_process("rank", "a red fruit", file, "--budget-ms", "-1")
    assert code == 2
    assert "--budget-ms must be a positive number" in err


def test_server_has_budgets_and_refuses_invalid_ones(mini):
    with ServerThread(rerankers={"mini": mini}) as server:
        request = {"query": "a red fruit", "documents": DOCUMENTS}
        body = server.post("/rank", request | {"max_tokens": 1}).json()
        assert body["degraded"]
        assert body["results"][-1]["score"] is None
        assert not server.post("/rank", request | {"budget_ms": 50_000}).json()["degraded"]
        for name in ("budget_ms", "max_tokens"):
            for value in (-1, 0):
                assert server.post("/rank", request | {name: value}).status_code == 400, (name, value)
        assert "budget_ms must be a number above 0" in server.post("/rank", request | {"budget_ms": 0}).text


class Remote(FunctionScorer):
    """A remote scorer that reports no tokens."""

    is_remote = True

    def __init__(self):
        super().__init__(lambda texts: Scores([0.5] * len(texts)))


def test_budget_of_tokens_is_the_same_with_an_empty_cache():
    texts = [f"{'word ' * 100}{number}" for number in range(300)]
    uncached = podium.Reranker(Remote()).rerank("q", texts, max_tokens=2000)
    cached = podium.Reranker(CachedScorer(Remote(), MemoryStore())).rerank("q", texts, max_tokens=2000)
    assert cached.usage.pairs == uncached.usage.pairs < 100
    assert cached.degraded


def test_price_of_a_search_is_that_of_100_documents():
    texts = [f"doc {number}" for number in range(1000)]
    ranking = podium.Reranker(Remote()).rerank("q", texts, max_cost=0.0100001, price="2/ksearches")
    assert ranking.usage.pairs == 500  # five searches with 100 documents


def test_calibration_of_the_first_scorer_does_not_change_scores_of_another_one():
    def fail_in_first_call(texts):
        if len(first.calls) == 1:
            raise ConnectionError
        return Scores([1.0] * len(texts))

    first = FunctionScorer(fail_in_first_call)
    other = FunctionScorer(lambda texts: Scores([100.0] * len(texts)), "similarity_sum")
    other.model = "other"
    budget = podium.Budget(podium.Fallback(first, other), max_tokens=100_000)
    calibrated = CalibratedScorer(budget, Calibration("function", None, "platt", slope=2.0, offset=-1.0))
    ranking = podium.Reranker(calibrated).rerank("q", [f"{'word ' * 300}{number}" for number in range(100)])
    scores = {(result.scored_by, round(result.score, 3)) for result in ranking}
    assert scores == {("other", 100.0), ("function", 0.731)}  # 0.731 is the sigmoid of 2 · 1 - 1
