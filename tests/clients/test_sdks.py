"""The SDKs of Cohere and Voyage, in both environments: the offline scores, and the SDKs' own exceptions."""

from __future__ import annotations

import asyncio

import cohere
import pytest
import voyageai
from conftest import KEY, MODEL, QUERY, TEXTS

REQUEST = {"model": MODEL, "query": QUERY, "documents": TEXTS}


def scores(response):
    return [(result.index, result.relevance_score) for result in response.results]


@pytest.mark.parametrize(
    ("options", "limit"),
    [({}, None), ({"top_n": 2}, 2), ({"top_n": 99, "max_tokens_per_doc": 512}, None)],
    ids=["defaults", "top_n", "top_n too high"],
)
def test_cohere_v2(base, offline, options, limit):
    client = cohere.ClientV2(api_key=KEY, base_url=base)
    assert scores(client.rerank(**REQUEST, **options)) == offline[:limit]


def test_cohere_v1(base, offline):
    response = cohere.Client(api_key=KEY, base_url=base).rerank(**REQUEST, return_documents=True)
    assert scores(response) == offline
    assert [result.document.text for result in response.results] == [TEXTS[result.index] for result in response.results]


def test_cohere_v1_rank_fields(base, offline):
    records = [{"title": "x", "text": text} for text in TEXTS]
    client = cohere.Client(api_key=KEY, base_url=base)
    assert scores(client.rerank(**REQUEST | {"documents": records}, rank_fields=["text"])) == offline


@pytest.mark.parametrize("client_class", [cohere.AsyncClientV2, cohere.AsyncClient], ids=["v2", "v1"])
def test_cohere_async(base, offline, client_class):
    async def rerank():
        return await client_class(api_key=KEY, base_url=base).rerank(**REQUEST)

    assert scores(asyncio.run(rerank())) == offline


def test_cohere_raises_not_found_for_unknown_model(base):
    with pytest.raises(cohere.errors.NotFoundError, match=r"rerank-v9.*podium-mini"):
        cohere.ClientV2(api_key=KEY, base_url=base).rerank(**REQUEST | {"model": "rerank-v9"})


def test_cohere_raises_bad_request_for_too_many_documents(small):
    with pytest.raises(cohere.errors.BadRequestError, match=r"\b2\b"):
        cohere.ClientV2(api_key=KEY, base_url=small).rerank(**REQUEST)


def test_cohere_raises_unauthorized_for_wrong_key(keyed):
    url, key = keyed
    with pytest.raises(cohere.errors.UnauthorizedError, match="API key"):
        cohere.ClientV2(api_key="wrong", base_url=url).rerank(**REQUEST)
    assert cohere.ClientV2(api_key=key, base_url=url).rerank(**REQUEST).results


def test_voyage(base, offline):
    client = voyageai.Client(api_key=KEY, base_url=f"{base}/v1")
    response = client.rerank(QUERY, TEXTS, model=MODEL)
    assert scores(response) == offline
    assert [result.document for result in response.results] == [TEXTS[result.index] for result in response.results]
    assert response.total_tokens > 0
    assert scores(client.rerank(QUERY, TEXTS, model=MODEL, top_k=2)) == offline[:2]


def test_voyage_async(base, offline):
    async def rerank():
        client = voyageai.AsyncClient(api_key=KEY, base_url=f"{base}/v1")
        return await client.rerank(QUERY, TEXTS, model=MODEL)

    assert scores(asyncio.run(rerank())) == offline


def test_voyage_raises_invalid_request_for_too_many_documents(small):
    with pytest.raises(voyageai.error.InvalidRequestError, match=r"\b2\b"):
        voyageai.Client(api_key=KEY, base_url=f"{small}/v1").rerank(QUERY, TEXTS, model=MODEL)


def test_voyage_raises_authentication_error_for_wrong_key(keyed):
    with pytest.raises(voyageai.error.AuthenticationError, match="API key"):
        voyageai.Client(api_key="wrong", base_url=f"{keyed[0]}/v1").rerank(QUERY, TEXTS, model=MODEL)
