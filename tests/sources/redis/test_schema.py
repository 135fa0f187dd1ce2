"""Schemas of indexes on Redis, and the storage of documents as hashes or JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

from podium.errors import InvalidInput
from podium.sources.redis.schema import checked_schema, create_command
from podium.sources.redis.storage import storage_for

JSON_SCHEMA = checked_schema(text=["the text"], vector="embedding", tags=["tags"], numbers=["year"], storage="json")


DEEP = []  # a list that is nested 900 levels deep
for _ in range(900):
    DEEP = [DEEP]


def hash_storage(**options):
    return storage_for(checked_schema(**{"text": "content", "vector": None} | options))


def test_json_index_has_paths_and_names():
    assert create_command("x", "x:", JSON_SCHEMA, dimensions=4, document_count=1) == (
        *("FT.CREATE", "x", "ON", "JSON", "PREFIX", 1, "x:", "SKIPINITIALSCAN", "SCHEMA"),
        *('$["the text"]', "AS", "the text", "TEXT", '$["tags"]', "AS", "tags", "TAG", '$["year"]', "AS", "year", "NUMERIC"),
        *('$["embedding"]', "AS", "embedding", "VECTOR", "FLAT", 6, "TYPE", "FLOAT32", "DIM", 4, "DISTANCE_METRIC", "COSINE"),
    )


def test_nan_and_infinity_are_stored_as_null():
    document = {"content": "a", "the text": "b", "more": [float("inf"), float("nan"), 1]}
    assert storage_for(JSON_SCHEMA).encode(document, 0)["more"] == [None, None, 1]
    assert hash_storage().encode(document, 0)["more"] == b"[null, null, 1]"


def test_json_document_that_is_nested_too_deeply_is_refused():
    with pytest.raises(InvalidInput, match="document 3 is nested more than 100 levels deep"):
        storage_for(JSON_SCHEMA).encode({"the text": "a", "more": DEEP}, 3)


def test_json_documents_keep_their_types():
    storage = storage_for(JSON_SCHEMA)
    fields = storage.encode({"the text": "red", "tags": ["a", "b"], "year": "1864", "more": {"n": [1]}, "none": None}, 0)
    assert fields == {"the text": "red", "tags": ["a", "b"], "year": 1864.0, "more": {"n": [1]}}
    delete, write = storage.write_commands("x:1", fields, np.array([1, 2], np.float32))
    assert delete == ("DEL", "x:1")
    assert write[:3] == ("JSON.SET", "x:1", "$")
    assert json.loads(write[3]) == fields | {"embedding": [1.0, 2.0]}
    assert storage.read_commands("x:1", fields) == [("JSON.GET", "x:1")]
    assert storage.is_same([write[3].encode()], fields, has_vector=True)
    assert not storage.is_same([write[3].encode()], fields, has_vector=False)
    assert not storage.is_same([None], fields, has_vector=True)


def test_field_that_is_named_twice_is_refused():
    with pytest.raises(InvalidInput, match="the field 'content' is named twice"):
        checked_schema(text="content", vector=None, tags=["content"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"tags": "colour"}, "tags must be a list of names, not 'colour'", id="tags"),
        pytest.param({"numbers": "year"}, "numbers must be a list of names", id="numbers"),
        pytest.param({"vector": "v", "m": 0}, "m must be a positive whole number, not 0", id="m"),
        pytest.param({"m": 16}, "m and ef_construction are for vectors", id="no-vector"),
    ],
)
def test_invalid_options_of_a_schema_are_refused(options, message):
    with pytest.raises(InvalidInput, match=message):
        checked_schema(**{"text": "body", "vector": None, **options})


def test_blank_tags_and_numbers_are_left_out():
    storage = hash_storage(tags=["kind"], numbers=["year"])
    assert storage.encode({"content": "a", "kind": "", "year": " "}, 0) == {"content": b"a"}
    expected = {"content": b"a", "kind": b"b", "year": b"7"}
    assert storage.encode({"content": "a", "kind": "b", "year": " 7 "}, 0) == expected


def test_text_that_is_not_utf8_is_stored_as_it_is():
    storage = hash_storage()
    fields = storage.encode({"content": b"caf\xe9"}, 0)
    assert fields == {"content": b"caf\xe9"}
    assert storage.texts(fields) == ["caf\N{REPLACEMENT CHARACTER}"]


def test_tag_that_contains_the_separator_is_refused():
    """RediSearch would split such a tag into two."""
    document = {"content": "a", "kind": ["herbs", "salt, pepper"]}
    with pytest.raises(InvalidInput, match=r"has the tag 'salt, pepper' in 'kind', which the tag separator ',' would split"):
        hash_storage(tags=["kind"]).encode(document, 0)
    assert hash_storage(tags=["kind"], tag_separator="|").encode(document, 0)["kind"] == b"herbs|salt, pepper"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        pytest.param({"content": "a", "year": "x"}, "document 0 has a value in 'year' that is not a number", id="word"),
        pytest.param({"content": "a", "year": "1_000"}, "not a number", id="number of Python"),
        pytest.param({"body": "a"}, "document 0 has no field content or title; it has body", id="other field"),
        pytest.param({}, "it has no fields", id="empty"),
        pytest.param(None, "it has no fields", id="None"),
        pytest.param({"content": None}, "all fields of document 0 are empty", id="empty fields"),
        pytest.param({"content": "a", "more": [{1}]}, "field 'more' cannot be written as JSON", id="set"),
        pytest.param({"content": "a", "more": DEEP}, "field 'more' is nested more than 100 levels deep", id="deep"),
    ],
)
def test_document_that_cannot_be_stored_is_refused(document, message):
    with pytest.raises(InvalidInput, match=message):
        hash_storage(text=["content", "title"], numbers=["year"]).encode(document, 0)
