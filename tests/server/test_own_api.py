"""The fields of podium's own API. Unlike the APIs of other clients, it refuses unknown ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import podium
from fakes import WordOverlap
from loopback import Loopback, cohere
from podium.server.dialects.podium import DIALECT
from serving import ServerThread

REQUEST = {"query": "red fruit", "documents": ["the sea at night", "a ripe red apple"]}


@pytest.fixture(scope="module")
def server():
    with ServerThread(rerankers={"words": podium.Reranker(WordOverlap())}) as server:
        yield server


@pytest.mark.parametrize(
    ("field", "remedy"),
    [
        ("max_cots", "there is no field 'max_cots'; did you mean max_cost?"),
        ("top_n", "there is no field 'top_n'; did you mean limit?"),
        ("zzz", "there is no field 'zzz'; a request can have model, query, documents, limit"),
        ("x" * 10_000, f"there is no field '{'x' * 60}'; a request can have"),
    ],
    ids=["misspelled", "foreign", "unknown", "long"],
)
def test_own_api_refuses_unknown_fields(server, field, remedy):
    reply = server.post("/rank", REQUEST | {field: 1})
    assert reply.status_code == 400
    assert remedy in reply.json()["message"]
    assert server.post("/v2/rerank", REQUEST | {field: 1}).status_code == 200


def test_search_refuses_unknown_fields(server):
    reply = server.post("/search", {"query": "a", "top_k": 3})
    assert reply.status_code == 400
    assert "there is no field 'top_k'; did you mean candidates?" in reply.text


def test_own_api_has_a_maximum_cost():
    with (
        Loopback(cohere) as api,
        podium.load("cohere:rerank-v3.5", api_key="k", base_url=api.url) as reranker,
        ServerThread(rerankers={"best": reranker}) as server,
    ):
        request = {"query": "q", "documents": [f"document {index}" for index in range(150)], "max_cost": 0.003}
        body = server.post("/rank", request | {"price": "2/ksearches"}).json()
        assert body["usage"]["pairs"] == 100
        assert body["reasons"] == ["the budget of 0.003 US dollars was used up after 100 of 150 documents"]
        assert "max_cost needs the price of the model" in server.post("/rank", request).json()["message"]
        assert server.post("/rank", request | {"price": "cheap"}).status_code == 400


def test_documentation_lists_the_fields_of_the_own_api():
    text = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
    table = text.split("| field of `/rank` | value |")[1].split("\n\n")[0]
    names = {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1] if "|" in row else "")}
    assert names == {field.name for field in DIALECT.fields}
