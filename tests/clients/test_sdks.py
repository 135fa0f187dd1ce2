"""The SDKs of Cohere and Voyage, in both environments: the expected scores, and the SDKs' own exceptions."""

from __future__ import annotations

import asyncio

import cohere
import pytest
import voyageai
from conftest import KEY, MODEL, QUERY, TEXTS

REQUEST = {"model": MODEL, "query": QUERY, "documents": TEXTS}


def scores(response):
    """Return the index and score of each result."""
    return [(result.index, result.relevance_score) for result in response.results]


@pytest.mark.parametrize(
    ("options", "limit"),
    [({}, None), ({"top_n": 2}, 2), ({"top_n": 99, "max_tokens_per_doc": 512}, None)],
    ids=["defaults", "top_n", "top_n too high"],
)
def test_cohere_v2(server_url, expected, options, limit):
    client = cohere.ClientV2(api_key=KEY, base_url=server_url)
    assert scores(client.rerank(**REQUEST, **options)) == expected[:limit]


def test_cohere_v1(server_url, expected):
    response = cohere.Client(api_key=KEY, base_url=server_url).rerank(**REQUEST, return_documents=True)
    assert scores(response) == expected
    assert [result.document.text for result in response.results] == [TEXTS[result.index] for result in response.results]


def test_cohere_v1_rank_fields(server_url, expected):
    records = [{"title": "x", "text": text} for text in TEXTS]
    client = cohere.Client(api_key=KEY, base_url=server_url)
    assert scores(client.rerank(**REQUEST | {"documents": records}, rank_fields=["text"])) == expected


@pytest.mark.parametrize("client_class", [cohere.AsyncClientV2, cohere.AsyncClient], ids=["v2", "v1"])
def test_cohere_async(server_url, expected, client_class):
    async def rerank():
        return await client_class(api_key=KEY, base_url=server_url).rerank(**REQUEST)

    assert scores(asyncio.run(rerank())) == expected


def test_cohere_raises_not_found_for_unknown_model(server_url):
    with pytest.raises(cohere.errors.NotFoundError, match=r"rerank-v9.*podium-mini"):
        cohere.ClientV2(api_key=KEY, base_url=server_url).rerank(**REQUEST | {"model": "rerank-v9"})


def test_cohere_raises_bad_request_for_too_many_documents(small_server_url):
    with pytest.raises(cohere.errors.BadRequestError, match=r"\b2\b"):
        cohere.ClientV2(api_key=KEY, base_url=small_server_url).rerank(**REQUEST)


def test_cohere_raises_unauthorized_for_wrong_key(url_and_key):
    url, key = url_and_key
    with pytest.raises(cohere.errors.UnauthorizedError, match="API key"):
        cohere.ClientV2(api_key="wrong", base_url=url).rerank(**REQUEST)
    assert cohere.ClientV2(api_key=key, base_url=url).rerank(**REQUEST).results


def test_voyage(server_url, expected):
    client = voyageai.Client(api_key=KEY, base_url=f"{server_url}/v1")
    response = client.rerank(QUERY, TEXTS, model=MODEL)
    assert scores(response) == expected
    assert [result.document for result in response.results] == [TEXTS[result.index] for result in response.results]
    assert response.total_tokens > 0
    assert scores(client.rerank(QUERY, TEXTS, model=MODEL, top_k=2)) == expected[:2]


def test_voyage_async(server_url, expected):
    async def rerank():
        client = voyageai.AsyncClient(api_key=KEY, base_url=f"{server_url}/v1")
        return await client.rerank(QUERY, TEXTS, model=MODEL)

    assert scores(asyncio.run(rerank())) == expected


def test_voyage_raises_invalid_request_for_too_many_documents(small_server_url):
    with pytest.raises(voyageai.error.InvalidRequestError, match=r"\b2\b"):
        voyageai.Client(api_key=KEY, base_url=f"{small_server_url}/v1").rerank(QUERY, TEXTS, model=MODEL)


def test_voyage_raises_authentication_error_for_wrong_key(url_and_key):
    with pytest.raises(voyageai.error.AuthenticationError, match="API key"):
        voyageai.Client(api_key="wrong", base_url=f"{url_and_key[0]}/v1").rerank(QUERY, TEXTS, model=MODEL)
