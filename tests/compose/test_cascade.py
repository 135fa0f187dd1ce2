"""Cascade: the strong scorer scores the best documents of the cheap one, and the others keep the cheap order."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import podium
from fakes import FunctionScorer, LetterCounts, WordOverlap
from podium.compose.calibrated import CalibratedScorer, Calibration
from podium.compose.cascade import Cascade, gap_cut
from podium.encodings.memory import MemoryEncodings
from podium.errors import InvalidInput, PodiumError
from podium.texts import documents_of
from podium.types import Passage, Scores


class NamedScorer(FunctionScorer):
    def __init__(self, name, function, **options):
        super().__init__(function, **options)
        self.model = name


def number_of(text):
    return float(text.rpartition(" ")[2])


def cheap_scorer():
    """Return a scorer that prefers large numbers."""
    return NamedScorer("cheap", lambda texts: Scores([number_of(text) for text in texts], total_tokens=len(texts)))


def strong_scorer():
    """Return a scorer that prefers small numbers, with scores of another scale."""
    return NamedScorer(
        "strong",
        lambda texts: Scores([0.5 - number_of(text) / 1000 for text in texts], total_tokens=10 * len(texts), notes=("n",)),
        score_kind="sigmoid",
    )


TEXTS = [f"text {number}" for number in (3, 9, 1, 7, 5)]


def test_strong_scorer_scores_the_best_documents_and_the_others_keep_the_cheap_order(rerank):
    cheap, strong = cheap_scorer(), strong_scorer()
    ranking = rerank(podium.Reranker(Cascade(cheap, strong, keep=2)), "q", TEXTS)
    assert [result.document for result in ranking] == ["text 7", "text 9", "text 5", "text 3", "text 1"]
    assert [result.scored_by for result in ranking] == ["strong", "strong", "cheap", "cheap", "cheap"]
    assert [result.score for result in ranking] == [0.493, 0.491, 5.0, 3.0, 1.0]
    assert strong.calls == [["text 9", "text 7"]]
    assert (ranking.model, ranking.score_kind, ranking.notes) == ("Cascade(cheap, strong)", "sigmoid", ("n",))
    assert ranking.usage.tokens == 5 + 20
    assert not ranking.degraded


def test_cheap_scorer_is_not_called_for_few_documents(rerank):
    cheap, strong = cheap_scorer(), strong_scorer()
    ranking = rerank(podium.Reranker(Cascade(cheap, strong, keep=5)), "q", TEXTS)
    assert cheap.calls == []
    assert [result.scored_by for result in ranking] == ["strong"] * 5


def test_queries_are_scheduled_together(mini):
    """Of three queries, one has no texts and one has few."""
    calls = []

    class ManyScorer(NamedScorer):
        def score_many(self, queries, texts_per_query, *, progress=None):
            calls.append((self.model, list(queries), list(map(len, texts_per_query))))
            return [self.score(query, texts) for query, texts in zip(queries, texts_per_query, strict=True)]

    cascade = Cascade(ManyScorer("cheap", cheap_scorer()._function), ManyScorer("strong", strong_scorer()._function), keep=2)
    counts = []
    scores = cascade.score_many(["a", "b", "c"], [TEXTS, [], TEXTS[:2]], progress=counts.append)
    assert calls == [("cheap", ["a"], [5]), ("strong", ["a", "c"], [2, 2])]
    assert [len(query_scores.values) for query_scores in scores] == [5, 0, 2]


def test_progress_is_the_number_of_texts():
    counts = []
    Cascade(cheap_scorer(), strong_scorer(), keep=2).score_many(["a", "b"], [TEXTS, TEXTS[:1]], progress=counts.append)
    assert sum(counts) == 6


@given(numbers=st.lists(st.integers(0, 30), max_size=40), keep=st.integers(1, 10))
def test_no_document_is_lost_and_scores_stay_with_their_documents(numbers, keep):
    texts = [f"text {number}" for number in numbers]
    ranking = podium.Reranker(Cascade(cheap_scorer(), strong_scorer(), keep=keep)).rerank("q", texts)
    assert sorted(result.index for result in ranking) == list(range(len(texts)))
    for result in ranking:
        number = number_of(texts[result.index])
        assert result.score == (0.5 - number / 1000 if result.scored_by == "strong" else number)
    assert sum(result.scored_by == "strong" for result in ranking) == min(keep, len(texts))
    kept_numbers = [number_of(result.document) for result in ranking if result.scored_by == "strong"]
    other_numbers = [number_of(result.document) for result in ranking if result.scored_by == "cheap"]
    assert min(kept_numbers, default=math.inf) >= max(other_numbers, default=-math.inf)
    assert other_numbers == sorted(other_numbers, reverse=True)


def test_cascades_can_be_nested():
    middle = NamedScorer("middle", lambda texts: Scores([number_of(text) for text in texts]))
    cascade = Cascade(cheap_scorer(), Cascade(middle, strong_scorer(), keep=1), keep=3)
    ranking = podium.Reranker(cascade).rerank("q", TEXTS)
    assert [(result.document, result.scored_by) for result in ranking] == [
        ("text 9", "strong"),
        ("text 7", "middle"),
        ("text 5", "middle"),
        ("text 3", "cheap"),
        ("text 1", "cheap"),
    ]


def test_document_that_the_strong_scorer_leaves_unscored_keeps_its_cheap_score():
    def score(texts):
        return Scores([0.5, math.nan], scored_by=["strong", None], reasons=("the budget was used up",))

    ranking = podium.Reranker(Cascade(cheap_scorer(), NamedScorer("strong", score), keep=2)).rerank("q", TEXTS)
    assert [(result.document, result.scored_by) for result in ranking] == [
        ("text 9", "strong"),
        ("text 7", "cheap"),
        ("text 5", "cheap"),
        ("text 3", "cheap"),
        ("text 1", "cheap"),
    ]
    assert ranking.reasons == ("the budget was used up",)


def test_documents_that_the_cheap_scorer_leaves_unscored_are_below_the_others():
    values = {3: 3.0, 9: math.nan, 1: 1.0, 7: 7.0, 5: math.nan}
    models = {3: "cheap", 9: None, 1: "cheap", 7: "cheap", 5: None}

    def score(texts):
        numbers = [int(number_of(text)) for text in texts]
        return Scores([values[number] for number in numbers], scored_by=[models[number] for number in numbers])

    ranking = podium.Reranker(Cascade(NamedScorer("cheap", score), strong_scorer(), keep=1)).rerank("q", TEXTS)
    assert [(result.document, result.scored_by) for result in ranking] == [
        ("text 7", "strong"),
        ("text 3", "cheap"),
        ("text 1", "cheap"),
        ("text 9", None),
        ("text 5", None),
    ]


def test_passages_and_documents_stay_with_their_texts():
    received = []

    def score(texts):
        received.append(list(documents_of(texts)))
        return Scores([0.5] * len(texts), passages=[Passage(0, 4, 0.5)] * len(texts))

    records = [{"text": text, "id": index} for index, text in enumerate(TEXTS)]
    ranking = podium.Reranker(Cascade(cheap_scorer(), NamedScorer("strong", score), keep=2)).rerank("q", records)
    assert received == [[records[1], records[3]]]
    assert [result.passage is not None for result in ranking] == [True, True, False, False, False]


def test_error_of_a_scorer_is_raised(rerank):
    def fail(texts):
        raise PodiumError("it failed")

    for scorers in ((cheap_scorer(), NamedScorer("strong", fail)), (NamedScorer("cheap", fail), strong_scorer())):
        with pytest.raises(PodiumError, match="it failed"):
            rerank(podium.Reranker(Cascade(*scorers, keep=2)), "q", TEXTS)


def test_wrong_number_of_scores_is_an_error(rerank):
    cascade = Cascade(cheap_scorer(), NamedScorer("strong", lambda texts: Scores([0.5])), keep=2)
    with pytest.raises(PodiumError, match="strong returned 1 scores for 2 texts"):
        rerank(podium.Reranker(cascade), "q", TEXTS)


GAPS = {
    "clear gap": ([*range(100, 80, -1), *range(20, 0, -1)], 20),
    "gap above the bounds": ([100, *range(50, 0, -1)], 50),
    "no gap": ([float(-number) for number in range(100)], 50),
    "gap below the bounds": ([*range(200, 140, -1), *range(20, 0, -1)], 50),
    "equal scores": ([1.0] * 60, 50),
    "few documents": ([3.0, 2.0, 1.0], 50),
    "eleven documents": ([*[1.0] * 10, 0.0], 50),
}


@pytest.mark.parametrize(("scores", "count"), GAPS.values(), ids=GAPS)
def test_auto_keeps_the_documents_above_a_clear_gap(scores, count):
    """With eleven documents there is one gap, which is the mean gap, so it is not clear."""
    assert gap_cut(scores) == count
    assert gap_cut([score * 1000 - 5 for score in scores]) == count


def test_auto_is_the_number_of_documents_that_the_strong_scorer_scores():
    strong = strong_scorer()
    numbers = [*range(100, 85, -1), *range(20, 0, -1)]
    podium.Reranker(Cascade(cheap_scorer(), strong, keep="auto")).rerank("q", [f"text {number}" for number in numbers])
    assert [len(texts) for texts in strong.calls] == [15]


@pytest.mark.parametrize("keep", [0, -1, True, 2.5, "all", None])
def test_keep_that_is_neither_a_positive_number_nor_auto_is_an_error(keep):
    with pytest.raises(InvalidInput, match="keep must be a positive whole number or 'auto'"):
        Cascade(cheap_scorer(), strong_scorer(), keep=keep)


def test_identity_depends_on_the_options_and_both_scorers():
    identities = {
        Cascade(cheap_scorer(), strong_scorer()).identity,
        Cascade(cheap_scorer(), strong_scorer(), keep=3).identity,
        Cascade(strong_scorer(), strong_scorer()).identity,
        Cascade(cheap_scorer(), cheap_scorer()).identity,
    }
    assert len(identities) == 4


def test_search_uses_the_encodings_of_its_source_for_the_scorer_that_has_an_encoder():
    texts = ["an apple", "the sea", "red"]
    store = MemoryEncodings(1_000_000)
    LetterCounts(store=store).encode(texts)

    class EncodedSource:
        encodings = store

        def search(self, query, limit):
            return texts[:limit]

    letters = LetterCounts()
    other = NamedScorer("other", lambda texts: Scores([float(len(text)) for text in texts]))
    for cascade in (Cascade(letters, other, keep=2), Cascade(other, letters, keep=2)):
        ranking = podium.Search(EncodedSource(), podium.Reranker(cascade), limit=None).search("apple")
        assert sorted(result.document for result in ranking) == sorted(texts)
        assert letters.computed == []


@pytest.mark.parametrize("keep", [pytest.param(2, id="best"), pytest.param(5, id="all")])
def test_ranking_names_the_model_that_replaced_the_strong_scorer(keep):
    """Then a calibration for the strong scorer is not applied."""
    replacement = NamedScorer("replacement", lambda texts: Scores([1.0] * len(texts)))
    cascade = podium.Cascade(cheap_scorer(), podium.Fallback(FunctionScorer(refused), replacement), keep=keep)
    calibrated = CalibratedScorer(cascade, Calibration(cascade.model, None, "platt", 1.0, -7.0))
    ranking = podium.Reranker(calibrated).rerank("q", TEXTS[:3])
    assert ranking.model == "replacement"
    assert [result.score for result in ranking if result.scored_by == "replacement"] == [1.0] * min(keep, 3)
    assert "the calibration is not for replacement, so its scores are not probabilities" in ranking.notes


def test_calibration_and_minimum_do_not_apply_to_the_cheap_scores_if_the_strong_scorer_fails():
    strong = podium.Fallback(FunctionScorer(refused))
    cascade = podium.Cascade(WordOverlap(), strong, keep=2)
    reranker = podium.Reranker(cascade)
    assert [result.scored_by for result in reranker.rerank("a b", ["a", "a b", "c"])] == ["word-overlap"] * 3
    assert len(reranker.rerank("a b", ["a", "a b", "c"], min_score=0.0)) == 0


def test_strong_score_does_not_have_the_passage_of_the_cheap_scorer():
    def passages(texts):
        return Scores([float(len(text)) for text in texts], tokens=[7] * len(texts), passages=[Passage(0, 1, 1.0)] * len(texts))

    strong = FunctionScorer(lambda texts: Scores([1.0] * len(texts)))
    ranking = podium.Reranker(podium.Cascade(FunctionScorer(passages), strong, keep=1)).rerank("q", ["a", "bb"])
    assert [(result.tokens, result.passage is None) for result in ranking] == [(None, True), (7, False)]


def test_score_of_the_cheap_scorer_that_is_not_a_number_is_an_error():
    cheap = FunctionScorer(lambda texts: Scores([math.nan, 0.1]))  # the first text is scored again by the strong scorer
    with pytest.raises(PodiumError, match="not a finite number"):
        podium.Reranker(podium.Cascade(cheap, WordOverlap(), keep=1)).rerank("q", ["a", "b"])


def refused(texts):
    raise ConnectionError
