"""The requests that podium sends to each provider, and the replies that it reads, are those that the provider documents."""

from __future__ import annotations

import json

import pytest

import loopback
import podium
from contracts import COHERE, CONTRACTS, OWN_SERVER, QUERY, TEXTS
from loopback import Answer, as_json
from podium.hosted.providers import PROVIDERS, find_provider
from podium.hosted.wire import request_url


def test_every_provider_has_one_contract():
    assert sorted(contract.provider for contract in CONTRACTS) == sorted(row.name for row in PROVIDERS)


def test_request_and_reply_are_the_documented_ones(contract, server, rerank):
    server.answer = lambda request: as_json(contract.reply)
    ranking = rerank(contract.load(server.url), QUERY, TEXTS)
    (request,) = server.requests
    assert request.method == "POST"
    assert request.path == contract.path
    assert request.json == contract.body
    assert request.headers[contract.header[0]] == contract.header[1]
    assert request.headers["Content-Type"] == "application/json"
    assert [(result.index, result.score) for result in ranking] == [(1, 0.9), (2, 0.6), (0, 0.1)]
    assert ranking.usage.tokens == contract.tokens
    assert dict(ranking.usage.billed) == contract.billed
    assert ranking.model == f"{contract.provider}:{contract.model}"
    row = find_provider(contract.provider)
    assert ranking.score_kind == row.score_kind
    assert all(request.headers.get(name) == value for name, value in row.headers.items())


def test_public_url_is_the_documented_one(contract):
    row = find_provider(contract.provider)
    assert request_url(row, contract.model, None if row.url else OWN_SERVER) == contract.url
    assert request_url(row, contract.model, contract.url) == contract.url


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("http://h", "http://h/v2/rerank"),
        ("http://h/", "http://h/v2/rerank"),
        ("http://h/v1", "http://h/v1/rerank"),
        ("http://h/v2/", "http://h/v2/rerank"),
        ("http://h/api/v1/rerank", "http://h/api/v1/rerank"),
        ("http://h/proxy", "http://h/proxy/v2/rerank"),
    ],
    ids=["root", "root with slash", "version", "version with slash", "full URL", "path"],
)
def test_base_url_can_be_root_version_or_full_url(base_url, url):
    assert request_url(find_provider("cohere"), "m", base_url) == url


def test_structured_documents_are_sent_as_yaml_in_the_order_of_rank_by(server):
    server.answer = loopback.cohere
    documents = [{"source": "wiki", "passage": "a: b"}, "plain"]
    ranking = COHERE.load(server.url).rerank("q", documents, rank_by=["passage", "source"])
    assert server.requests[0].json["documents"] == ["passage: 'a: b'\nsource: wiki\n", "plain"]
    assert {id(result.document) for result in ranking} == {id(document) for document in documents}


def test_documents_without_text_are_not_sent(contract, server):
    server.answer = lambda request: Answer(200, contract.reply_with([0.5, 0.7]))
    ranking = contract.load(server.url).rerank(QUERY, ["a", None, "", "b", "  "])
    assert [result.index for result in ranking] == [3, 0, 1, 2, 4]
    body = json.dumps(server.requests[0].json)
    assert "null" not in body
    assert '""' not in body.replace('"model": ""', "")


def test_request_contains_no_null(contract, server):
    server.answer = lambda request: as_json(contract.reply)
    contract.load(server.url).rerank(QUERY, TEXTS, limit=2)
    assert b"null" not in server.requests[0].content


def test_documents_in_a_reply_are_ignored(server):
    results = [{"index": 0, "relevance_score": 0.5, "document": {"text": "something else"}}]
    server.answer = lambda request: as_json({"results": results})
    assert COHERE.load(server.url).rank("q", ["mine"]) == (["mine"], [0.5])


def test_provider_without_public_server_needs_base_url():
    with pytest.raises(
        podium.InvalidInput, match=r"vLLM .* has no public server; pass yours as base_url=.* or set VLLM_BASE_URL"
    ):
        podium.load("vllm:m")


def test_model_name_is_required():
    with pytest.raises(podium.InvalidInput, match="cohere:<model>"):
        podium.load("cohere:", api_key="k")
