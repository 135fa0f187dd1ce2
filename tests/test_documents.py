"""The text of documents. If a document's text cannot be read, the error has the document's index and the reason."""

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

from podium.documents import as_json, texts_of
from podium.errors import InvalidInput
from podium.field_values import MAX_DEPTH
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
        ({"content": None, "text": "a"}, "a"),
        ({"content": "", "passage": "b"}, "b"),
        (SimpleNamespace(content=None, text="c"), "c"),
    ],
    ids=[
        *("string", "content", "text", "page_content", "passage", "bytes", "number"),
        *("LangChain", "Haystack", "node", "LlamaIndex", "content is None", "content is empty", "attribute is None"),
    ],
)
def test_text_is_read_from_the_usual_fields(document, text):
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
    ids=["None", "empty", "blank", "invisible", "None in field", "empty field", "NaN in field", "None in attribute", "NaN"],
)
def test_text_of_a_document_without_text_is_none(document):
    assert texts_of(["a", document, "b"]) == ["a", None, "b"]


def test_record_without_a_text_field_is_an_error_with_its_keys():
    with pytest.raises(InvalidInput, match=r"document 1 .*'title', 'year'.*rank_by"):
        texts_of(["a", {"title": "x", "year": 1999}])


def test_error_does_not_repeat_the_document():
    with pytest.raises(InvalidInput) as caught:
        texts_of([{"title": "a secret matter"}])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("document", [5, 1.5, ["a"], object(), b"bytes"], ids=["int", "float", "list", "object", "bytes"])
def test_object_that_is_not_a_document_is_an_error(document):
    with pytest.raises(InvalidInput, match="document 0"):
        texts_of([document])


def test_one_field_is_read_as_its_text_and_several_as_yaml_in_their_order():
    document = {"source": "wiki", "year": 1999, "passage": "ünï: {code}"}
    assert texts_of([document], ("passage",)) == ["ünï: {code}"]
    (text,) = texts_of([document], ("passage", "source", "year"))
    assert text is not None
    assert list(yaml.safe_load(text).items()) == [("passage", "ünï: {code}"), ("source", "wiki"), ("year", 1999)]
    assert text.startswith("passage: ")
    assert "ünï" in text


def test_yaml_does_not_fold_long_text():
    long_text = "word " * 500 + "end"
    (text,) = texts_of([{"a": long_text, "b": "x"}], ("a", "b"))
    assert text == f"a: {long_text}\nb: x\n"


def test_strings_among_records_are_not_changed():
    assert texts_of(["s", {"a": "x"}], ("a",)) == ["s", "x"]


def test_field_can_be_missing_in_some_documents():
    assert texts_of([{"a": "x", "b": "y"}, {"a": "z"}], ("a", "b")) == ["a: x\nb: y\n", "a: z\n"]


def test_document_with_none_of_the_fields_is_an_error_with_its_keys():
    with pytest.raises(InvalidInput, match=r"document 1 has no field 'a'; it has 'c'"):
        texts_of([{"a": "x"}, {"c": "y"}], ("a",))


def test_field_that_no_document_has_is_an_error():
    with pytest.raises(InvalidInput, match="'sorce'"):
        texts_of([{"a": "x"}], ("a", "sorce"))


def test_fields_of_an_object_are_its_attributes_or_its_metadata():
    document = SimpleNamespace(page_content="p", metadata={"source": "wiki"})
    assert texts_of([document], ("source", "page_content")) == ["source: wiki\npage_content: p\n"]


def test_dates_and_lists_are_written_as_yaml():
    (text,) = texts_of([{"day": datetime.date(2026, 1, 2), "tags": ["a", "b"]}], ("day", "tags"))
    assert text == "day: 2026-01-02\ntags:\n- a\n- b\n"


def test_field_that_yaml_cannot_write_is_an_error():
    with pytest.raises(InvalidInput, match="document 0"):
        texts_of([{"a": object(), "b": "x"}], ("a", "b"))


@pytest.mark.parametrize("rank_by", ["", [], [""], ["a", "a"], 5, {"a"}, [5], ["a", None], b"a"], ids=repr)
def test_rank_by_must_be_a_field_name_or_a_list_of_them(rank_by):
    with pytest.raises(InvalidInput, match="rank_by"):
        checked_fields(rank_by)


@given(st.text(st.characters()))
def test_every_string_with_letters_becomes_text_that_can_be_encoded(text):
    (document_text,) = texts_of([text])
    assert document_text is not None or not any(letter.isalnum() for letter in text)
    if document_text is not None:
        document_text.encode()


def test_unpaired_surrogates_are_replaced():
    assert texts_of(["a \ud83d b", "\ud83d\ude00"]) == ["a � b", "😀"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    )
)
def test_any_document_can_be_written_as_json(document):
    json.dumps(as_json(document), allow_nan=False)


def test_nested_values_are_written_as_the_strings_and_numbers_that_they_stand_for():
    class Name(str):
        pass

    inner = {"year": np.int64(1999), "raw": b"caf\xc3\xa9", "name": Name("x"), "np": np.str_("y")}
    assert texts_of([{"a": "t", "b": inner}], ("a", "b")) == ["a: t\nb:\n  year: 1999\n  raw: café\n  name: x\n  np: y\n"]


def test_times_of_numpy_are_not_written_as_numbers():
    time = np.datetime64("2026-01-02T03:04:05", "ns")
    assert texts_of([{"a": "t", "when": time}], ("a", "when")) == ["a: t\nwhen: 2026-01-02 03:04:05\n"]
    assert as_json({"when": time}) == {"when": "2026-01-02 03:04:05"}


def test_missing_documents_among_strings_do_not_need_the_named_fields():
    assert texts_of(["a", float("nan"), None], ("title",)) == ["a", None, None]


def test_error_about_rows_and_objects_names_their_fields():
    pandas = pytest.importorskip("pandas")
    row = pandas.Series({"title": "x", "body": "y"})
    with pytest.raises(InvalidInput, match="document 0 has no field 'text'; it has 'title', 'body'"):
        texts_of([row], ("text",))
    with pytest.raises(InvalidInput, match="no document has; the first has 'title', 'body'"):
        texts_of([row], ("title", "author"))


def test_numpy_numbers_are_written_as_numbers():
    document = {"year": np.int64(1999), "score": np.float32(0.5), "gone": np.float32("nan")}
    assert texts_of([document], ("year", "score", "gone")) == ["year: 1999\nscore: 0.5\n"]
    assert as_json(document) == {"year": 1999, "score": 0.5, "gone": None}


class BrokenDocument:
    @property
    def content(self):
        raise RuntimeError("a secret matter")


def deeply_nested_list():
    nested = []
    for _ in range(5000):
        nested = [nested]
    return nested


@pytest.mark.parametrize("fields", [None, ("content",), ("content", "b")], ids=["default", "one field", "two fields"])
@pytest.mark.parametrize(
    "value", [np.ones(3), deeply_nested_list(), 10**5000, object()], ids=["array", "deeply nested", "huge integer", "object"]
)
def test_field_that_cannot_be_read_is_an_error(value, fields):
    with pytest.raises(InvalidInput, match="document 0"):
        texts_of([{"content": value, "b": "x"}], fields)


@pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1], ids=["at the limit", "above the limit"])
def test_depth_of_fields_is_limited(depth):
    value = "a"
    for _ in range(depth - 1):
        value = [value]
    if depth > MAX_DEPTH:
        with pytest.raises(InvalidInput, match="nested more than 32 levels deep"):
            texts_of([{"text": value}])
    else:
        assert texts_of([{"text": value}]) == ["- " * (depth - 1) + "a\n"]


def test_exception_of_a_document_is_an_error_without_its_message():
    with pytest.raises(InvalidInput, match=r"document 0 cannot be read \(RuntimeError\)") as caught:
        texts_of([BrokenDocument()])
    assert "secret" not in "".join(traceback.format_exception(caught.value))


def test_json_of_an_object_is_its_text():
    assert as_json(SimpleNamespace(page_content="x")) == {"text": "x"}


def test_json_of_a_date_is_a_string():
    assert as_json({"when": datetime.date(2026, 1, 2)}) == {"when": "2026-01-02"}


SETS_SCRIPT = """
from podium.documents import as_json, texts_of
documents = [
    {"text": {"sea", "apple", "pear"}, "tags": [frozenset("abcdef"), {1, "b", 2.5}], "deep": {frozenset("ab"), frozenset("cd")}}
]
print(texts_of(documents), texts_of(documents, ("text", "tags", "deep")), as_json(documents[0]))
"""


def test_sets_are_read_in_the_same_order_in_every_process():
    def printed(hash_seed: int) -> str:
        environment = os.environ | {"PYTHONHASHSEED": str(hash_seed)}
        command = [sys.executable, "-c", SETS_SCRIPT]
        return subprocess.run(command, capture_output=True, check=True, text=True, env=environment).stdout

    outputs = [printed(hash_seed) for hash_seed in range(4)]
    assert outputs == [outputs[0]] * 4
    assert "- apple\\n- pear\\n- sea\\n" in outputs[0]


def test_fields_of_a_data_frame_row_are_its_columns():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"size": ["a big apple"], "name": ["pear"], "values": ["sea"], "empty": [pandas.NA]})
    row = frame.iloc[0]
    for field in ("size", "name", "values"):
        assert texts_of([row], (field,)) == [frame[field][0]]
    assert texts_of([row], ("size", "empty")) == ["size: a big apple\n"]
    with pytest.raises(InvalidInput, match="index"):
        texts_of([row], ("index",))


def test_missing_values_of_a_data_frame_have_no_text():
    pandas, numpy = pytest.importorskip("pandas"), pytest.importorskip("numpy")
    missing = [pandas.NA, pandas.NaT, float("nan"), numpy.float64("nan"), numpy.datetime64("NaT")]
    assert texts_of([*missing, "a"]) == [None] * 5 + ["a"]
    assert texts_of([{"text": value} for value in missing]) == [None] * 5
    assert [as_json(value) for value in missing] == [None] * 5


def test_only_a_few_field_names_are_suggested():
    """Comparing every unknown name with every known one would take minutes if there are thousands of each."""
    record = {f"field_number_{number}": "x" for number in range(5000)}
    with pytest.raises(InvalidInput, match="did you mean") as caught:
        texts_of([record], tuple(f"fieldXnumber_{number}y" for number in range(5000)))
    assert str(caught.value).partition("did you mean")[2].count("field_number_") <= 3
