"""CachedScorer: cached scores equal computed ones, each pair is scored once, and a failed store is not an error."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

import podium
from fakes import AsyncWordOverlap, FunctionScorer, LetterCounts, MemoryStore, WordOverlap
from podium.compose.cached import CachedScorer
from podium.errors import InvalidInput, PodiumError
from podium.texts import Texts, documents_of
from podium.types import Passage, Scores

TEXTS = ["a red apple", "the sea", "a red apple", "red"]
NOTE = "the store is unavailable"


class FailingStore(MemoryStore):
    def get(self, keys):
        raise PodiumError(NOTE)

    put = get


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


def test_text_with_an_unpaired_surrogate_has_its_own_key():
    inner = recording_scorer()
    cached = CachedScorer(inner, MemoryStore())
    cached.score("q", ["?"])
    cached.score("q", ["\ud800"])
    assert inner.calls == [["?"], ["\ud800"]]


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


class SwitchedScorer(FunctionScorer):
    """A scorer whose scores are its own, or, while `is_replaced`, those of another model."""

    def __init__(self) -> None:
        super().__init__(self._scores)
        self.is_replaced = False

    def _scores(self, texts):
        if self.is_replaced:
            return Scores([9.0] * len(texts), model="other", reasons=("function failed",))
        return Scores([1.0] * len(texts))


def test_scores_of_another_model_are_neither_stored_nor_mixed_with_stored_ones(rerank):
    inner = SwitchedScorer()
    reranker = podium.Reranker(CachedScorer(inner, MemoryStore()))
    rerank(reranker, "q", ["a", "b"])
    inner.is_replaced = True
    ranking = rerank(reranker, "q", ["a", "c", "c", "b"])
    assert [(result.score, result.scored_by) for result in ranking] == [(9.0, "other")] * 4
    assert (ranking.model, ranking.reasons) == ("other", ("function failed",))
    inner.is_replaced = False
    ranking = rerank(reranker, "q", ["a", "c"])
    assert inner.calls == [["a", "b"], ["c"], ["a", "c", "b"], ["c"]]
    assert [result.score for result in ranking] == [1.0, 1.0]


def test_own_model_that_is_back_scores_all_texts():
    is_replaced = iter([False, True, False])

    def score(texts):
        if next(is_replaced):
            return Scores([9.0] * len(texts), model="other", reasons=("function failed",))
        return Scores([1.0] * len(texts))

    inner = FunctionScorer(score)
    cached = CachedScorer(inner, MemoryStore())
    cached.score("q", ["a"])
    scores = cached.score("q", ["a", "b"])
    assert (list(scores.values), scores.model, scores.reasons) == ([1.0, 1.0], None, ())
    assert cached.score("q", ["a", "b"]).remembered == 2
    assert inner.calls == [["a"], ["b"], ["a", "b"]]


def test_passages_are_stored(score):
    passage = Passage(2, 5, 0.5)
    scorer = FunctionScorer(lambda texts: Scores([0.5] * len(texts), passages=[passage, *[None] * (len(texts) - 1)]))
    cached = CachedScorer(scorer, MemoryStore())
    for _ in range(2):
        assert list(score(cached, "q", ["a long text", "short"]).passages) == [passage, None]


def test_documents_stay_with_the_missing_texts():
    received = []

    def score(texts):
        received.append(documents_of(texts))
        return Scores([0.0] * len(texts))

    cached = CachedScorer(FunctionScorer(score), MemoryStore())
    cached.score("q", Texts(["b"], ["B"]))
    cached.score("q", Texts(["a", "b", "c", "a"], ["A", "B", "C", "A2"]))
    assert received == [["B"], ["A", "C"]]


def test_scorer_that_reads_documents_cannot_be_cached():
    class TitleReader(LetterCounts):
        reads_documents = True

    with pytest.raises(InvalidInput, match="cache the scorer inside it"):
        CachedScorer(TitleReader(), MemoryStore())
