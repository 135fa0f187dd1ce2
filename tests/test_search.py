"""Search: candidates of a source, reranked, with both stages' ranks and scores on every result."""

from __future__ import annotations

import asyncio

import pytest

import podium
from fakes import WordOverlap
from podium.errors import InvalidInput

DOCUMENTS = [
    {"title": "Nevada", "body": "Carson City is the capital city of Nevada.", "n": 1},
    {"title": "Capital punishment", "body": "has existed in the United States for centuries.", "n": 2},
    {"title": "Washington", "body": "D.C. is the capital of the United States.", "n": 3},
    {"title": "Bread", "body": "Flour and water.", "n": 4},
]
QUERY = "the capital of the United States"


class FixedSource:
    """A source that returns the same documents for every query."""

    def __init__(self, documents):
        self.documents = documents
        self.searches = []

    def search(self, query, limit):
        self.searches.append((query, limit))
        return self.documents[:limit]


class AsyncOnlySource:
    async def asearch(self, query, limit):
        await asyncio.sleep(0)
        return ["b c", "a"][:limit]


@pytest.fixture
def reranker():
    return podium.Reranker(WordOverlap())


@pytest.fixture
def index():
    index = podium.EmbeddedIndex.create(None, text=["title", "body"])
    index.add(DOCUMENTS, ids=["n", "p", "w", "b"])
    return index


def test_results_have_ranks_and_scores_of_both_stages(index, reranker):
    search = podium.Search(index, reranker, candidates=3, limit=2)
    ranking = search.search(QUERY)
    assert len(ranking) == 2
    candidates = index.search(QUERY, 3)
    for result in ranking:
        candidate = candidates[result.index]
        assert result.document == candidate
        assert (result.source_rank, result.source_score) == (result.index + 1, candidate["source_score"])
        assert {"source_rank", "source_score"} <= set(result.to_dict())
    assert ranking.usage.source_seconds > 0
    assert ranking.to_dict()["usage"]["source_seconds"] == ranking.usage.source_seconds
    assert asyncio.run(search.asearch(QUERY)).results == ranking.results


def test_rerank_alone_keeps_ranks_of_the_source(index, reranker):
    candidates = index.search("capital", 9)
    for result in reranker.rerank("capital", candidates, rank_by="body"):
        assert result.source_rank == result.index + 1
        assert result.source_score == candidates[result.index]["source_score"]


def test_ranks_that_are_not_numbers_are_ignored(reranker):
    ranking = reranker.rerank("capital", ["a", {"text": "b", "source_rank": "first", "source_score": True}])
    assert [(result.source_rank, result.source_score) for result in ranking] == [(None, None)] * 2


def test_source_rank_is_the_position_if_the_source_returns_no_rank(reranker):
    source = FixedSource(["x", "a b", "a"])
    ranking = podium.Search(source, reranker, candidates=3, limit=1).search("a b")
    assert [(result.document, result.rank, result.source_rank, result.source_score) for result in ranking] == [
        ("a b", 1, 2, None)
    ]
    assert source.searches == [("a b", 3)]


def test_ranking_has_a_note_if_reranking_cannot_change_which_documents_are_returned(index, reranker):
    note = "the limit is 3: reranking could change their order, but not which"
    too_few = podium.Search(index, reranker, candidates=3, limit=3).search("capital city")
    assert any(note in text for text in too_few.notes)
    for limit in (1, None):
        assert podium.Search(index, reranker, candidates=3, limit=limit).search("capital city").notes == ()


def test_ranking_has_a_note_if_the_source_finds_nothing(index, reranker):
    ranking = podium.Search(index, reranker).search("nothing like it")
    assert (len(ranking), ranking.notes) == (0, ("the source found no documents for this query, so nothing was reranked",))


def test_arguments_of_a_call_override_those_of_the_search(index, reranker):
    search = podium.Search(index, reranker, candidates=1, limit=1, rank_by="title")
    assert len(search.search("capital")) == 1
    ranking = search.search("capital punishment states", candidates=4, limit=4, rank_by=["body"], min_score=1)
    assert ranking
    assert all(result.score >= 1 for result in ranking)
    by_title = search.search("capital punishment", candidates=4, limit=1)
    assert by_title[0].document["source_key"] == "p"


def test_reranker_reads_the_fields_that_the_source_searches(index, reranker):
    search = podium.Search(index, reranker)
    candidates = index.search("capital", 4)
    assert search.fields(candidates) == ["title", "body"]
    assert search.fields(candidates, "body") == ["body"]
    assert search.fields([{"body": "x"}]) == ["body"]


def test_reranker_reads_the_text_of_documents_if_no_searched_fields_are_named(reranker):
    index = podium.EmbeddedIndex.create(None)
    index.add(["a b", "b"])
    assert podium.Search(index, reranker).search("a b")[0].document["text"] == "a b"


def test_async_source_needs_asearch(reranker):
    search = podium.Search(AsyncOnlySource(), reranker)
    assert [result.document for result in asyncio.run(search.asearch("a"))] == ["a", "b c"]
    with pytest.raises(InvalidInput, match="use asearch"):
        search.search("a")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"source": object()}, "has a search", id="source"),
        pytest.param({"reranker": "podium-mini"}, r"podium\.load returns", id="reranker"),
        pytest.param({"candidates": 0}, "candidates must be", id="no-candidates"),
        pytest.param({"candidates": "7"}, "candidates must be", id="candidates-string"),
        pytest.param({"limit": 0}, "limit must be", id="limit"),
        pytest.param({"rank_by": []}, "rank_by", id="rank-by"),
    ],
)
def test_invalid_options_are_refused(index, reranker, options, message):
    with pytest.raises(InvalidInput, match=message):
        podium.Search(**{"source": index, "reranker": reranker, **options})


@pytest.mark.parametrize(
    ("query", "documents", "message"),
    [
        pytest.param("", DOCUMENTS, "query is empty", id="empty-query"),
        pytest.param(None, DOCUMENTS, "must be a string", id="no-query"),
        pytest.param("a", "one string", "list of documents", id="string"),
        pytest.param("a", [{"n": 1}], "none of the fields", id="no-text"),
    ],
)
def test_invalid_query_or_candidates_are_refused(reranker, query, documents, message):
    with pytest.raises(InvalidInput, match=message):
        podium.Search(FixedSource(documents), reranker).search(query)
