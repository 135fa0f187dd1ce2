"""RedisSource: modes, fusion, pages, filters, and the fields of the documents it returns."""

from __future__ import annotations

import asyncio
import itertools

import numpy as np
import pytest
from redisvl.index import SearchIndex
from redisvl.query.filter import Num, Tag

import podium
from environment import ROOT
from podium.errors import InvalidInput, SourceError
from podium.formats import stream_documents
from podium.sources.loading import load_into, with_ids
from podium.sources.redis import admin
from podium.sources.redis.index import RedisIndex
from redisearch import (
    DOCUMENTS,
    IDS,
    INFO,
    IS_RECORDING,
    NAME,
    RECORDINGS,
    TEXT_FIELD,
    WITH_CAPITAL,
    answering,
    embed,
    exclusive_server,
    ids_of,
    source_at,
)
from resp import FakeRedis, Recorder

MODES = ("text", "vector", "hybrid")


def is_in_order(documents):
    """Whether scores descend, and ranks are 1, 2, …"""
    scores = [document["source_score"] for document in documents]
    ranks = [document["source_rank"] for document in documents]
    return scores == sorted(scores, reverse=True) and ranks == list(range(1, len(documents) + 1))


@pytest.mark.recording("modes")
def test_every_mode_returns_complete_documents_best_first(server):
    server.load()
    source = server.source()
    for mode in MODES:
        documents = source.search("the capital city?", 3, mode=mode)
        assert is_in_order(documents), mode
        for document in documents:
            original = DOCUMENTS[int(document["source_key"][-1])]
            fields = {name: value for name, value in document.items() if not name.startswith("source_")}
            assert fields == original | {"year": str(original["year"])}, mode
        assert asyncio.run(source.asearch("the capital city?", 3, mode=mode)) == documents, mode
    assert ids_of(source.search("the capital city?", 3, mode="text"))[0] == "d0"


@pytest.mark.recording("hybrid")
def test_hybrid_search_is_fused_by_reciprocal_rank_or_a_weighted_sum(server):
    server.load()
    source = server.source()
    assert source.mode == "hybrid"
    assert "if the server has it" in source.explain()
    by_text, by_vector = (source.search("capital of states", 5, mode=mode) for mode in ("text", "vector"))
    ranks = [dict(zip(ids_of(documents), itertools.count(1), strict=False)) for documents in (by_text, by_vector)]
    expected = {key: sum(1 / (60 + rank[key]) for rank in ranks if key in rank) for key in IDS}
    assert scores_by_id(source.search("capital of states", 5)) == pytest.approx(expected)
    assert "fused here by reciprocal rank: this server has no FT.HYBRID" in source.explain()

    weighted = server.source(fusion="weighted", text_weight=0.4)
    best_score = by_text[0]["source_score"]
    expected = {key: 0.6 * score for key, score in scores_by_id(by_vector).items()}
    for key, score in scores_by_id(by_text).items():
        expected[key] += 0.4 * score / best_score
    assert scores_by_id(weighted.search("capital of states", 5)) == pytest.approx(expected)
    assert "weighted sum, text 0.4" in weighted.explain()


def scores_by_id(documents):
    return dict(zip(ids_of(documents), (document["source_score"] for document in documents), strict=True))


@pytest.mark.parametrize("protocol", [2, 3])
def test_ft_hybrid_takes_one_round_trip_with_named_fields(protocol):
    rows = [
        {"__key": "k:2", "__score": "0.0325", "content": "green", "embedding": b"\x00\x00\x80?" * 4},
        {"__key": "k:1", "__score": "0.016", "content": "red"},
    ]
    reply = {"total_results": 2, "results": rows, "warnings": [], "execution_time": 0.4}
    kind = {"identifier": "kind", "attribute": "kind", "type": "TAG"}
    info = INFO | {"attributes": [*INFO["attributes"], kind]}
    options = {"embed": embed, "return_fields": ["content"], "connection": {"protocol": protocol}}
    with (
        FakeRedis(answering({"FT.INFO": info, "FT.HYBRID": reply}, protocol)) as fake,
        source_at(fake.url, **options) as source,
    ):
        documents = source.search("red | @x", 2, filter=Tag("kind") == "a")
        assert documents == [
            {"content": "green", "source_key": "k:2", "source_score": 0.0325, "source_rank": 1},
            {"content": "red", "source_key": "k:1", "source_score": 0.016, "source_rank": 2},
        ]
        assert "FT.HYBRID" in source.explain()
        assert fake.command_names() == ["FT.INFO", "GET", "FT.HYBRID"]
        command = fake.commands[2]
        assert command[2:4] == ("SEARCH", "@content:(red | x) (@kind:{a})")
        assert command[command.index("COMBINE") :][:7] == ("COMBINE", "RRF", "4", "CONSTANT", "60", "WINDOW", "100")
        assert command[command.index("FILTER") + 1] == "@kind:{a}"
        assert command[command.index("LOAD") :][:5] == ("LOAD", "3", "@__key", "@__score", "@content")


def test_documents_that_are_deleted_before_they_are_fetched_are_left_out():
    """One document is deleted between FT.HYBRID, which returns keys, and FT.SEARCH, which returns documents."""
    rows = [{"__key": f"k:{i}", "__score": str(1 - i / 10)} for i in range(3)]
    reply = {"total_results": 3, "results": rows, "warnings": [], "execution_time": 0.4}
    documents = [2, "k:2", ["content", "green", "more", "kept"], "k:0", ["content", "red"]]
    replies = {"FT.INFO": INFO, "FT.HYBRID": reply, "FT.SEARCH": documents}
    with FakeRedis(answering(replies)) as fake, source_at(fake.url, embed=embed) as source:
        assert source.search("red", 3) == [
            {"content": "red", "source_key": "k:0", "source_score": 1.0, "source_rank": 1},
            {"content": "green", "more": "kept", "source_key": "k:2", "source_score": 0.8, "source_rank": 2},
        ]
        assert fake.commands[3][2:7] == ("*", "INKEYS", "3", "k:0", "k:1")


@pytest.mark.recording("index-names")
def test_indexes_whose_names_share_a_prefix_are_separate(server):
    server.load()
    server.load([{"content": "capital of another index"}], ["x"], f"{NAME}2")
    server.load([{"content": "capital of an index with a colon in its name"}], ["y"], f"{NAME}:en")
    assert len(server.source(mode="text").search("capital", 9)) == 3
    documents = server.source(f"{NAME}:en", mode="text").search("capital", 9)
    assert [document["source_key"] for document in documents] == [f"{NAME}%3Aen:y"]


@pytest.mark.recording("field-names")
def test_field_names_may_contain_spaces_and_dashes(server):
    fields = {"text": ["the content", "b-c"], "tags": ["tags"], "numbers": [], "embed": None}
    document = {"the content": "a red apple", "b-c": "x", "tags": ["fruit", "red thing"]}
    server.load([document], ["a"], **fields)
    source = server.source(text={"the content": 2, "b-c": 1}, mode="text", filter=Tag("tags") == "red thing", embed=None)
    assert ids_of(source.search("apple", 3)) == ["a"]


@pytest.mark.recording("filters")
def test_filters_apply_in_every_mode(server):
    server.load()
    source = server.source()
    for mode in MODES:
        documents = source.search("capital", 5, mode=mode, filter=Tag("kind") == "book")
        assert set(ids_of(documents)) == {"d1", "d3"}, mode
        documents = source.search("capital", 5, mode=mode, filter=(Num("year") > 1800) & (Tag("kind") == "wiki"))
        assert set(ids_of(documents)) == {"d0"}, mode
        assert source.search("capital", 5, mode=mode, filter="@year:[3000 +inf]") == [], mode
    source.filter = Tag("kind") == "book"
    assert set(ids_of(source.search("capital", 5, mode="text"))) == {"d1", "d3"}


@pytest.mark.recording("filter-scores")
def test_tags_of_a_filter_add_to_scores_unless_their_weight_is_zero(server):
    server.load()
    source = server.source(mode="text")
    unfiltered = scores_by_id(source.search("capital", 5))
    for filter_text, is_equal in [("@kind:{book}", False), ("(@kind:{book})=>{$weight: 0}", True), ("@year:[1700 2000]", True)]:
        scores = scores_by_id(source.search("capital", 5, filter=filter_text))
        assert (scores["d1"] == pytest.approx(unfiltered["d1"])) == is_equal, filter_text


@pytest.mark.recording("text-fields")
def test_text_fields_can_be_several_and_weighted(server):
    server.load()
    content = server.source(text="content", mode="text")
    assert "d2" not in ids_of(content.search("capital", 5))
    weighted = server.source(text={"content": 1, "title": 50}, mode="text")
    assert ids_of(weighted.search("capital", 5))[0] == "d2"
    all_fields = server.source(text=None, mode="text")
    assert set(ids_of(all_fields.search("capital", 5))) == WITH_CAPITAL
    assert set(all_fields.text_fields) == {"content", "title"}


@pytest.mark.recording("return-vectors")
def test_vectors_are_returned_only_if_they_are_named(server):
    server.load()
    for mode in MODES:
        source = server.source(mode=mode, return_fields=["title", "embedding"])
        for document in source.search("capital", 2):
            original = DOCUMENTS[int(document["source_key"][-1])]
            assert document["embedding"] == embed([f"{original['content']} {original['title']}"])[0].tolist(), mode
            assert set(document) == {"title", "embedding", "source_key", "source_score", "source_rank"}, mode


@pytest.mark.recording("distances")
def test_distances_become_similarities(server):
    query_vector = embed(["a cassis"])[0]
    client = server.client()
    for metric, algorithm in itertools.product(("cosine", "ip", "l2"), ("flat", "hnsw")):
        name = f"{NAME}-{metric}-{algorithm}"
        attributes = {"dims": 4, "algorithm": algorithm, "distance_metric": metric, "datatype": "float32"}
        fields = [{"name": "content", "type": "text"}, {"name": "embedding", "type": "vector", "attrs": attributes}]
        schema = {"index": {"name": name, "prefix": name, "storage_type": "hash"}, "fields": fields}
        SearchIndex.from_dict(schema, redis_client=client).create()
        for i, document in enumerate(DOCUMENTS):
            vector = embed([document["content"]])[0]
            client.hset(f"{name}:{i}", mapping={"content": document["content"], "embedding": vector.tobytes()})
        source = server.source(name, mode="vector", ef_runtime=50 if algorithm == "hnsw" else None)
        documents = source.search("a cassis", 5)
        assert len(documents) == 5, name
        for document in documents:
            vector = embed([document["content"]])[0]
            expected = similarity(metric, vector.astype(float), query_vector.astype(float))
            assert document["source_score"] == pytest.approx(expected, abs=1e-5), name


def similarity(metric, vector, other):
    """Return the score of a document for a distance metric of RediSearch."""
    if metric == "l2":
        return 1 / (1 + ((vector - other) ** 2).sum())
    product = vector @ other
    return product / (np.linalg.norm(vector) * np.linalg.norm(other)) if metric == "cosine" else product


@pytest.mark.recording("pages")
def test_pages_are_parts_of_the_complete_results_and_have_their_total(server):
    server.load()
    for mode, total in (("text", 3), ("vector", 5), ("hybrid", 5)):
        source = server.source(mode=mode)
        documents = source.search("the capital city?", 5)
        pages = [source.search("the capital city?", 2, offset=offset) for offset in (0, 2, 4)]
        assert [document for page in pages for document in page] == documents, mode
        assert {page.total for page in pages} == {documents.total} == {total}, mode
        assert source.search("capital", 2, offset=9) == [], mode
        assert asyncio.run(source.asearch("the capital city?", 2, offset=2)) == pages[1], mode


@pytest.mark.recording("equal-distances")
def test_pages_of_equal_distances_repeat_no_document(server):
    """The server orders equal distances differently if another number of documents is requested."""
    documents = [{"content": "a" + "c" * (number % 3) + "s" * (number % 20), "private": "x"} for number in range(240)]
    for name, options in ((f"{NAME}-flat", {}), (f"{NAME}-hnsw", {"m": 16})):
        server.load(documents, [str(number) for number in range(240)], name, text="content", tags=[], numbers=[], **options)
        source = server.source(name, mode="vector")
        ranking = [document["source_key"] for document in source.search("any", 130)]
        assert len(set(ranking)) == 130, name
        for offset, size in ((0, 10), (10, 10), (90, 20), (110, 20)):
            page = source.search("any", size, offset=offset)
            assert [document["source_key"] for document in page] == ranking[offset : offset + size], (name, offset)
        source = server.source(name, mode="vector", return_fields=["content"])
        for document in source.search("any", 10, offset=95):
            assert set(document) == {"content", "source_key", "source_score", "source_rank"}, name
        async_page = asyncio.run(source.asearch("any", 20, offset=90))
        assert [document["source_key"] for document in async_page] == ranking[90:110], name


@pytest.mark.recording("zero-vectors")
def test_documents_whose_vector_is_zero_have_no_vector(server):
    """The distance of a vector of zeros is NaN, which would disturb the order of the other documents."""

    def embed_or_zero(texts):
        rows = embed(texts)
        rows[[not text.startswith("The") for text in texts]] = 0
        return rows

    documents = [{"content": f"{'The' if number % 3 else 'No'} {'c' * number}"} for number in range(30)]
    ids = [str(number) for number in range(30)]
    server.load(documents, ids, text="content", tags=[], numbers=[], embed=embed_or_zero)
    hits = server.source(mode="vector", embed=embed_or_zero).search("The cccc", 30)
    assert sorted(ids_of(hits), key=int) == [number for number in ids if int(number) % 3]
    assert is_in_order(hits)


@pytest.mark.recording("rerank")
def test_reranked_documents_have_the_ranks_and_scores_of_the_source(server, mini):
    server.load()
    ranking = podium.Search(server.source(), mini, candidates=4, limit=2).search("capital of the United States")
    assert [result.rank for result in ranking] == [1, 2]
    for result in ranking:
        assert result.source_rank == result.document["source_rank"] == result.index + 1
        assert result.source_score == result.document["source_score"]
    assert ranking.usage.source_seconds > 0


@pytest.mark.recording("rerank-pages")
def test_pages_of_a_reranked_search(server, mini):
    server.load()
    search = podium.Search(server.source(mode="text"), mini, candidates=3)
    ranking = search.search("the capital city?")
    page = search.search("the capital city?", limit=1, offset=1)
    assert [result.rank for result in page] == [2]
    assert page[0].document == ranking[1].document
    assert page.total == ranking.total == page.to_dict()["total"] == 3
    with pytest.raises(InvalidInput, match="offset=3 skips all 3 candidates"):
        search.search("capital", offset=3)


@pytest.mark.recording("missing")
def test_missing_index_and_wrong_filter_are_errors(server):
    server.load()
    with pytest.raises(SourceError, match=r"there is no index 'podium-test-none' on .*; FT._LIST"):
        server.source(f"{NAME}-none").search("capital", 3)
    with pytest.raises(SourceError, match=r"cannot parse the filter for index 'podium-test'"):
        server.source(filter="@kind:{").search("capital", 3)


ATTRIBUTES = [
    *INFO["attributes"],
    {"identifier": "kind", "attribute": "kind", "type": "TAG"},
    {"identifier": "year", "attribute": "year", "type": "NUMERIC"},
]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"text": "body"}, r"does not have the text field 'body'; it has content \(TEXT\)", id="text"),
        pytest.param({"text": "kind"}, r"does not have the text field 'kind'", id="text is a tag"),
        pytest.param({"vector": "v"}, r"does not have the vector field 'v'", id="vector"),
        pytest.param(
            {"embed": lambda texts: [[1.0, 2.0]] * len(texts)},
            r"has 4 dimensions, the embedder returns 2",
            id="dimensions",
        ),
        pytest.param({"filter": "@nope:{x}"}, r"does not have the field 'nope' of the filter; it has", id="filter"),
        pytest.param(
            {"filter": Num("content") == 3},
            "does not have a NUMERIC or GEO field 'content', which the filter compares with a range",
            id="range of a text",
        ),
        pytest.param(
            {"filter": Tag("year") == "3"},
            "does not have a TAG field 'year', which the filter compares with tags",
            id="tag of a number",
        ),
        pytest.param(
            {"filter": "@year:apple"},
            "does not have a TEXT field 'year', which the filter compares with words",
            id="word of a number",
        ),
        pytest.param(
            {"filter": "@kind > 3"},
            "does not have a NUMERIC field 'kind', which the filter compares with a number",
            id="comparison of a tag",
        ),
    ],
)
def test_field_that_is_missing_or_of_another_kind_is_an_error(options, message):
    """Without this check, RediSearch would return no results and no error."""
    info = INFO | {"attributes": ATTRIBUTES}
    with (
        FakeRedis(answering({"FT.INFO": info})) as fake,
        source_at(fake.url, **{"embed": embed} | options) as source,
        pytest.raises(SourceError, match=message),
    ):
        source.search("capital", 3)


def test_index_without_text_fields_cannot_be_searched_by_text():
    info = INFO | {"attributes": [TEXT_FIELD | {"type": "TAG"}]}
    with (
        FakeRedis(answering({"FT.INFO": info})) as fake,
        source_at(fake.url, text=None) as source,
        pytest.raises(SourceError, match="does not have a text field"),
    ):
        source.search("capital", 3)


@pytest.mark.skipif(not IS_RECORDING, reason="this test only makes the recording that docs/make.py replays")
def test_example_of_the_readme_is_recorded():
    """Uses an index named as in the example of docs/search.md, and drops it afterwards."""
    documents = list(with_ids(stream_documents(ROOT / "docs" / "documents.jsonl"), None))
    with exclusive_server() as url:
        index = RedisIndex(url, "capitals", text=["title", "content"])
        index.prepare(len(documents))
        load_into(index, documents, lambda count: None)
        host, _, port = index.server.address.partition(":")
        with Recorder(host, int(port), RECORDINGS / "readme.json") as recorder:
            options = {"index": "capitals", "text": ["title", "content"]}
            with source_at(recorder.url, **options) as source:
                assert source.search("capital of the United States", 100)
        index.close()
        admin.drop(url, "capitals")
