"""Documents and ids of an EmbeddedIndex: added, replaced, deleted, returned unchanged, or refused."""

from __future__ import annotations

import numpy as np
import pytest

import podium
from capitals import CAPITALS, IDS, index_of_capitals, source_keys
from fakes import Letters
from podium.errors import InvalidInput, SourceError


class Unserializable:
    text = "object"


def nested(depth):
    """Return lists inside each other, `depth` of them."""
    value = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.fixture(params=["memory", "folder"])
def index(request, tmp_path):
    return index_of_capitals(None if request.param == "memory" else tmp_path / "index")


def test_document_may_be_nested_100_levels_deep(index):
    index.add([{"text": "a", "x": nested(99)}], ids=["deep"])
    assert index.get(["deep"]) == {"deep": {"text": "a", "x": nested(99)}}


@pytest.mark.parametrize("depth", [100, 900, 100_000])
def test_document_that_is_nested_more_deeply_is_refused(index, depth):
    with pytest.raises(InvalidInput, match="document 1 is nested more than 100 levels deep"):
        index.add(["shallow", {"text": "a", "x": nested(depth)}])


def test_document_with_nan_is_recognized_as_unchanged(index):
    """NaN is not equal to itself, so podium cannot compare the values."""
    document = {"text": "a", "x": float("nan"), "y": [float("inf"), -1.5]}
    index.add([document], ids=["numbers"])
    assert index.get(["numbers"])["numbers"]["y"] == [float("inf"), -1.5]
    assert index.unchanged([document], ["numbers"]) == {"numbers"}
    assert index.unchanged([document | {"x": 1}], ["numbers"]) == set()


def test_document_replaces_the_one_with_its_id(index):
    index.add([{"text": "rye"}], ids=["b"])
    assert len(index) == 4
    assert index.get(["b", "unknown"]) == {"b": {"text": "rye"}}
    assert source_keys(index.search("flour", 5, mode="text")) == []
    assert source_keys(index.search("rye", 5, mode="text")) == ["b"]
    assert sorted(source_keys(index.search("rye", 9, mode="vector"))) == sorted(IDS)


def test_deleted_document_is_not_found(index):
    assert index.delete(["n", "unknown", "n"]) == 1
    assert len(index) == 3
    for mode in ("text", "vector", "hybrid"):
        assert "n" not in source_keys(index.search("the capital city of Nevada", 9, mode=mode))
    assert len(index.search("x", 3, mode="vector")) == 3
    assert index.delete([]) == 0


def test_documents_are_deleted_without_the_embedder(tmp_path):
    index_of_capitals(tmp_path / "index")
    assert podium.EmbeddedIndex.open(tmp_path / "index").delete(["n", "c"]) == 2
    reopened = podium.EmbeddedIndex.open(tmp_path / "index", embed=Letters())
    for mode in ("text", "vector", "hybrid"):
        assert set(source_keys(reopened.search("the capital flour", 9, mode=mode))) <= {"s", "b"}
    assert sorted(source_keys(reopened.search("x", 9, mode="vector"))) == ["b", "s"]
    assert reopened.get(IDS).keys() == {"s", "b"}


def test_all_documents_are_deleted_and_added_again(index):
    assert index.delete(IDS) == len(IDS)
    assert len(index) == 0
    for mode in ("text", "vector", "hybrid"):
        assert index.search("capital", 9, mode=mode) == []
        assert index.search("capital", 9, mode=mode, filter="@year:[1 2]") == []
    index.add(CAPITALS, ids=IDS)
    assert sorted(source_keys(index.search("x", 9, mode="vector"))) == sorted(IDS)


def test_many_documents_are_deleted_by_any_ids(index):
    unusual = ["a b", "é", "e\u0301", "\x00", "東京", '"', "-n", "n ", "N", "\n", "x" * 1_000]
    ids = [*unusual, *(f"number {n}" for n in range(2_000))]
    index.add(["a cat"] * len(ids), ids=ids)
    assert index.delete(ids[1:]) == len(ids) - 1
    assert sorted(source_keys(index.search("cat", 9, mode="text"))) == ["a b"]
    assert len(index) == len(IDS) + 1


def test_documents_are_returned_as_they_were_added(tmp_path):
    unusual = {"text": "a\ud800b\x00", "é ☃": [1.5, None, True, {"deep": ["x"]}], "big": 10**30, "source_key": "mine"}
    index = podium.EmbeddedIndex.create(tmp_path / "index")
    index.add(["plain", unusual, {"text": ""}], ids=["p", "u", "e"])
    reopened = podium.EmbeddedIndex.open(tmp_path / "index")
    assert reopened.get(["p", "u", "e"]) == {"p": {"text": "plain"}, "u": unusual | {"text": "a�b\x00"}, "e": {"text": ""}}
    assert len(reopened) == 3


def test_string_is_stored_as_the_first_searched_field(mini):
    index = podium.EmbeddedIndex.create(None, text=["title", "body"])
    index.add(["a ripe red apple", {"title": "sea", "body": "night"}], ids=["a", "b"])
    assert index.get(["a"]) == {"a": {"title": "a ripe red apple"}}
    assert podium.Search(index, mini).search("a red apple")[0].document["source_key"] == "a"


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        pytest.param([{"text": "a", "x": Unserializable()}], "document 0 cannot be written as JSON", id="value"),
        pytest.param(["a", Unserializable()], "document 1 is a Unserializable; an index takes strings", id="object"),
        pytest.param([None], "document 0 is a NoneType", id="none"),
        pytest.param([{1: "a", "text": "b"}], "whose name is not a string", id="name"),
        pytest.param("one string", "docs must be a list", id="string"),
        pytest.param(["a", {"body": "a"}], "document 1 has none of the fields", id="no-text"),
    ],
)
def test_invalid_document_is_refused_and_nothing_is_added(index, documents, message):
    for method in (index.add, index.check):
        with pytest.raises(InvalidInput, match=message):
            method(documents)
    assert len(index) == 4


def test_check_names_a_document_by_its_number():
    index = podium.EmbeddedIndex.create(None, text=["title", "text"])
    with pytest.raises(InvalidInput, match="document 7 has no field title, text; it has body"):
        index.check([{"body": "a"}], first_number=7)
    with pytest.raises(InvalidInput, match="document 8 is a int"):
        index.check(["a", 5], first_number=7)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        pytest.param(["a"], "1 ids for 2 documents", id="too-few"),
        pytest.param(["a", "a"], "two documents have the id 'a'", id="repeated"),
        pytest.param("ab", "list of strings", id="string"),
        pytest.param([1, 2], "list of strings", id="numbers"),
        pytest.param(5, "list of strings", id="number"),
        pytest.param(["a", "b" * 2000], "2000 characters; an id has at most 1000", id="too-long"),
    ],
)
def test_invalid_ids_of_new_documents_are_refused(index, ids, message):
    with pytest.raises(InvalidInput, match=message):
        index.add(["x", "y"], ids=ids)
    assert len(index) == 4


@pytest.mark.parametrize("ids", ["n", 5, [5], [None]], ids=str)
def test_invalid_ids_are_refused(index, ids):
    for method in (index.delete, index.get):
        with pytest.raises(InvalidInput, match="ids must be a list of strings"):
            method(ids)


def test_id_that_is_not_unicode_is_not_found(index):
    assert index.get(["\ud800"]) == {}


def test_nothing_is_added_if_the_embedder_fails(tmp_path):
    calls = []

    def embed(texts):
        calls.append(texts)
        if len(calls) > 2:  # the first call checks the embedder, the second is that of "one"
            raise RuntimeError("out of memory")
        return Letters()(texts)

    index = podium.EmbeddedIndex.create(tmp_path / "index", embed=embed)
    index.add(["one"])
    with pytest.raises(SourceError, match="the embedder failed with RuntimeError"):
        index.add(["two", "three"])
    assert len(podium.EmbeddedIndex.open(tmp_path / "index")) == 1


def test_nothing_is_added_if_the_embedder_returns_other_dimensions():
    dimensions = iter([4, 4, 3])
    index = podium.EmbeddedIndex.create(None, embed=lambda texts: np.ones((len(texts), next(dimensions))))
    index.add(["one"])
    with pytest.raises(SourceError, match="returned 3 dimensions; this index has 4"):
        index.add(["two"])
    assert len(index) == 1


def test_unchanged_documents_are_recognized(index):
    changed = [CAPITALS[0], CAPITALS[1] | {"text": "other"}, CAPITALS[2]]
    assert index.unchanged(changed, ["n", "s", "unknown"]) == {"n"}
