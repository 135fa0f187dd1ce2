"""Fused adds the source's score to a scorer's, and rrf fuses rankings."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import podium
from fakes import FunctionScorer, MemoryStore, WordOverlap
from podium.compose.cached import CachedScorer
from podium.compose.cascade import Cascade
from podium.compose.fused import Fused, rrf
from podium.compose.normalization import NORMALIZATIONS
from podium.errors import InvalidInput
from podium.types import Passage, Scores

QUERY = "q"


def scorer_of(*raw, **columns):
    """Return a scorer with these raw scores. Its values are all equal, so they cannot decide the order."""
    return FunctionScorer(lambda texts: Scores([0.5] * len(texts), raw=list(raw), **columns), "sigmoid")


def records(*scores):
    return [{"text": f"t{rank}", "source_score": score, "source_rank": rank} for rank, score in enumerate(scores, start=1)]


def test_scores_are_weighted_sums_of_normalised_scores(rerank):
    ranking = rerank(podium.Reranker(Fused(scorer_of(1.0, 2.0, 5.0), weight=0.75)), QUERY, records(10.0, 6.0, 2.0))
    assert {result.index: result.score for result in ranking} == {
        0: pytest.approx(0.75 * 0 + 0.25 * 1),
        1: pytest.approx(0.75 * 0.25 + 0.25 * 0.5),
        2: pytest.approx(0.75 * 1),
    }
    assert [result.index for result in ranking] == [2, 1, 0]
    assert (ranking.model, ranking.score_kind) == ("Fused(function)", "fused")
    assert {result.scored_by for result in ranking} == {"Fused(function)"}
    assert [result.source_rank for result in ranking] == [3, 2, 1]


def test_z_scores():
    ranking = podium.Reranker(Fused(scorer_of(1.0, 3.0), weight=0.5, method="z-score")).rerank(QUERY, records(4.0, 8.0))
    assert [(result.index, result.score) for result in ranking] == [(1, pytest.approx(1.0)), (0, pytest.approx(-1.0))]


def test_reciprocal_ranks_read_the_rank_of_the_source():
    documents = [{"text": "a", "source_rank": 3}, {"text": "b", "source_rank": 1}, {"text": "c", "source_rank": 2}]
    fused = Fused(scorer_of(9.0, 8.0, 7.0), weight=0.5, method="reciprocal-rank")
    ranking = podium.Reranker(fused).rerank(QUERY, documents)
    assert {result.index: result.score for result in ranking} == {
        0: pytest.approx(0.5 / 61 + 0.5 / 63),
        1: pytest.approx(0.5 / 62 + 0.5 / 61),
        2: pytest.approx(0.5 / 63 + 0.5 / 62),
    }


@pytest.mark.parametrize(("weight", "order"), [(1.0, [2, 1, 0]), (0.0, [0, 1, 2])])
def test_weight_is_the_share_of_the_scorer(weight, order):
    ranking = podium.Reranker(Fused(scorer_of(1.0, 2.0, 3.0), weight=weight)).rerank(QUERY, records(9.0, 5.0, 1.0))
    assert [result.index for result in ranking] == order


def test_document_without_source_score_counts_as_the_lowest_with_a_note():
    documents = [*records(10.0, 2.0), {"text": "none"}]
    ranking = podium.Reranker(Fused(scorer_of(1.0, 1.0, 2.0))).rerank(QUERY, documents)
    assert {result.index: result.score for result in ranking} == {0: 0.5, 1: 0.0, 2: 0.5}
    assert ranking.notes == ("1 of 3 documents have no source score; they count as the lowest",)


@pytest.mark.parametrize("documents", [["a", "b"], [{"text": "a"}, {"text": "b"}]], ids=["strings", "records"])
def test_scores_are_the_scorers_own_without_source_scores(rerank, documents):
    ranking = rerank(podium.Reranker(Fused(scorer_of(1.0, 2.0))), QUERY, documents)
    assert [(result.index, result.score) for result in ranking] == [(1, 0.5), (0, 0.5)]
    assert (ranking.model, ranking.score_kind) == ("function", "sigmoid")
    assert ranking.notes == ("no document has a source score, so the scores are not fused; rank what a source returned",)
    assert not ranking.degraded


def test_score_of_plain_strings_says_that_there_is_no_source():
    assert "not fused" in Fused(WordOverlap()).score("red", ["a", "b"]).notes[0]


def test_fusion_of_a_search_uses_the_scores_of_its_source():
    index = podium.EmbeddedIndex.create(None)
    index.add(["a red apple", "red red red", "the sea and a red sky"])
    search = podium.Search(index, podium.Reranker(Fused(WordOverlap(), weight=0.0)), limit=None)
    ranking = search.search("red")
    assert [result.source_rank for result in ranking] == [1, 2, 3]
    assert ranking.score_kind == "fused"


def test_tiers_and_unscored_texts_stay_apart():
    """Only texts 0 and 2 are in the first tier; text 3 has no score."""
    scores = Scores([1.0, 9.0, 2.0, math.nan], tiers=[0, 1, 0, 1], scored_by=["a", "b", "a", None])
    inner = FunctionScorer(lambda texts: scores)
    ranking = podium.Reranker(Fused(inner)).rerank(QUERY, records(4.0, 3.0, 2.0, 1.0))
    assert [result.index for result in ranking] == [2, 0, 1, 3]
    assert [result.scored_by for result in ranking] == ["a", "a", "b", None]
    assert math.isnan(ranking[3].score)


def test_cascade_keeps_the_source_scores_of_its_texts():
    cascade = Cascade(scorer_of(3.0, 2.0, 1.0), Fused(scorer_of(1.0, 2.0), weight=0.0), keep=2)
    ranking = podium.Reranker(cascade).rerank(QUERY, records(1.0, 5.0, 9.0))
    assert [result.index for result in ranking] == [1, 0, 2]


def test_fused_scores_cannot_be_cached():
    with pytest.raises(InvalidInput, match="cannot be cached"):
        CachedScorer(Fused(WordOverlap()), MemoryStore())


NUMBERS = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20)


@pytest.mark.parametrize("method", NORMALIZATIONS)
@given(numbers=NUMBERS)
def test_normalisation_keeps_the_order_and_is_finite(method, numbers):
    values = NORMALIZATIONS[method](numbers)
    assert len(values) == len(numbers)
    assert all(map(math.isfinite, values))
    for i in range(len(numbers)):
        for j in range(len(numbers)):
            if numbers[i] > numbers[j]:
                assert values[i] >= values[j]
    if method == "min-max":
        assert all(0 <= value <= 1 for value in values)


@given(data=st.data(), size=st.integers(1, 8), method=st.sampled_from(list(NORMALIZATIONS)))
def test_no_document_is_lost(data, size, method):
    raw = data.draw(st.lists(st.floats(-5, 5), min_size=size, max_size=size))
    sources = data.draw(st.lists(st.one_of(st.none(), st.floats(-5, 5)), min_size=size, max_size=size))
    ranking = podium.Reranker(Fused(scorer_of(*raw), method=method)).rerank(QUERY, records(*sources))
    assert sorted(result.index for result in ranking) == list(range(size))
    assert all(math.isfinite(result.score) for result in ranking)


INVALID_OPTIONS = {
    "weight above 1": ({"weight": 1.5}, "weight must be a number from 0 to 1"),
    "weight string": ({"weight": "0.5"}, "weight must be a number from 0 to 1"),
    "weight NaN": ({"weight": math.nan}, "weight must be a number from 0 to 1"),
    "method": ({"method": "rrf"}, "method must be one of min-max, z-score, reciprocal-rank"),
}


@pytest.mark.parametrize(("options", "message"), INVALID_OPTIONS.values(), ids=INVALID_OPTIONS)
def test_invalid_option_is_refused(options, message):
    with pytest.raises(InvalidInput, match=message):
        Fused(WordOverlap(), **options)


def ranking_of(raw, documents, **columns):
    return podium.Reranker(scorer_of(*raw, **columns)).rerank(QUERY, documents)


def test_rrf_sums_reciprocal_ranks():
    documents = ["a", "b", "c", ""]
    first = ranking_of([3.0, 2.0, 1.0], documents)
    second = ranking_of([1.0, 3.0, 2.0], documents)
    fused = rrf([first, second])
    assert [(result.index, result.document) for result in fused] == [(1, "b"), (0, "a"), (2, "c"), (3, "")]
    assert [result.score for result in fused[:3]] == [
        pytest.approx(1 / 61 + 1 / 62),
        pytest.approx(1 / 61 + 1 / 63),
        pytest.approx(1 / 62 + 1 / 63),
    ]
    assert [result.rank for result in fused] == [1, 2, 3, 4]
    assert (fused.model, fused.score_kind, fused.usage.pairs) == ("rrf(function, function)", "fused", 6)
    assert fused[3].no_text
    assert fused.notes == first.notes
    assert len(rrf([first, second], limit=2)) == 2


def test_rrf_of_rankings_with_limits_and_missing_scores():
    documents = ["a", "b", "c"]
    first = podium.Reranker(scorer_of(1.0, 2.0, 3.0), limit=1).rerank(QUERY, documents)
    unscored = Scores([math.nan] * 3, scored_by=[None] * 3, reasons=("it failed",))
    second = podium.Reranker(FunctionScorer(lambda texts: unscored)).rerank(QUERY, documents)
    fused = rrf([first, second])
    assert [result.index for result in fused] == [2, 0, 1]
    assert [result.has_score for result in fused] == [True, False, False]
    assert fused.reasons == ("it failed",)


def test_source_ranks_are_not_ranked_again():
    """In passages, a document has several windows with one source rank."""
    ranks = {"a": 5, "b": 5, "c": 7, "d": 100}
    documents = [{"text": text, "source_rank": rank} for text, rank in ranks.items()]
    fused = Fused(scorer_of(0.0, 0.0, 0.0, 0.0), method="reciprocal-rank", weight=0.0)
    scores = {result.document["text"]: result.score for result in podium.Reranker(fused).rerank(QUERY, documents)}
    assert scores == {text: pytest.approx(1 / (60 + rank)) for text, rank in ranks.items()}


def test_rrf_adds_up_the_estimated_costs():
    first = ranking_of([1.0], ["a"])
    second = replace(first, usage=replace(first.usage, estimated_cost=0.25))
    assert rrf([first, second, second]).usage.estimated_cost == 0.5
    assert rrf([first]).usage.estimated_cost is None


def test_source_rank_that_is_too_large_for_a_float_is_unknown():
    documents = [{"text": text, "source_rank": rank} for text, rank in (("a", 10**400), ("b", 2), ("c", 1))]
    ranking = podium.Reranker(Fused(scorer_of(1.0, 1.0, 1.0), method="reciprocal-rank", weight=0.1)).rerank(QUERY, documents)
    assert ranking[0].index == 2
    assert "1 of 3 documents have no source rank" in ranking.notes[0]


def test_rrf_keeps_the_passage_of_the_ranking_that_has_one():
    documents = ["a text"]
    fused = rrf([ranking_of([1.0], documents), ranking_of([1.0], documents, passages=[Passage(2, 6, 0.5)])])
    assert fused[0].passage.text == "text"


def test_rrf_refuses_rankings_of_other_documents():
    with pytest.raises(InvalidInput, match="different documents at index 0"):
        rrf([ranking_of([1.0], ["a"]), ranking_of([1.0], ["b"])])
    for rankings in ([], [None]):
        with pytest.raises(InvalidInput, match="rrf takes a list of rankings"):
            rrf(rankings)
