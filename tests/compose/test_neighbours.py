"""Neighbours: similar candidates raise each other's scores."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import podium
from fakes import FunctionScorer, Letters, MemoryStore, WordOverlap
from podium.compose.cached import CachedScorer
from podium.compose.cascade import Cascade
from podium.compose.neighbours import Neighbours, _normalized
from podium.errors import InvalidInput, SourceError
from podium.types import Scores

QUERY = "q"
VECTORS = {QUERY: [1.0, 0.0], "a": [1.0, 0.0], "b": [0.8, 0.6], "c": [0.0, 1.0], "d": [-1.0, 0.0]}


def embed(texts):
    return [VECTORS[text] for text in texts]


async def async_embed(texts):
    return embed(texts)


def scorer_of(*raw, **columns):
    return FunctionScorer(lambda texts: Scores(list(raw), **columns))


def min_max(values):
    return (values - values.min()) / (values.max() - values.min())


def expected_scores(raw, texts, *, best, move, weight, neighbours, share):
    """Return the scores as the documentation describes them, computed with plain loops."""
    raw = np.array(raw, float)
    matrix = np.array([VECTORS[text] for text in texts])
    top = np.argsort(-raw, kind="stable")[:best]
    query = (1 - move) * np.array(VECTORS[QUERY]) + move * matrix[top].mean(0)
    fused = weight * min_max(raw) + (1 - weight) * min_max(matrix @ query)
    result = []
    for i in range(len(texts)):
        others = sorted((j for j in range(len(texts)) if j != i), key=lambda j: -(matrix[i] @ matrix[j]))[:neighbours]
        result.append((1 - share) * fused[i] + share * np.mean([fused[j] for j in others]))
    return result


OPTIONS = {"best": 2, "move": 0.4, "weight": 0.6, "neighbours": 2, "share": 0.3}


@pytest.mark.parametrize("function", [embed, async_embed], ids=["sync", "async"])
def test_scores_are_those_of_the_definition(rerank, function):
    texts = ["c", "a", "d", "b"]
    ranking = rerank(podium.Reranker(Neighbours(scorer_of(4.0, 3.0, 1.0, 2.0), function, **OPTIONS)), QUERY, texts)
    expected = expected_scores([4.0, 3.0, 1.0, 2.0], texts, **OPTIONS)
    assert {result.index: result.score for result in ranking} == {
        index: pytest.approx(value, abs=1e-6) for index, value in enumerate(expected)
    }
    assert (ranking.model, ranking.score_kind) == ("Neighbours(function)", "fused")


def test_similar_document_is_raised_by_a_good_one():
    """Document b has the same score as d, but is similar to the best document a."""
    ranking = podium.Reranker(Neighbours(scorer_of(1.0, 0.0, 0.0), embed)).rerank(QUERY, ["a", "d", "b"])
    assert [result.document for result in ranking] == ["a", "b", "d"]


def test_nothing_changes_with_a_weight_of_one_and_no_share():
    ranking = podium.Reranker(Neighbours(scorer_of(1.0, 2.0, 5.0), embed, weight=1.0, share=0.0)).rerank(QUERY, ["a", "b", "c"])
    assert [(result.index, result.score) for result in ranking] == [(2, 1.0), (1, 0.25), (0, 0.0)]


@pytest.mark.parametrize(
    "convert", [list, lambda row: np.array(row, np.float32).tobytes(), np.array], ids=["list", "bytes", "array"]
)
def test_vectors_of_documents_are_not_computed_again(convert):
    embedded = []

    def recording_embed(texts):
        embedded.append(list(texts))
        return embed(texts)

    documents = [{"text": "a", "v": convert(VECTORS["a"])}, {"text": "c"}, "b"]
    scorer = scorer_of(1.0, 2.0, 3.0)
    ranking = podium.Reranker(Neighbours(scorer, recording_embed, vector="v", **OPTIONS)).rerank(QUERY, documents)
    assert embedded == [[QUERY], ["c", "b"]]
    expected = expected_scores([1.0, 2.0, 3.0], ["a", "c", "b"], **OPTIONS)
    assert [ranking[rank].score for rank in range(3)] == [pytest.approx(value, abs=1e-6) for value in sorted(expected)[::-1]]


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        ("text", "is not a vector"),
        ([[1.0]], "is not a vector"),
        ([10**400, 1], "is not a vector"),
        ([math.nan, 1.0], "is not a vector"),
        ([1.0], "the vectors of the query and the documents have 1 to 2 numbers"),
    ],
    ids=["string", "matrix", "too large", "NaN", "other length"],
)
def test_wrong_vector_of_a_document_is_an_error(vector, message):
    reranker = podium.Reranker(Neighbours(scorer_of(1.0, 2.0), embed, vector="v"))
    with pytest.raises(InvalidInput, match=message):
        reranker.rerank(QUERY, [{"text": "a", "v": vector}, {"text": "b"}])


def test_failing_embedder_is_an_error(rerank):
    def fail(texts):
        raise ValueError

    with pytest.raises(SourceError, match="the embedder failed with ValueError"):
        rerank(podium.Reranker(Neighbours(scorer_of(1.0, 2.0), fail)), QUERY, ["a", "b"])


@given(texts=st.lists(st.text("abc", min_size=1, max_size=6), min_size=1, max_size=12))
def test_no_document_is_lost(texts):
    ranking = podium.Reranker(Neighbours(WordOverlap(), Letters())).rerank("abc", texts)
    assert sorted(result.index for result in ranking) == list(range(len(texts)))
    assert all(result.document == texts[result.index] for result in ranking)
    assert all(-1e-6 <= result.score <= 1 + 1e-6 for result in ranking)


def test_several_queries_have_the_scores_of_each_alone():
    scorer = Neighbours(WordOverlap(), Letters())
    texts = [["red fruit", "red", "sea"], [], ["one"], ["a", "b", "red sea"]]
    many = scorer.score_many(["red", "x", "one", "sea"], texts)
    assert [scores.values for scores in many] == [
        scorer.score(query, query_texts).values if query_texts else ()
        for query, query_texts in zip(["red", "x", "one", "sea"], texts, strict=True)
    ]


def test_tiers_stay_apart_and_unscored_texts_have_no_score():
    scores = Scores([1.0, 2.0, 9.0, math.nan], tiers=[0, 0, 1, 1], scored_by=["s", "s", "c", None])
    ranking = podium.Reranker(Neighbours(FunctionScorer(lambda texts: scores), embed)).rerank(QUERY, ["a", "b", "c", "d"])
    assert [result.scored_by for result in ranking] == ["s", "s", "c", None]
    assert math.isnan(ranking[3].score)


def test_neighbours_can_be_the_cheap_scorer_of_a_cascade():
    cascade = Cascade(Neighbours(scorer_of(1.0, 0.0, 0.0), embed), scorer_of(1.0, 2.0), keep=2)
    ranking = podium.Reranker(cascade).rerank(QUERY, ["a", "d", "b"])
    assert [result.document for result in ranking] == ["b", "a", "d"]


def test_scores_depend_on_other_documents_and_cannot_be_cached():
    assert Neighbours(WordOverlap(), embed).listwise
    with pytest.raises(InvalidInput, match="cannot be cached"):
        CachedScorer(Neighbours(WordOverlap(), embed), MemoryStore())


INVALID_OPTIONS = {
    "best": ({"best": 0}, "best must be a positive whole number"),
    "neighbours": ({"neighbours": 1.5}, "neighbours must be a positive whole number"),
    "move": ({"move": 2}, "move must be a number from 0 to 1"),
    "weight": ({"weight": -0.1}, "weight must be a number from 0 to 1"),
    "share": ({"share": None}, "share must be a number from 0 to 1"),
    "vector": ({"vector": 3}, "vector must be the name of a field"),
}


@pytest.mark.parametrize(("options", "message"), INVALID_OPTIONS.values(), ids=INVALID_OPTIONS)
def test_invalid_option_is_refused(options, message):
    with pytest.raises(InvalidInput, match=message):
        Neighbours(WordOverlap(), embed, **options)


def test_identity_depends_on_the_options_and_the_embedder():
    scorers = [
        Neighbours(WordOverlap(), Letters()),
        Neighbours(WordOverlap(), Letters(1)),
        Neighbours(WordOverlap(), Letters(), best=3),
        Neighbours(WordOverlap(), Letters(), vector="v"),
    ]
    assert len({scorer.identity for scorer in scorers}) == 4


def test_vector_field_that_no_document_has_is_noted():
    documents = [{"text": "a", "vector": VECTORS["a"]}, {"text": "b", "vector": VECTORS["b"]}]
    noted = podium.Reranker(Neighbours(scorer_of(1.0, 2.0), embed, vector="vektor")).rerank(QUERY, documents)
    assert noted.notes == ("no document has the field 'vektor', so all texts were embedded; did you mean 'vector'?",)
    assert podium.Reranker(Neighbours(scorer_of(1.0, 2.0), embed, vector="vector")).rerank(QUERY, documents).notes == ()
    some = podium.Reranker(Neighbours(scorer_of(1.0, 2.0), embed, vector="vector")).rerank(QUERY, [documents[0], {"text": "b"}])
    assert some.notes == ()


@pytest.mark.parametrize(
    "document", [{"text": "a", "v": None}, SimpleNamespace(text="a", v=[1.0, 0.0])], ids=["None", "attribute"]
)
def test_vector_field_that_cannot_be_used_is_not_called_missing(document):
    ranking = podium.Reranker(Neighbours(scorer_of(1.0, 2.0), embed, vector="v")).rerank(QUERY, [document, "b"])
    assert ranking.notes == ("no document is a mapping with a vector under the key 'v', so all texts were embedded",)


@pytest.mark.parametrize("value", ["org/model", None, 3], ids=str)
def test_embedder_that_cannot_embed_is_an_error(value):
    with pytest.raises(InvalidInput, match=r"embed must be an embedder, such as podium.Embedder\('org/model'\)"):
        Neighbours(WordOverlap(), value)


def test_large_vectors_are_normalised():
    """The square of 1e20 is not a float32."""
    rows = np.array([[3e20, 4e20], [0, 0]], np.float32)
    assert _normalized(rows) == pytest.approx(np.array([[0.6, 0.8], [0, 0]]))


def test_equal_documents_have_equal_scores():
    vectors = np.random.default_rng(0).standard_normal((3, 384)).astype(np.float32)

    def embed(texts):
        return [vectors[["query", "same", "other"].index(text)] for text in texts]

    scorer = Neighbours(scorer_of(*[1.0] * 17, 0.0), embed, weight=0.5, share=0)
    assert len({*scorer.score("query", [*["same"] * 17, "other"]).values[:17]}) == 1
