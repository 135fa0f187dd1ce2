"""Documents become text, every one of them, or the call says which one can't and why."""

from __future__ import annotations

import datetime
import json
import math
import os
import subprocess
import sys
import traceback
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from podium.documents import MAX_DEPTH, as_json, texts_of
from podium.errors import InvalidInput
from podium.inputs import checked_fields


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ("plain", "plain"),
        ({"content": "a", "text": "b", "page_content": "c", "passage": "d"}, "a"),
        ({"text": "b", "page_content": "c", "passage": "d"}, "b"),
        ({"page_content": "c", "passage": "d"}, "c"),
        ({"passage": "d", "title": "no"}, "d"),
        ({"content": b"from redis"}, "from redis"),
        ({"content": 7}, "7"),
        (SimpleNamespace(page_content="langchain", metadata={}), "langchain"),
        (SimpleNamespace(content="haystack"), "haystack"),
        (SimpleNamespace(text="node"), "node"),
        (SimpleNamespace(get_content=lambda: "llamaindex"), "llamaindex"),
    ],
)
def test_text_is_found_where_the_ecosystem_puts_it(document, text):
    assert texts_of([document]) == [text]


@pytest.mark.parametrize(
    "document",
    [
        None,
        "",
        "  \n\t",
        "\u200b\u00ad\u202e",
        {"content": None},
        {"content": ""},
        {"text": math.nan},
        SimpleNamespace(content=None),
        math.nan,
    ],
)
def test_documents_without_text_are_told_apart_not_dropped(document):
    assert texts_of(["a", document, "b"]) == ["a", None, "b"]


def test_a_record_without_a_text_field_is_an_error_that_lists_its_keys():
    with pytest.raises(InvalidInput, match=r"document 1 .*'title', 'year'.*rank_by"):
        texts_of(["a", {"title": "x", "year": 1999}])


def test_an_error_never_repeats_what_a_document_says():
    with pytest.raises(InvalidInput) as caught:
        texts_of([{"title": "a secret matter"}])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("document", [5, 1.5, ["a"], object(), b"bytes"])
def test_what_is_no_document_is_an_error(document):
    with pytest.raises(InvalidInput, match="document 0"):
        texts_of([document])


def test_one_field_gives_its_text_and_several_give_yaml_in_their_order():
    document = {"source": "wiki", "year": 1999, "passage": "ünï: {code}"}
    assert texts_of([document], ("passage",)) == ["ünï: {code}"]
    (text,) = texts_of([document], ("passage", "source", "year"))
    assert text is not None
    assert list(yaml.safe_load(text).items()) == [("passage", "ünï: {code}"), ("source", "wiki"), ("year", 1999)]
    assert text.startswith("passage: ")
    assert "ünï" in text


def test_yaml_does_not_fold_long_text():
    long = "word " * 500 + "end"
    (text,) = texts_of([{"a": long, "b": "x"}], ("a", "b"))
    assert text == f"a: {long}\nb: x\n"


def test_strings_stay_as_they_are_beside_records():
    assert texts_of(["s", {"a": "x"}], ("a",)) == ["s", "x"]


def test_a_field_may_be_missing_here_and_there():
    assert texts_of([{"a": "x", "b": "y"}, {"a": "z"}], ("a", "b")) == ["a: x\nb: y\n", "a: z\n"]


def test_a_document_with_none_of_the_fields_is_an_error_that_lists_its_keys():
    with pytest.raises(InvalidInput, match=r"document 1 has no field 'a'; it has 'c'"):
        texts_of([{"a": "x"}, {"c": "y"}], ("a",))


def test_a_field_that_no_document_has_is_a_spelling_mistake():
    with pytest.raises(InvalidInput, match="'sorce'"):
        texts_of([{"a": "x"}], ("a", "sorce"))


def test_fields_of_an_object_are_its_own_or_its_metadata():
    document = SimpleNamespace(page_content="p", metadata={"source": "wiki"})
    assert texts_of([document], ("source", "page_content")) == ["source: wiki\npage_content: p\n"]


def test_dates_and_lists_are_readable_and_other_things_are_an_error():
    (text,) = texts_of([{"day": datetime.date(2026, 1, 2), "tags": ["a", "b"]}], ("day", "tags"))
    assert text == "day: 2026-01-02\ntags:\n- a\n- b\n"
    with pytest.raises(InvalidInput, match="document 0"):
        texts_of([{"a": object(), "b": "x"}], ("a", "b"))


@pytest.mark.parametrize("rank_by", ["", [], [""], ["a", "a"], 5, {"a"}, [5], ["a", None], b"a"])
def test_rank_by_is_a_field_name_or_a_list_of_them(rank_by):
    with pytest.raises(InvalidInput, match="rank_by"):
        checked_fields(rank_by)


@given(st.text(st.characters()))
def test_every_string_becomes_text_that_can_be_encoded(text):
    (read,) = texts_of([text])
    assert read is not None or not any(letter.isalnum() for letter in text)
    if read is not None:
        read.encode()


def test_halves_of_surrogate_pairs_are_mended():
    assert texts_of(["a \ud83d b", "\ud83d\ude00"]) == ["a � b", "😀"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    )
)
def test_any_document_can_be_written_as_json(document):
    json.dumps(as_json(document), allow_nan=False)


def test_the_first_field_that_says_something_is_read():
    documents = [{"content": None, "text": "a"}, {"content": "", "passage": "b"}, SimpleNamespace(content=None, text="c")]
    assert texts_of(documents) == ["a", "b", "c"]


def test_numbers_of_numpy_are_numbers():
    document = {"year": np.int64(1999), "score": np.float32(0.5), "gone": np.float32("nan")}
    assert texts_of([document], ("year", "score", "gone")) == ["year: 1999\nscore: 0.5\n"]
    assert as_json(document) == {"year": 1999, "score": 0.5, "gone": None}


class Broken:
    @property
    def content(self):
        raise RuntimeError("a secret matter")


def deep():
    nested = []
    for _ in range(5000):
        nested = [nested]
    return nested


@pytest.mark.parametrize("value", [np.ones(3), deep(), 10**5000, object()], ids=["array", "deep", "huge", "object"])
def test_a_field_that_cannot_be_read_is_an_error_of_ours(value):
    for fields in (None, ("content",), ("content", "b")):
        with pytest.raises(InvalidInput, match="document 0"):
            texts_of([{"content": value, "b": "x"}], fields)


@pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1], ids=["at the limit", "above it"])
def test_depth_of_fields_is_limited(depth):
    value = "a"
    for _ in range(depth - 1):
        value = [value]
    if depth > MAX_DEPTH:
        with pytest.raises(InvalidInput, match="nested more than 32 levels deep"):
            texts_of([{"text": value}])
    else:
        assert texts_of([{"text": value}]) == ["- " * (depth - 1) + "a\n"]


def test_a_document_that_fails_when_it_is_read_is_an_error_that_tells_nothing():
    with pytest.raises(InvalidInput, match=r"document 0 cannot be read \(RuntimeError\)") as caught:
        texts_of([Broken()])
    assert "secret" not in "".join(traceback.format_exception(caught.value))


def test_objects_are_written_as_their_text():
    assert as_json(SimpleNamespace(page_content="x")) == {"text": "x"}
    assert as_json({"when": datetime.date(2026, 1, 2)}) == {"when": "2026-01-02"}


SETS = """
from podium.documents import as_json, texts_of
documents = [
    {"text": {"sea", "apple", "pear"}, "tags": [frozenset("abcdef"), {1, "b", 2.5}], "deep": {frozenset("ab"), frozenset("cd")}}
]
print(texts_of(documents), texts_of(documents, ("text", "tags", "deep")), as_json(documents[0]))
"""


def test_sets_are_read_in_the_same_order_in_every_process():
    def printed(seed: int) -> str:
        environment = os.environ | {"PYTHONHASHSEED": str(seed)}
        command = [sys.executable, "-c", SETS]
        return subprocess.run(command, capture_output=True, check=True, text=True, env=environment).stdout

    first, *others = map(printed, range(4))
    assert others == [first] * 3
    assert "- apple\\n- pear\\n- sea\\n" in first


def test_row_of_a_data_frame_is_read_by_its_columns():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"size": ["a big apple"], "name": ["pear"], "values": ["sea"], "empty": [pandas.NA]})
    row = frame.iloc[0]
    for field in ("size", "name", "values"):
        assert texts_of([row], (field,)) == [frame[field][0]]
    assert texts_of([row], ("size", "empty")) == ["size: a big apple\n"]
    with pytest.raises(InvalidInput, match="index"):
        texts_of([row], ("index",))


def test_missing_values_of_data_frames_are_documents_without_text():
    pandas, numpy = pytest.importorskip("pandas"), pytest.importorskip("numpy")
    missing = [pandas.NA, pandas.NaT, float("nan"), numpy.float64("nan"), numpy.datetime64("NaT")]
    assert texts_of([*missing, "a"]) == [None] * 5 + ["a"]
    assert texts_of([{"text": value} for value in missing]) == [None] * 5
    assert [as_json(value) for value in missing] == [None] * 5


def test_suggestions_for_fields_compare_only_a_few_names():
    """Every unknown name is compared with every known one, which takes minutes for thousands of each."""
    record = {f"field_number_{number}": "x" for number in range(5000)}
    with pytest.raises(InvalidInput, match="did you mean") as caught:
        texts_of([record], tuple(f"fieldXnumber_{number}y" for number in range(5000)))
    assert str(caught.value).partition("did you mean")[2].count("field_number_") <= 3
