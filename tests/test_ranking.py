"""Properties of every reranker: scores belong to their documents and decrease, and no document is lost."""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
import math
import os
import select
import threading
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import compositions
import loopback
import podium
from environment import PARITY_MODELS
from fakes import AsyncWordOverlap, FunctionScorer, WordOverlap
from podium.errors import InvalidInput, PodiumError
from podium.ordering import NO_TEXT_SCORES, order
from podium.types import Scores

WORDS = st.sampled_from(["red", "fruit", "apple", "sea", "night", "the", "RED", "東京", "ü", "\ud800", "0"])
TEXT = st.lists(WORDS, min_size=1, max_size=8).map(" ".join)
DOCUMENT = st.one_of(
    TEXT,
    TEXT.map(lambda text: {"content": text}),
    TEXT.map(lambda text: {"passage": text, "source": "wiki"}),
    st.sampled_from([None, "", {"content": None}]),
)
DOCUMENTS = st.lists(DOCUMENT, max_size=12)
RERANKERS = {
    "overlap": lambda: podium.Reranker(WordOverlap()),
    "async overlap": lambda: podium.Reranker(AsyncWordOverlap()),
    "local": lambda: podium.load(PARITY_MODELS / "xlm-roberta-bfloat16"),
    "modular": lambda: podium.load(PARITY_MODELS / "ettin"),
    "int8": lambda: podium.load(PARITY_MODELS / "bert", precision="int8"),
    "bundled": lambda: podium.load("podium-mini"),
    **compositions.RERANKERS,
}
APIS = {"cohere": loopback.cohere, "voyage": loopback.voyage}


@pytest.fixture(scope="module", params=[*RERANKERS, *APIS])
def reranker(request: pytest.FixtureRequest) -> Iterator[podium.Reranker]:
    """Every kind of reranker: test doubles, models on this machine, hosted APIs over a socket."""
    if request.param in RERANKERS:
        with RERANKERS[request.param]() as reranker:
            yield reranker
    else:
        with (
            loopback.Loopback(APIS[request.param]) as server,
            podium.load(f"{request.param}:model", base_url=server.url, api_key="k") as reranker,
        ):
            yield reranker


@pytest.fixture
def overlap() -> podium.Reranker:
    return podium.Reranker(WordOverlap())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(documents=DOCUMENTS, query=TEXT)
def test_scores_belong_to_their_documents_and_decrease(reranker, documents, query):
    """Each result has the score that `score` returns for its document, and the documents are not changed."""
    before = copy.deepcopy(documents)
    ranking = reranker.rerank(query, documents)
    assert sorted(result.index for result in ranking) == list(range(len(documents)))
    assert all(result.document is documents[result.index] for result in ranking)
    assert [result.rank for result in ranking] == list(range(1, len(documents) + 1))
    scores_by_model: dict[str | None, list[float]] = {}  # of a cascade, each model has a tier of its own
    for result in ranking:
        scores_by_model.setdefault(result.scored_by, []).append(result.score)
    assert all(scores == sorted(scores, reverse=True) for scores in scores_by_model.values())
    scores_in_input_order = reranker.score(query, documents)
    assert all(result.score == pytest.approx(scores_in_input_order[result.index], abs=1e-6) for result in ranking)
    assert documents == before
    assert all(type(result.score) is float and math.isfinite(result.score) for result in ranking)
    json.dumps(ranking.to_dict(), allow_nan=False)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(documents=DOCUMENTS, query=TEXT, limit=st.integers(1, 15))
def test_rank_returns_the_first_results_of_rerank(reranker, documents, query, limit):
    results, scores = reranker.rank(query, documents, limit=limit)
    ranking = reranker.rerank(query, documents)
    assert len(results) == len(scores) == min(limit, len(documents))
    assert all(document is result.document for document, result in zip(results, ranking, strict=False))
    assert scores == pytest.approx([result.score for result in ranking[: len(scores)]], abs=1e-6)
    assert asyncio.run(reranker.arank(query, documents, limit=limit)) == (results, pytest.approx(scores, abs=1e-6))


def test_closed_reranker_is_an_error():
    with podium.load(PARITY_MODELS / "bert") as reranker:
        pass
    with pytest.raises(PodiumError, match="was closed"):
        reranker.rank("q", ["a"])


def test_equal_scores_stay_in_input_order(reranker):
    documents = [{"content": "the red sea", "id": number} for number in range(9)]
    assert [result.document["id"] for result in reranker.rerank("red", documents)] == list(range(9))


def test_documents_without_text_are_flagged_at_the_bottom_and_not_scored():
    scorer = FunctionScorer(lambda texts: Scores([-5.0] * len(texts)))
    ranking = podium.Reranker(scorer).rerank("q", [None, "a", "", {"content": None}, "b"])
    assert [result.index for result in ranking] == [1, 4, 0, 2, 3]
    assert [result.no_text for result in ranking] == [False, False, True, True, True]
    assert scorer.calls == [["a", "b"]]
    assert ranking[2].score == NO_TEXT_SCORES["logit"]
    assert any("no text" in note for note in ranking.notes)


def test_scorer_is_not_called_without_texts():
    scorer = FunctionScorer(lambda texts: Scores([-5.0] * len(texts)))
    assert podium.Reranker(scorer).rerank("q", [None, ""]).usage.pairs == 0
    assert scorer.calls == []


def test_documents_without_text_are_below_scores_that_are_out_of_range():
    scorer = FunctionScorer(lambda texts: Scores([-0.25] * len(texts)), "sigmoid")
    ranking = podium.Reranker(scorer).rerank("q", [None, "a"])
    assert [(result.index, result.score) for result in ranking] == [(1, -0.25), (0, -0.25)]


def test_scores_are_python_floats_if_the_scorer_returns_numpy():
    scorer = FunctionScorer(lambda texts: Scores(np.full(len(texts), -1.5, np.float32)), "similarity")
    ranking = podium.Reranker(scorer).rerank("q", [None, "a"])
    assert [(result.index, result.score) for result in ranking] == [(1, -1.5), (0, -1.5)]
    assert [type(result.score) for result in ranking] == [float, float]


def test_ranking_of_no_documents_is_empty(reranker):
    assert list(reranker.rerank("q", [])) == []
    assert reranker.rank("q", []) == ([], [])
    assert reranker.rank("q", (), return_score=False) == []
    assert reranker.score("q", iter([])) == []


def test_min_score_removes_lower_scores_and_documents_without_text(overlap):
    ranking = overlap.rerank("red fruit", ["red fruit", "red", "x", ""], min_score=1.0)
    assert [result.score for result in ranking] == [2.0, 1.0]
    assert len(overlap.rerank("red", ["", "x"], min_score=-math.inf)) == 1


def test_minimum_score_that_no_document_reaches_is_noted(overlap):
    note = "none of 2 documents reached the minimum score, so there is no result"
    assert overlap.rerank("red", ["red", "x"], min_score=9).notes == (note,)
    assert overlap.rerank("red", ["red", "x"], min_score=1).notes == ()
    assert overlap.rerank("red", [], min_score=9).notes == ()


def test_fields_are_refused_if_every_document_is_a_string(overlap):
    for call in (overlap.rank, overlap.rerank, overlap.score):
        with pytest.raises(InvalidInput, match="rank_by names fields, but every document is a string"):
            call("red", ["red", None, "x"], rank_by="title")
    with pytest.raises(InvalidInput, match="every document is a string"):
        asyncio.run(overlap.arerank("red", ["red"], rank_by=["title"]))


def test_fields_apply_to_the_records_among_strings(overlap):
    assert overlap.score("red", ["red", {"title": "red", "text": "x"}, {"title": "x"}], rank_by="title") == [1.0, 1.0, 0.0]
    assert len(overlap.rerank("red", [None], rank_by="title")) == 1
    assert len(overlap.rerank("red", [], rank_by="title")) == 0


def test_default_fields_do_not_refuse_strings():
    """For example, a server's model has one setting for requests with strings and for requests with records."""
    assert len(podium.Reranker(WordOverlap(), rank_by="title").rerank("red", ["red"])) == 1


def test_order_is_decided_on_raw_scores():
    """Two logits with the same sigmoid are not a tie."""
    scorer = FunctionScorer(lambda texts: Scores([1.0, 1.0], raw=[40.0, 41.0]), "sigmoid")
    assert [result.index for result in podium.Reranker(scorer).rerank("q", ["a", "b"])] == [1, 0]


INVALID_SCORES = {
    "too few values": Scores([]),
    "NaN": Scores([math.nan]),
    "infinity": Scores([math.inf]),
    "too few raw values": Scores([1.0], raw=[]),
    "too few tokens": Scores([1.0], tokens=[]),
    "too many query tokens": Scores([1.0], query_tokens=[1, 2]),
    "string": Scores(["0.5"]),
    "None": Scores([None]),
    "huge integer": Scores([10**400]),
    "raw string": Scores([1.0], raw=["x"]),
    "token string": Scores([1.0], tokens=["many"]),
    "half a token": Scores([1.0], dropped_tokens=[0.5]),
    "no list": Scores(None),
    "nested list": Scores([[1.0]]),
    "no Scores": None,
    "a list": [1.0],
}


@pytest.mark.parametrize("scores", INVALID_SCORES.values(), ids=INVALID_SCORES)
def test_invalid_scores_are_an_error(scores):
    reranker = podium.Reranker(FunctionScorer(lambda texts: scores))
    with pytest.raises(PodiumError, match="function returned"):
        reranker.rerank("q", ["a"])
    with pytest.raises(PodiumError, match="function returned"):
        asyncio.run(reranker.arerank("q", ["a"]))


def test_scorer_that_omits_queries_is_an_error():
    class OmittingScorer(WordOverlap):
        def score_many(self, queries, texts_per_query, *, progress=None):
            return []

    with pytest.raises(PodiumError, match="0 of 1 queries"):
        podium.Reranker(OmittingScorer()).rerank("q", ["a"])


def test_exception_of_a_scorer_is_not_changed():
    def fail(texts):
        raise RuntimeError("out of order")

    with pytest.raises(RuntimeError, match="out of order"):
        podium.Reranker(FunctionScorer(fail)).rerank("q", ["a"])


@pytest.mark.parametrize("limit", [0, -1, 1.5, "3", True, False, math.nan], ids=repr)
def test_limit_must_be_a_positive_whole_number(overlap, limit):
    with pytest.raises(InvalidInput, match="limit"):
        podium.Reranker(WordOverlap(), limit=limit)
    with pytest.raises(InvalidInput, match="limit"):
        overlap.rank("q", ["a"], limit=limit)
    with pytest.raises(InvalidInput, match="limit"):
        overlap.rerank("q", ["a"], limit=limit)


@pytest.mark.parametrize("query", [None, 5, b"q", ["q"], "", "  "], ids=repr)
def test_query_must_be_a_string_with_text(overlap, query):
    with pytest.raises(InvalidInput, match="query"):
        overlap.rank(query, ["a"])


@pytest.mark.parametrize("docs", ["one string", b"bytes", {"content": "x"}, None, 5], ids=repr)
def test_docs_must_be_a_list(overlap, docs):
    with pytest.raises(InvalidInput, match="docs"):
        overlap.rank("q", docs)


@pytest.mark.parametrize(
    ("query", "documents"), [(123, ["a"]), (None, ["a"]), ("q", "a text"), ("q", {"text": "a"}), ("q", 5)], ids=repr
)
@pytest.mark.parametrize("error_class", [TypeError, ValueError, InvalidInput])
def test_argument_of_a_wrong_type_is_a_type_error_and_a_value_error(overlap, query, documents, error_class):
    with pytest.raises(error_class):
        overlap.rank(query, documents)


@pytest.mark.parametrize("rank_by", [[], "", 5, ["a", "a"]], ids=repr)
def test_rank_by_is_checked_in_the_constructor_and_in_the_call(overlap, rank_by):
    with pytest.raises(InvalidInput, match="rank_by"):
        podium.Reranker(WordOverlap(), rank_by=rank_by)
    with pytest.raises(InvalidInput, match="rank_by"):
        overlap.rank("q", [{"a": "x"}], rank_by=rank_by)


def test_arguments_of_a_call_override_the_constructors():
    reranker = podium.Reranker(WordOverlap(), limit=1, rank_by="a", return_score=False)
    documents = [{"a": "x", "b": "red"}, {"a": "red", "b": "x"}]
    assert reranker.rank("red", documents) == [documents[1]]
    assert reranker.rank("red", documents, limit=2, rank_by="b", return_score=True) == (documents, [1.0, 0.0])


def test_rerank_many_returns_the_ranking_of_each_query(reranker):
    queries = ["red apple", "nothing", "night sea"]
    docs_per_query = [["a red apple", "the sea"], [], ["the sea at night", None, "a red apple"]]
    rankings = reranker.rerank_many(queries, docs_per_query)
    for query, docs, ranking in zip(queries, docs_per_query, rankings, strict=True):
        expected = reranker.rerank(query, docs)
        assert [result.index for result in ranking] == [result.index for result in expected]
        assert [result.score for result in ranking] == pytest.approx([result.score for result in expected], abs=1e-6)


@pytest.mark.parametrize(
    ("queries", "docs_per_query", "message"),
    [(["a", "b"], [["c"]], "2 queries but 1 lists"), ("ab", [["c"], ["d"]], "one string")],
    ids=["too few lists", "one string"],
)
def test_rerank_many_takes_one_list_per_query(overlap, queries, docs_per_query, message):
    with pytest.raises(InvalidInput, match=message):
        overlap.rerank_many(queries, docs_per_query)


@pytest.mark.parametrize("query", ["\u0301", "\ufe0f\ufe0f"], ids=["accent", "variation selectors"])
def test_query_without_known_tokens_is_a_note(mini, query):
    assert "the query has no token that the model knows; the scores mean little" in mini.rerank(query, ["a"]).notes
    assert mini.rerank("red", ["a"]).notes == ()


def test_reprs_have_no_documents(reranker):
    ranking = reranker.rerank("red", ["a very secret apple"])
    assert "secret" not in repr(ranking)
    assert "secret" not in repr(reranker)


def test_eight_threads_can_share_a_reranker(reranker):
    texts = [f"the red apple number {number} " + "sea " * (number % 7) for number in range(24)]
    expected = reranker.score("red apple", texts)
    scores_of_calls = []
    errors = []

    def score_four_times():
        try:
            scores_of_calls.extend(reranker.score("red apple", texts) for _ in range(4))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=score_four_times) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(scores_of_calls) == 32
    assert all(scores == pytest.approx(expected, abs=1e-6) for scores in scores_of_calls)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the test forks a process with threads on purpose
def test_reranker_works_in_a_forked_process(reranker):
    """Some servers load models before they fork. The child has no threads, and shares connections with its parent."""
    expected = reranker.score("red", ["a red apple", "the sea"])
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        with os.fdopen(write_end, "w") as pipe:
            json.dump(reranker.score("red", ["a red apple", "the sea"]), pipe)
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        readable, _, _ = select.select([pipe], [], [], 120)
        assert readable, "the forked process hangs"
        assert json.load(pipe) == pytest.approx(expected, abs=1e-6)
    os.waitpid(child, 0)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_order_is_a_stable_descending_sort(keys):
    indices = order(keys)
    assert sorted(indices) == list(range(len(keys)))
    assert all(keys[a] > keys[b] or (keys[a] == keys[b] and a < b) for a, b in itertools.pairwise(indices))


class LazyRow(Mapping):
    """A user's own mapping, such as a lazy row of a database, with its own error for unknown keys."""

    def __init__(self, text):
        self.text = text

    def __getitem__(self, key):
        if key != "text":
            raise RuntimeError("no such column")
        return self.text

    def __contains__(self, key):
        return key == "text"

    def __iter__(self):
        return iter(["text"])

    def __len__(self):
        return 1


class BrokenString(str):
    """A subclass of str whose methods fail."""

    def __iter__(self):
        raise RuntimeError

    encode = __hash__ = __iter__


def test_lazy_mapping_is_a_document(mini):
    rows = [LazyRow("the sea"), LazyRow("a red apple")]
    assert mini.rerank("a red fruit", rows)[0].document is rows[1]


def test_methods_of_a_string_subclass_are_not_called(mini):
    expected = mini.score("a red fruit", ["a red apple", "the sea"])
    assert mini.score("a red fruit", [BrokenString("a red apple"), {"text": BrokenString("the sea")}]) == expected
    assert mini.score(BrokenString("a red fruit"), ["a"]) == mini.score("a red fruit", ["a"])


def raise_stop_iteration(*_):
    raise StopIteration


@pytest.mark.parametrize("method", ["arerank", "asearch"])
def test_stop_iteration_in_a_thread_is_an_error_and_not_a_hang(method):
    async def call():
        if method == "arerank":
            await podium.Reranker(FunctionScorer(raise_stop_iteration)).arerank("q", ["a"])
        else:
            await podium.Search(StoppingSource(), podium.Reranker(WordOverlap())).asearch("q")

    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(asyncio.wait_for(call(), 60))


class StoppingSource:
    def search(self, query, limit):
        raise StopIteration


def test_reranker_stands_for_its_scorer_in_other_scorers(mini):
    assert podium.Reranker(mini).rerank("red", ["a", "red"]).model == "podium-mini"
    assert podium.Cascade(mini, mini).scorers == (mini.scorer, mini.scorer)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda mini: mini.rerank("q", ["a"], 3),
            r"rerank takes 2 arguments without a name \(query, docs\), not 3; name ",
        ),
        (lambda mini: podium.rrf(mini, mini), "pass several rankings as one list, and name the others: limit="),
        (lambda mini: podium.Cascade(mini, mini, 20), r"\(cheap, strong\), not 3; name the others: keep="),
        (lambda mini: podium.Fallback(mini, or_keep=True), "did you mean or_keep_order?"),
        (lambda mini: podium.Fallback([mini, mini]), "a list of scorers is not a scorer; combine them with podium.Fallback"),
        (lambda mini: podium.Cascade("podium-mini", mini), "a scorer is an object, not a name; use podium.load"),
        (lambda mini: mini.score("q", ["a"], budget_ms=5), "budgets are arguments of rerank and podium.Budget"),
        (lambda mini: mini.rerank("q", ["a"], price="0.05/Mtokens"), "price is only for max_cost; set both, or leave it out"),
    ],
    ids=["rerank", "rrf", "cascade", "fallback", "list", "name", "score", "price"],
)
def test_arguments_that_cannot_be_used_have_a_remedy(mini, call, message):
    with pytest.raises(InvalidInput, match=message):
        call(mini)
