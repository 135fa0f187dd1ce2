"""EmbeddedIndex with filters: which documents are returned in every mode. Filters change no scores and no order."""

from __future__ import annotations

import asyncio
import enum
import threading
from dataclasses import replace

import pytest

import podium
from capitals import CAPITALS, IDS, index_of_capitals, source_keys
from fakes import Letters
from podium.errors import InvalidInput, SourceError
from podium.sources.embedded.filter_queries import checked_filter, selection
from podium.sources.embedded.vector_search import ALL_COMPARED, nearest_documents
from podium.sources.embedded.vectors import Vectors

MODES = ("text", "vector", "hybrid")
DOCUMENT_COUNT = 60
DOCUMENTS = [
    {
        "text": f"cat number {n}",
        "year": 1990 + n,
        "price": str(n / 2 - 3),
        "kind": ["Book", "map", "Wall map", "été"][n % 4],
        "tags": ["a b", "x|y"] if n % 3 == 0 else [],
        "author": {"name": f"Ann {n % 5}", "born": None if n % 2 else -n},
        "is_new": n > 50,
    }
    for n in range(DOCUMENT_COUNT)
]


@pytest.fixture(scope="module", params=["memory", "folder"])
def index(request, tmp_path_factory):
    folder = None if request.param == "memory" else tmp_path_factory.mktemp("filters") / "index"
    index = podium.EmbeddedIndex.create(folder, embed=Letters())
    index.add(DOCUMENTS[:40], ids=map(str, range(40)))
    index.add([{"text": "cat to delete", "kind": "book", "deleted": 1}], ids=["deleted"])
    index.add(DOCUMENTS[40:], ids=map(str, range(40, DOCUMENT_COUNT)))
    index.delete(["deleted"])
    return index if folder is None else podium.EmbeddedIndex.open(folder, embed=Letters())


def document_numbers(candidates):
    """Return the numbers of the documents in ascending order. They are the ids."""
    return sorted(map(int, source_keys(candidates)))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("expression", "is_match"),
    [
        pytest.param("@kind:{book}", lambda n: n % 4 == 0, id="tag-in-any-case"),
        pytest.param("@kind:{book | wall map}", lambda n: n % 4 in (0, 2), id="two-tags"),
        pytest.param(r"@kind:{wall\ map}", lambda n: n % 4 == 2, id="escaped-space"),
        pytest.param("@kind:{WA*}", lambda n: n % 4 == 2, id="prefix"),
        pytest.param("@kind:{ÉT*}", lambda n: n % 4 == 3, id="prefix-with-accent"),
        pytest.param("@kind:{e\u0301te\u0301}", lambda n: n % 4 == 3, id="accents-of-two-code-points"),
        pytest.param('@tags:{"x|y"}', lambda n: n % 3 == 0, id="item-of-a-list"),
        pytest.param("ismissing(@tags)", lambda n: n % 3 != 0, id="missing"),
        pytest.param("@year:[1995 2000]", lambda n: 5 <= n <= 10, id="range"),
        pytest.param("@year:[(1995 (2000]", lambda n: 5 < n < 10, id="exclusive-range"),
        pytest.param("@year:{1995}", lambda n: n == 5, id="number-as-tag"),
        pytest.param("@price:[-2.5 -1]", lambda n: 1 <= n <= 4, id="numbers-in-strings"),
        pytest.param("@author.born<-50", lambda n: n % 2 == 0 and n > 50, id="nested-number"),
        pytest.param("@author.name:{ann 3}", lambda n: n % 5 == 3, id="nested-tag"),
        pytest.param("@is_new:{true}", lambda n: n > 50, id="boolean"),
        pytest.param("@year>=2000 @kind:{map}", lambda n: n >= 10 and n % 4 == 1, id="and"),
        pytest.param("@year<1992 | @kind:{map}", lambda n: n < 2 or n % 4 == 1, id="or"),
        pytest.param("-@kind:{map} -@year>2000", lambda n: n % 4 != 1 and n <= 10, id="not"),
        pytest.param("-(@kind:{map} | @tags:{a b})", lambda n: n % 4 != 1 and n % 3 != 0, id="not-group"),
        pytest.param("@year!=1990", lambda n: n != 0, id="unequal"),
        pytest.param("(@kind:{map})=>{$weight: 0}", lambda n: n % 4 == 1, id="attributes"),
        pytest.param("@year:[5 1]", lambda n: False, id="empty-range"),
        pytest.param("@kind:{nothing}", lambda n: False, id="unknown-value"),
        pytest.param("*", lambda n: True, id="everything"),
        pytest.param(" ", lambda n: True, id="blank"),
    ],
)
def test_all_documents_that_match_and_no_others_are_returned(index, mode, expression, is_match):
    expected = [n for n in range(DOCUMENT_COUNT) if is_match(n)]
    candidates = index.search("cat", None, mode=mode, filter=expression)
    assert document_numbers(candidates) == expected
    assert candidates.total == len(expected)
    page = index.search("cat", 3, offset=2, mode=mode, filter=expression)
    assert source_keys(page) == source_keys(candidates)[2:5]
    assert page.total == len(expected)


@pytest.mark.parametrize("mode", ["text", "vector"])
def test_filter_changes_no_score_and_no_order(index, mode):
    unfiltered = [hit for hit in index.search("cat number 7", None, mode=mode) if hit["kind"] == "map"]
    filtered = index.search("cat number 7", None, mode=mode, filter="@kind:{map}")
    assert source_keys(filtered) == source_keys(unfiltered)
    assert [hit["source_score"] for hit in filtered] == pytest.approx([hit["source_score"] for hit in unfiltered], rel=1e-6)
    assert [hit["source_rank"] for hit in filtered] == list(range(1, len(filtered) + 1))


def test_filter_of_the_constructor_is_replaced_by_that_of_a_search(index):
    assert index.filter is None
    index.filter = "@kind:{map}"
    try:
        assert {hit["kind"] for hit in index.search("cat", 99)} == {"map"}
        assert {hit["kind"] for hit in index.search("cat", 99, filter="@kind:{book}")} == {"Book"}
        assert len(index.search("cat", 99, filter="*")) == DOCUMENT_COUNT
    finally:
        index.filter = None


@pytest.mark.parametrize("method", ["create", "open"])
def test_index_is_created_and_opened_with_a_filter(tmp_path, method):
    index = podium.EmbeddedIndex.create(tmp_path / "index", filter="@year:[1800 1900]")
    index.add(CAPITALS, ids=IDS)
    if method == "open":
        index = podium.EmbeddedIndex.open(tmp_path / "index", filter="@year:[1800 1900]")
    assert source_keys(index.search("capital", 9)) == ["n"]
    assert len(index) == 4


@pytest.mark.parametrize("value", [5, ["@a:{x}"], "kind:book", "@kind:{"], ids=str)
def test_invalid_filter_is_refused_before_documents_are_searched(tmp_path, index, value):
    with pytest.raises(InvalidInput, match="filter"):
        podium.EmbeddedIndex.create(tmp_path / "index", filter=value)
    assert not (tmp_path / "index").exists()
    with pytest.raises(InvalidInput, match="filter"):
        index.search("cat", 9, filter=value)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        pytest.param("@knd:{map}", "no document has the field 'knd' of the filter; did you mean 'kind'?", id="misspelled"),
        pytest.param("@KIND:{map}", "did you mean 'kind'?", id="capitals"),
        pytest.param("@author.nam:{x}", "did you mean 'author.name'?", id="nested"),
        pytest.param("-ismissing(@yaer)", "did you mean 'year'?", id="missing"),
        pytest.param("@kind:{map} | (-@zzz>3)", "field 'zzz' of the filter; the documents have .*author.name", id="list"),
        pytest.param("@kind:[1 2]", "the field 'kind' of the filter has no numbers; write @kind:{value}", id="number"),
        pytest.param("@deleted:{1}", "no document has the field 'deleted'", id="only-in-a-deleted-document"),
        pytest.param("@" + "x" * 10_000 + ":{y}", "no document has the field 'xxx", id="long-name"),
    ],
)
def test_unknown_field_is_an_error_with_a_suggestion(index, expression, message):
    for mode in MODES:
        with pytest.raises(SourceError, match=message.replace("?", r"\?").replace("{", r"\{")) as caught:
            index.search("cat", 9, mode=mode, filter=expression)
        assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param('" "', "the filter has an empty value", id="blank"),
        pytest.param(r"\ ", r"write ismissing\(@field\) for missing values", id="escaped-space"),
        pytest.param("*", "the filter has an empty value", id="empty-prefix"),
        pytest.param("x" * 201, "has a value of 201 characters; only values of at most 200 are indexed", id="long"),
    ],
)
def test_value_that_no_document_can_have_is_refused(index, value, message):
    with pytest.raises(InvalidInput, match=message):
        index.search("cat", 9, filter=f"@kind:{{{value}}}")


def test_candidates_have_a_note_if_some_values_are_too_long_for_the_filter():
    index = podium.EmbeddedIndex.create(None)
    index.add([{"text": "cat", "url": "a" * 201}, {"text": "cat", "url": "b" * 200}], ids=["long", "short"])
    candidates = index.search("cat", 9, filter="@url:{b*}")
    assert source_keys(candidates) == ["short"]
    assert list(candidates.notes) == [
        "the filter does not find values of 'url' with more than 200 characters; some documents have one"
    ]
    assert source_keys(index.search("cat", 9, filter="-ismissing(@url)")) == ["long", "short"]


def test_empty_index_can_be_filtered_by_any_field():
    index = podium.EmbeddedIndex.create(None, embed=Letters())
    for mode in MODES:
        assert index.search("cat", 9, mode=mode, filter="@year:[1 2]") == []


def test_replaced_document_is_filtered_by_its_new_fields():
    index = index_of_capitals(None)
    index.add([{"text": "Flour", "year": 2001}], ids=["n"])
    for mode in MODES:
        assert index.search("capital", 9, mode=mode, filter="@year==1864") == []
        assert index.search("flour", 9, mode=mode, filter="@year==2001")[0]["source_key"] == "n"


def test_string_is_filtered_as_a_value_of_the_first_text_field():
    index = podium.EmbeddedIndex.create(None, text=["title", "body"])
    index.add(["a cat", {"title": "dog", "body": "cat"}], ids=["a", "b"])
    assert source_keys(index.search("cat", 9, filter="@title:{A Cat}")) == ["a"]


def test_redisvl_expression_is_a_filter(index):
    filters = pytest.importorskip("redisvl.query.filter")
    kind, year = filters.Tag("kind"), filters.Num("year")
    assert document_numbers(index.search("cat", 99, filter=(kind == ["book", "wall map"]) & (year > 2000))) == [
        n for n in range(DOCUMENT_COUNT) if n % 4 in (0, 2) and n > 10
    ]
    assert document_numbers(index.search("cat", 99, filter=(kind != "map") | (year == 1991))) == [
        n for n in range(DOCUMENT_COUNT) if n % 4 != 1 or n == 1
    ]
    assert document_numbers(index.search("cat", 99, filter=year.between(1995, 2000, "neither"))) == [6, 7, 8, 9]
    assert document_numbers(index.search("cat", 99, filter=kind % "wa*")) == [n for n in range(DOCUMENT_COUNT) if n % 4 == 2]
    with pytest.raises(InvalidInput, match="whole values, not words"):
        index.search("cat", 99, filter=filters.Text("text") == "cat")


def test_asearch_takes_a_filter_and_counts_on_its_thread(index):
    candidates = asyncio.run(index.asearch("cat", 3, offset=1, mode="text", filter="@kind:{map}"))
    assert list(candidates) == list(index.search("cat", 3, offset=1, mode="text", filter="@kind:{map}"))
    assert candidates.total == DOCUMENT_COUNT // 4


def test_podium_search_uses_the_filter_of_its_source(mini):
    index = podium.EmbeddedIndex.create(None, filter="@year:[1995 1997]")
    index.add(DOCUMENTS)
    ranking = podium.Search(index, mini).search("cat", limit=10)
    assert sorted(result.document["year"] for result in ranking) == [1995, 1996, 1997]
    assert ranking.total == 3


def test_threads_filter_while_another_adds(tmp_path):
    index = podium.EmbeddedIndex.create(tmp_path / "index", embed=Letters())
    index.add(DOCUMENTS, ids=map(str, range(DOCUMENT_COUNT)))
    problems = []
    is_done = threading.Event()

    def search(mode):
        try:
            while not is_done.is_set():
                candidates = index.search("cat", None, mode=mode, filter="@kind:{map}")
                assert len(candidates) == candidates.total >= DOCUMENT_COUNT // 4
                assert {hit["kind"] for hit in candidates} == {"map"}
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=search, args=(mode,)) for mode in ("text", "vector")]
    for thread in threads:
        thread.start()
    for start in range(DOCUMENT_COUNT, DOCUMENT_COUNT + 40, 4):
        index.add([{"text": f"cat {start}", "kind": kind} for kind in ("map", "book", "map", "x")])
    is_done.set()
    for thread in threads:
        thread.join()
    assert not problems
    assert len(index.search("cat", None, filter="@kind:{map}")) == DOCUMENT_COUNT // 4 + 20


def selected(index, expression, **changes):
    """Return a snapshot of an index, and the filter's Selection of its documents with changed attributes."""
    snapshot = index._snapshot()
    return snapshot, replace(selection(checked_filter(expression), snapshot), **changes)


@pytest.mark.parametrize("limit", [1, 5, 15, 99])
@pytest.mark.parametrize("query", ["cat", "number 17", "zzz"])
def test_large_selection_is_searched_with_the_same_result_as_a_small_one(index, query, limit):
    """All documents of a small selection are compared. For a large one, the nearest of all rows are read until enough fit."""
    snapshot, small = selected(index, "@kind:{map}")
    assert small.count <= ALL_COMPARED
    large = replace(small, count=ALL_COMPARED + 1)
    vectors = index._vectors.current()
    hits_of_small = nearest_documents(vectors, index.embed, snapshot, query, limit, small)
    hits_of_large = nearest_documents(vectors, index.embed, snapshot, query, limit, large)
    assert [hit.key for hit in hits_of_small] == [hit.key for hit in hits_of_large]
    assert [hit.score for hit in hits_of_small] == pytest.approx([hit.score for hit in hits_of_large], abs=1e-6)
    assert len(hits_of_small) == min(limit, DOCUMENT_COUNT // 4)


class GraphThatFindsTwo(Vectors):
    """Vectors whose searches return at most two rows, as a graph in which the others cannot be reached."""

    def nearest(self, query, count):
        return super().nearest(query, min(count, 2))


def test_no_result_is_lost_if_a_graph_returns_too_few():
    index = podium.EmbeddedIndex.create(None, embed=Letters())
    index.add(DOCUMENTS)
    generation = index._vectors.current()
    vectors = GraphThatFindsTwo(None, 8)
    vectors.append(generation.vectors.rows())
    snapshot, large = selected(index, "@kind:{map}", count=ALL_COMPARED + 1)
    hits = nearest_documents(replace(generation, vectors=vectors), index.embed, snapshot, "cat", 99, large)
    assert len(hits) == DOCUMENT_COUNT // 4


def test_document_without_a_vector_is_found_by_text_only():
    index = podium.EmbeddedIndex.create(None, text=["title", "text"], embed=Letters())
    index.add([{"title": "cat", "text": "", "n": 1}, {"title": " ", "text": " ", "n": 2}], ids=["a", "blank"])
    candidates = index.search("cat", 9, mode="vector", filter="@n:[1 2]")
    assert source_keys(candidates) == ["a"]
    assert candidates.total == 2
    assert index.search("cat", 9, mode="vector", filter="@n==2") == []


EXTREMES = [-1e308, -2.5, -1, 0, 5e-324, 0.1, 3, 2**53, 1e18, 1e308, float("inf")]


@pytest.mark.parametrize("numbers_in_index", [EXTREMES, EXTREMES[5:], [1, 2, 3]], ids=["all", "positive", "integers"])
def test_ranges_are_exact_for_all_numbers(numbers_in_index):
    index = podium.EmbeddedIndex.create(None)
    index.add([{"text": "cat", "n": number} for number in numbers_in_index])
    for limit in EXTREMES:
        for operator, is_match in (("<", float.__lt__), ("<=", float.__le__), (">", float.__gt__), ("==", float.__eq__)):
            candidates = index.search("cat", 99, filter=f"@n{operator}{limit!r}")
            expected = [number for number in numbers_in_index if is_match(float(number), float(limit))]
            assert sorted(hit["n"] for hit in candidates) == expected


@pytest.mark.parametrize("mode", MODES)
def test_many_values_of_a_filter(index, mode):
    years = " | ".join(map(str, range(-20_000, 20_000)))
    assert len(index.search("cat", None, mode=mode, filter=f"@year:{{{years}}}")) == DOCUMENT_COUNT


def test_number_beside_a_control_character_is_a_number():
    index = podium.EmbeddedIndex.create(None)
    index.add([{"text": "red", "year": "1990\x1f"}], ids=["a"])
    assert [document["source_key"] for document in index.search("red", 5, filter="@year:[1990 1990]")] == ["a"]


def test_space_at_the_end_of_a_prefix_is_part_of_it():
    index = podium.EmbeddedIndex.create(None, language=None)
    index.add([{"text": "a", "place": "New York"}, {"text": "a", "place": "newspaper"}], ids=["city", "paper"])
    assert source_keys(index.search("a", 9, filter=r"@place:{new\ *}")) == ["city"]
    assert sorted(source_keys(index.search("a", 9, filter="@place:{new*}"))) == ["city", "paper"]


class Kind(str, enum.Enum):
    BOOK = "book"


def test_member_of_an_enum_is_filtered_as_it_is_stored():
    index = podium.EmbeddedIndex.create(None, language=None)
    index.add([{"text": "a", "kind": Kind.BOOK}], ids=["book"])
    assert index.get(["book"])["book"]["kind"] == "book"
    assert source_keys(index.search("a", 9, filter="@kind:{book}")) == ["book"]


@pytest.mark.parametrize("space", ["  ", "\t", "\u00a0"], ids=ascii)
def test_white_space_at_the_end_of_a_prefix_is_exact(space):
    index = podium.EmbeddedIndex.create(None, language=None)
    index.add([{"text": "a", "place": "a b"}, {"text": "a", "place": f"a{space}b"}], ids=["space", "other"])
    escaped = "".join(f"\\{character}" for character in space)
    assert source_keys(index.search("a", 9, filter=f"@place:{{a{escaped}*}}")) == ["other"]
