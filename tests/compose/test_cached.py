"""CachedScorer: cached scores equal computed ones, each pair is scored once, and a failed store is not an error."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import pytest

import podium
from fakes import AsyncWordOverlap, FunctionScorer, MemoryStore, WordOverlap
from podium.compose.cached import CachedScorer
from podium.errors import InvalidInput, PodiumError
from podium.types import Scores

TEXTS = ["a red apple", "the sea", "a red apple", "red"]
NOTE = "the store is unavailable"

ScoreFunction = Callable[[CachedScorer, str, Sequence[str]], Scores]


class FailingStore(MemoryStore):
    def get(self, keys):
        raise PodiumError(NOTE)

    put = get


@pytest.fixture(params=["score", "ascore", "score_many"])
def score(request: pytest.FixtureRequest) -> ScoreFunction:
    """A function that scores texts with one of a scorer's three methods."""
    return {
        "score": lambda scorer, query, texts: scorer.score(query, texts),
        "ascore": lambda scorer, query, texts: asyncio.run(scorer.ascore(query, texts)),
        "score_many": lambda scorer, query, texts: scorer.score_many([query, "other"], [texts, texts])[0],
    }[request.param]


@pytest.fixture(params=["rerank", "arerank", "rerank_many"])
def rerank(request: pytest.FixtureRequest) -> Callable[[podium.Reranker, str, Sequence[str]], podium.Ranking]:
    return {
        "rerank": lambda reranker, query, texts: reranker.rerank(query, texts),
        "arerank": lambda reranker, query, texts: asyncio.run(reranker.arerank(query, texts)),
        "rerank_many": lambda reranker, query, texts: reranker.rerank_many([query], [texts])[0],
    }[request.param]


def recording_scorer() -> FunctionScorer:
    """Return a scorer that records its calls. Its scores are those of WordOverlap for the query "red"."""
    return FunctionScorer(lambda texts: WordOverlap().score("red", texts))


def test_pair_is_scored_once_and_the_ranking_has_a_note():
    inner = recording_scorer()
    reranker = podium.Reranker(CachedScorer(inner, MemoryStore()))
    first_ranking = reranker.rerank("red", TEXTS)
    assert inner.calls == [["a red apple", "the sea", "red"]]
    assert first_ranking.notes == ()
    second_ranking = reranker.rerank("red", [*TEXTS, "new red"])
    assert inner.calls[1:] == [["new red"]]
    assert second_ranking.notes == ("4 of 5 scores were remembered",)
    uncached = podium.Reranker(recording_scorer()).rerank("red", [*TEXTS, "new red"])
    assert [(result.index, result.score) for result in second_ranking] == [(result.index, result.score) for result in uncached]


LONG = "apple " * 1000
UNKNOWN = "\u0301"  # the model has no token for it


@pytest.mark.parametrize(
    ("query", "texts"),
    [(LONG, [*TEXTS, "sea " * 1000]), ("red", ["a", UNKNOWN]), (UNKNOWN, TEXTS), (LONG, ["short"])],
    ids=["long query and text", "unknown text", "unknown query", "long query"],
)
def test_notes_are_the_same_for_cached_scores(mini, rerank, query, texts):
    cached = podium.Reranker(CachedScorer(mini.scorer, MemoryStore()))
    expected = rerank(mini, query, texts).notes
    assert expected
    assert rerank(cached, query, texts).notes == expected
    assert rerank(cached, query, texts).notes == (f"{len(texts)} of {len(texts)} scores were remembered", *expected)


@pytest.mark.parametrize(
    ("identity", "query", "text"),
    [("b", "q", "t"), ("a", "q2", "t"), ("a", "q", "t2"), ("aq", "", "t"), ("a", "", "qt")],
    ids=["identity", "query", "text", "longer identity", "longer text"],
)
def test_key_depends_on_identity_query_and_text(identity, query, text):
    store = MemoryStore()
    first_scorer = recording_scorer()
    first_scorer.identity = "a"
    second_scorer = recording_scorer()
    second_scorer.identity = identity
    CachedScorer(first_scorer, store).score("q", ["t"])
    CachedScorer(second_scorer, store).score(query, [text])
    assert second_scorer.calls == [[text]]


def test_keys_are_those_of_earlier_versions():
    """Otherwise an update of podium would lose all cached scores."""
    store = MemoryStore()
    scorer = recording_scorer()
    scorer.identity = "a"
    CachedScorer(scorer, store).score("é", ["t", ""])
    prefix = f"{scorer.model}@{scorer.revision}:a".encode()
    for text in (b"t", b""):
        content = b"".join(b"%d:%s" % (len(part), part) for part in (prefix, "é".encode(), text))
        assert hashlib.blake2b(content, digest_size=20).digest() in store.rows


def test_cached_scores_equal_computed_ones(mini, score):
    scorer = CachedScorer(mini.scorer, MemoryStore())
    expected = mini.scorer.score("red fruit", TEXTS)
    for _ in range(2):
        scores = score(scorer, "red fruit", TEXTS)
        assert list(scores.values) == list(expected.values)
        assert list(scores.raw) == list(expected.raw)
        assert list(scores.tokens) == list(expected.tokens)
        assert list(scores.dropped_tokens) == list(expected.dropped_tokens)
    assert scores.total_tokens == 0
    assert scores.notes == ("4 of 4 scores were remembered",)


def test_scores_without_raw_values_have_none_when_cached():
    scorer = CachedScorer(FunctionScorer(lambda texts: Scores([0.5] * len(texts)), "probability"), MemoryStore())
    for _ in range(2):
        scores = scorer.score("q", ["a"])
        assert (list(scores.values), scores.raw, list(scores.tokens)) == ([0.5], None, [None])


def test_scores_in_numpy_arrays_are_cached():
    scorer = CachedScorer(FunctionScorer(lambda texts: Scores(np.array([0.5, 0.75]), raw=np.array([1.0, 2.0]))), MemoryStore())
    for _ in range(2):
        scores = scorer.score("q", ["a", "b"])
        assert list(scores.values) == [0.5, 0.75]
        assert list(scores.raw) == [1.0, 2.0]


@pytest.mark.parametrize("kind", ["without score_many", "with score_many"])
def test_progress_includes_cached_pairs(mini, kind):
    scorer = CachedScorer(mini.scorer if kind == "with score_many" else recording_scorer(), MemoryStore())
    scorer.score("red", TEXTS[:2])
    counts: list[int] = []
    scorer.score_many(["red", "red"], [TEXTS[:3], []], progress=counts.append)
    assert sum(counts) == 3


@pytest.mark.parametrize("inner", [WordOverlap(), AsyncWordOverlap()], ids=["sync", "async"])
def test_failed_store_is_a_note(rerank, inner):
    ranking = rerank(podium.Reranker(CachedScorer(inner, FailingStore())), "red", TEXTS)
    assert ranking.notes == (f"{NOTE}; scores were computed",)
    assert len(ranking) == 4


def test_listwise_model_cannot_be_cached():
    with pytest.raises(InvalidInput, match="scores documents relative to each other"):
        podium.load("jina:jina-reranker-v3", api_key="k", cache="redis://127.0.0.1")


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 10**400, "0.5"], ids=lambda value: repr(value)[:5])
def test_score_that_is_not_a_finite_number_is_not_stored(rerank, value):
    values = [value]
    scorer = FunctionScorer(lambda texts: Scores(values * len(texts)))
    reranker = podium.Reranker(CachedScorer(scorer, MemoryStore()))
    with pytest.raises(PodiumError, match="a score that is not a finite number"):
        rerank(reranker, "q", ["a", "b"])
    values = [0.5]
    assert [result.score for result in rerank(reranker, "q", ["a", "b"])] == [0.5, 0.5]


def test_wrong_number_of_scores_is_an_error(rerank):
    reranker = podium.Reranker(CachedScorer(FunctionScorer(lambda texts: Scores([0.5])), MemoryStore()))
    with pytest.raises(PodiumError, match="returned 1 scores for 2 texts"):
        rerank(reranker, "q", ["a", "b"])
