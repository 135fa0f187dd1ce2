"""Replies of the server: JSON documents, fields with unusual names, deleted documents, and incomplete results."""

from __future__ import annotations

import json

import numpy as np
import pytest

from podium.errors import InvalidInput, SourceError
from redisearch import INFO, NAME, answering, embed, ids_of, source_at
from resp import FakeRedis

PATHS = {"path of redisvl": "$.{}", "path of podium": '$["{}"]'}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_json_index_returns_documents_without_their_vectors(path):
    fields = [field | {"identifier": path.format(field["attribute"])} for field in INFO["attributes"]]
    info = INFO | {"index_definition": {"key_type": "JSON", "prefixes": [NAME]}, "attributes": fields}
    document = {"content": "red", "embedding": [1, 2, 3, 4], "nested": {"a": 1}}
    reply = [1, "k:1", "2.5", ["$", json.dumps(document)]]
    with FakeRedis(answering({"FT.INFO": info, "FT.SEARCH": reply})) as fake, source_at(fake.url) as source:
        assert source.search("red", 1) == [
            {"content": "red", "nested": {"a": 1}, "source_key": "k:1", "source_score": 2.5, "source_rank": 1}
        ]


@pytest.mark.recording("dollar-field")
def test_field_named_dollar_in_a_hash_is_a_field(server):
    index = server.load(embed=None)
    server.client().hset(f"{NAME}:odd", mapping={"$": '{"content": "replaced"}', "content": "zebra"})
    (document,) = server.source(mode="text", embed=None).search("zebra", 3)
    assert (document["$"], document["content"]) == ('{"content": "replaced"}', "zebra")
    with pytest.raises(InvalidInput, match=r"document 0 has a field named '\$'"):
        index.check({"content": "a", "$": 1}, "a", 0)


@pytest.mark.recording("keys-that-are-not-utf-8")
def test_documents_whose_keys_are_not_utf_8_are_separate_results(server):
    """Another program wrote them. With replacement characters, both keys would be the same string."""
    server.load()
    (vector,) = embed(["zebra"])
    for byte in (b"\xfe", b"\xff"):
        fields = {"content": "zebra", "embedding": np.array(vector, np.float32).tobytes()}
        server.client().hset(f"{NAME}:".encode() + byte, mapping=fields)
    source = server.source()
    keys = {rf"{NAME}:\xfe", rf"{NAME}:\xff"}
    for mode in ("text", "vector", "hybrid"):
        documents = source.search("zebra", 200, mode=mode)
        assert {document["source_key"] for document in documents if document["content"] == "zebra"} == keys, mode


def test_document_that_was_deleted_during_the_search_is_left_out():
    reply = [2, "k:0", "9.5", None, "k:1", "2.5", ["content", "red"]]
    with FakeRedis(answering({"FT.INFO": INFO, "FT.SEARCH": reply})) as fake, source_at(fake.url) as source:
        assert ids_of(source.search("red", 5)) == ["k:1"]


def test_incomplete_results_are_an_error():
    """`from_url` connects with RESP3, in which the reply has a warning if the server ran out of time."""
    reply = {"results": [], "total_results": 9, "warning": ["Timeout limit was reached"]}
    with (
        FakeRedis(answering({"FT.INFO": INFO, "FT.SEARCH": reply})) as fake,
        source_at(fake.url) as source,
        pytest.raises(SourceError, match="only a part of the results: Timeout limit was reached"),
    ):
        source.search("red", 5)
