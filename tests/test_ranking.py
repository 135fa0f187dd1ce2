"""What holds for every reranker: scores belong to their documents and fall, and nothing is lost."""

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

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fakes
import loopback
import podium
from environment import PARITY
from podium.errors import InvalidInput, PodiumError
from podium.ranking import NO_TEXT_SCORES, order
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


@pytest.fixture(scope="module", params=["overlap", "async overlap", "local", "modular", "int8", "bundled", "cohere", "voyage"])
def every(request: pytest.FixtureRequest) -> Iterator[podium.Reranker]:
    """Every kind of reranker there is: fakes, models on this machine, hosted APIs over a socket."""
    kinds = {
        "overlap": lambda: podium.Reranker(fakes.WordOverlap()),
        "async overlap": lambda: podium.Reranker(fakes.AsyncWordOverlap()),
        "local": lambda: podium.load(PARITY / "xlm-roberta-bfloat16"),
        "modular": lambda: podium.load(PARITY / "ettin"),
        "int8": lambda: podium.load(PARITY / "bert", precision="int8"),
        "bundled": lambda: podium.load("podium-mini"),
    }
    if request.param in kinds:
        with kinds[request.param]() as reranker:
            yield reranker
    else:
        with (
            loopback.Loopback(getattr(loopback, request.param)) as server,
            podium.load(f"{request.param}:model", base_url=server.url, api_key="k") as reranker,
        ):
            yield reranker


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(documents=DOCUMENTS, query=TEXT)
def test_scores_belong_to_their_documents_and_fall(every, documents, query):
    """Each result's score is the one its document gets in place, no document is lost or made up, and inputs stay."""
    before = copy.deepcopy(documents)
    ranking = every.rerank(query, documents)
    assert sorted(result.index for result in ranking) == list(range(len(documents)))
    assert all(result.document is documents[result.index] for result in ranking)
    assert [result.rank for result in ranking] == list(range(1, len(documents) + 1))
    scores = [result.score for result in ranking]
    assert scores == sorted(scores, reverse=True)
    in_place = every.score(query, documents)
    assert all(result.score == pytest.approx(in_place[result.index], abs=1e-6) for result in ranking)
    assert documents == before
    assert all(type(result.score) is float and math.isfinite(result.score) for result in ranking)
    json.dumps(ranking.to_dict(), allow_nan=False)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(documents=DOCUMENTS, query=TEXT, limit=st.integers(1, 15))
def test_rank_is_the_head_of_rerank(every, documents, query, limit):
    results, scores = every.rank(query, documents, limit=limit)
    whole = every.rerank(query, documents)
    assert len(results) == len(scores) == min(limit, len(documents))
    assert all(given is result.document for given, result in zip(results, whole, strict=False))
    assert scores == pytest.approx([result.score for result in whole[: len(scores)]], abs=1e-6)
    assert asyncio.run(every.arank(query, documents, limit=limit)) == (results, pytest.approx(scores, abs=1e-6))


def test_a_closed_reranker_says_so():
    with podium.load(PARITY / "bert") as reranker:
        pass
    with pytest.raises(PodiumError, match="was closed"):
        reranker.rank("q", ["a"])


def test_equal_scores_stay_in_input_order(every):
    documents = [{"content": "the red sea", "id": at} for at in range(9)]
    assert [result.document["id"] for result in every.rerank("red", documents)] == list(range(9))


def test_documents_without_text_are_at_the_bottom_flagged_and_never_sent():
    scorer = fakes.FunctionScorer(lambda texts: Scores([-5.0] * len(texts)))
    ranking = podium.Reranker(scorer).rerank("q", [None, "a", "", {"content": None}, "b"])
    assert [result.index for result in ranking] == [1, 4, 0, 2, 3]
    assert [result.no_text for result in ranking] == [False, False, True, True, True]
    assert scorer.calls == [["a", "b"]]
    assert ranking[2].score == NO_TEXT_SCORES["logit"]
    assert any("no text" in note for note in ranking.notes)
    assert podium.Reranker(scorer).rerank("q", [None, ""]).usage.pairs == 0
    assert len(scorer.calls) == 1, "a list without text is not worth a call"


def test_documents_without_text_are_below_even_scores_that_are_lower_than_they_should_be():
    scorer = fakes.FunctionScorer(lambda texts: Scores([-0.25] * len(texts)), "sigmoid")
    assert [(result.index, result.score) for result in podium.Reranker(scorer).rerank("q", [None, "a"])] == [
        (1, -0.25),
        (0, -0.25),
    ]


def test_no_documents_make_an_empty_ranking(every):
    assert list(every.rerank("q", [])) == []
    assert every.rank("q", []) == ([], [])
    assert every.rank("q", (), return_score=False) == []
    assert every.score("q", iter([])) == []


def test_min_score_keeps_what_scores_at_least_that():
    reranker = podium.Reranker(fakes.WordOverlap())
    ranking = reranker.rerank("red fruit", ["red fruit", "red", "x", ""], min_score=1.0)
    assert [result.score for result in ranking] == [2.0, 1.0]
    assert len(reranker.rerank("red", ["", "x"], min_score=-math.inf)) == 1, "no text is below everything"


def test_order_is_decided_on_raw_scores():
    """Two logits so high that their sigmoids are the same number keep their order."""
    scorer = fakes.FunctionScorer(lambda texts: Scores([1.0, 1.0], raw=[40.0, 41.0]), "sigmoid")
    assert [result.index for result in podium.Reranker(scorer).rerank("q", ["a", "b"])] == [1, 0]


@pytest.mark.parametrize(
    "scores",
    [
        Scores([1.0]),
        Scores([1.0, math.nan]),
        Scores([math.inf, 1.0]),
        Scores([1.0, 2.0], raw=[1.0]),
        Scores([1.0, 2.0], tokens=[1]),
    ],
)
def test_a_scorer_that_lies_is_an_error(scores):
    with pytest.raises(PodiumError, match="function returned"):
        podium.Reranker(fakes.FunctionScorer(lambda texts: scores)).rerank("q", ["a", "b"])


def test_what_a_scorer_raises_comes_through():
    def fail(texts):
        raise RuntimeError("out of order")

    with pytest.raises(RuntimeError, match="out of order"):
        podium.Reranker(fakes.FunctionScorer(fail)).rerank("q", ["a"])


@pytest.mark.parametrize("limit", [0, -1, 1.5, "3", True, False, math.nan])
def test_limit_is_a_positive_whole_number(limit):
    with pytest.raises(InvalidInput, match="limit"):
        podium.Reranker(fakes.WordOverlap(), limit=limit)
    for call in ("rank", "rerank"):
        with pytest.raises(InvalidInput, match="limit"):
            getattr(podium.Reranker(fakes.WordOverlap()), call)("q", ["a"], limit=limit)


@pytest.mark.parametrize("query", [None, 5, b"q", ["q"], "", "  "])
def test_the_query_is_a_string_that_says_something(query):
    with pytest.raises(InvalidInput, match="query"):
        podium.Reranker(fakes.WordOverlap()).rank(query, ["a"])


@pytest.mark.parametrize("docs", ["one string", b"bytes", {"content": "x"}, None, 5])
def test_docs_is_a_list(docs):
    with pytest.raises(InvalidInput, match="docs"):
        podium.Reranker(fakes.WordOverlap()).rank("q", docs)


@pytest.mark.parametrize("rank_by", [[], "", 5, ["a", "a"]])
def test_rank_by_is_checked_in_the_constructor_and_in_the_call(rank_by):
    with pytest.raises(InvalidInput, match="rank_by"):
        podium.Reranker(fakes.WordOverlap(), rank_by=rank_by)
    with pytest.raises(InvalidInput, match="rank_by"):
        podium.Reranker(fakes.WordOverlap()).rank("q", [{"a": "x"}], rank_by=rank_by)


def test_calls_override_the_constructor():
    reranker = podium.Reranker(fakes.WordOverlap(), limit=1, rank_by="a", return_score=False)
    documents = [{"a": "x", "b": "red"}, {"a": "red", "b": "x"}]
    assert reranker.rank("red", documents) == [documents[1]]
    assert reranker.rank("red", documents, limit=2, rank_by="b", return_score=True) == (documents, [1.0, 0.0])


def test_rerank_many_gives_a_ranking_per_query(every):
    documents = [["a red apple", "the sea"], [], ["the sea at night", None, "a red apple"]]
    rankings = every.rerank_many(["red apple", "nothing", "night sea"], documents)
    for query, docs, ranking in zip(["red apple", "nothing", "night sea"], documents, rankings, strict=True):
        alone = every.rerank(query, docs)
        assert [result.index for result in ranking] == [result.index for result in alone]
        assert [r.score for r in ranking] == pytest.approx([r.score for r in alone], abs=1e-6)


def test_rerank_many_needs_as_many_lists_as_queries():
    reranker = podium.Reranker(fakes.WordOverlap())
    with pytest.raises(InvalidInput, match="2 queries but 1 lists"):
        reranker.rerank_many(["a", "b"], [["c"]])
    with pytest.raises(InvalidInput, match="one string"):
        reranker.rerank_many("ab", [["c"], ["d"]])


def test_reprs_say_nothing_of_documents(every):
    ranking = every.rerank("red", ["a very secret apple"])
    assert "secret" not in repr(ranking)
    assert "secret" not in repr(every)


def test_eight_threads_share_a_reranker(every):
    texts = [f"the red apple number {at} " + "sea " * (at % 7) for at in range(24)]
    alone, found, failed = every.score("red apple", texts), [], []

    def work():
        try:
            found.extend(every.score("red apple", texts) for _ in range(4))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(found) == 32
    assert all(scores == pytest.approx(alone, abs=1e-6) for scores in found)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # forking with threads is what is tested
def test_a_reranker_works_on_in_a_forked_process(every):
    """As servers that load before they fork have it: threads are gone and connections are the parent's."""
    expected = every.score("red", ["a red apple", "the sea"])
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with os.fdopen(writing, "w") as pipe:
            json.dump(every.score("red", ["a red apple", "the sea"]), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        ready, _, _ = select.select([pipe], [], [], 30)
        assert ready, "the forked process hangs"
        assert json.load(pipe) == pytest.approx(expected, abs=1e-6)
    os.waitpid(child, 0)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_order_is_a_stable_descending_sort(keys):
    places = order(keys)
    assert sorted(places) == list(range(len(keys)))
    assert all(keys[a] > keys[b] or (keys[a] == keys[b] and a < b) for a, b in itertools.pairwise(places))


class Row(Mapping):
    """A mapping of one's own, such as a lazy row of a database, that refuses unknown keys in its own way."""

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


class Odd(str):
    """A string that is one only by name."""

    def __iter__(self):
        raise RuntimeError

    encode = __hash__ = __iter__


def test_documents_with_methods_of_their_own_are_ranked_as_they_are(mini):
    rows = [Row("the sea"), Row("a red apple")]
    assert mini.rerank("a red fruit", rows)[0].document is rows[1]
    assert mini.score("a red fruit", [Odd("a red apple"), {"text": Odd("the sea")}]) == mini.score(
        "a red fruit", ["a red apple", "the sea"]
    )
    assert mini.score(Odd("a red fruit"), ["a"]) == mini.score("a red fruit", ["a"])


@pytest.mark.parametrize(
    "scores",
    [
        Scores(["0.5"]), Scores([None]), Scores([10**400]), Scores([1.0], raw=["x"]), Scores([1.0], tokens=["many"]),
        Scores([1.0], dropped_tokens=[0.5]), Scores(None), Scores([[1.0]]), None, [1.0], Scores([1.0], query_tokens=[1, 2]),
    ],
)  # fmt: skip
def test_scorer_that_gives_something_else_is_an_error_of_podium(scores):
    reranker = podium.Reranker(fakes.FunctionScorer(lambda texts: scores))
    with pytest.raises(PodiumError, match="function returned"):
        reranker.rerank("q", ["a"])
    with pytest.raises(PodiumError, match="function returned"):
        asyncio.run(reranker.arerank("q", ["a"]))


def test_scorer_that_leaves_queries_out_is_an_error_of_podium():
    class Lazy(fakes.WordOverlap):
        def score_many(self, queries, texts_per_query, *, progress=None):
            return []

    with pytest.raises(PodiumError, match="0 of 1 queries"):
        podium.Reranker(Lazy()).rerank("q", ["a"])


@pytest.mark.parametrize(("query", "documents"), [(123, ["a"]), (None, ["a"]), ("q", "a text"), ("q", {"text": "a"}), ("q", 5)])
def test_arguments_of_another_type_are_both_kinds_of_error(query, documents):
    for kind in (TypeError, ValueError, InvalidInput):
        with pytest.raises(kind):
            podium.Reranker(fakes.WordOverlap()).rank(query, documents)
