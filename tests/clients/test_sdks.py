"""The SDKs of Cohere and Voyage, in both environments: the offline answers, and their own exceptions."""

from __future__ import annotations

import asyncio

import cohere
import pytest
import voyageai
from conftest import KEY, QUERY, TEXTS


def pairs(results):
    return [(each.index, each.relevance_score) for each in results]


def test_cohere_v2(base, offline):
    client = cohere.ClientV2(api_key=KEY, base_url=base)
    assert pairs(client.rerank(model="podium-mini", query=QUERY, documents=TEXTS).results) == offline
    assert pairs(client.rerank(model="podium-mini", query=QUERY, documents=TEXTS, top_n=2).results) == offline[:2]
    assert (
        pairs(client.rerank(model="podium-mini", query=QUERY, documents=TEXTS, top_n=99, max_tokens_per_doc=512).results)
        == offline
    )


def test_cohere_v1(base, offline):
    client = cohere.Client(api_key=KEY, base_url=base)
    said = client.rerank(model="podium-mini", query=QUERY, documents=TEXTS, return_documents=True)
    assert pairs(said.results) == offline
    assert [each.document.text for each in said.results] == [TEXTS[each.index] for each in said.results]
    records = [{"title": "x", "text": text} for text in TEXTS]
    assert pairs(client.rerank(model="podium-mini", query=QUERY, documents=records, rank_fields=["text"]).results) == offline


def test_cohere_async(base, offline):
    async def ask():
        second = await cohere.AsyncClientV2(api_key=KEY, base_url=base).rerank(
            model="podium-mini", query=QUERY, documents=TEXTS
        )
        first = await cohere.AsyncClient(api_key=KEY, base_url=base).rerank(model="podium-mini", query=QUERY, documents=TEXTS)
        return pairs(second.results), pairs(first.results)

    assert asyncio.run(ask()) == (offline, offline)


def test_cohere_raises_its_own_exceptions(base, small, keyed):
    with pytest.raises(cohere.errors.NotFoundError, match="there is no model 'rerank-v9' here; there are podium-mini"):
        cohere.ClientV2(api_key=KEY, base_url=base).rerank(model="rerank-v9", query=QUERY, documents=TEXTS)
    with pytest.raises(cohere.errors.BadRequestError, match="this server takes 2"):
        cohere.ClientV2(api_key=KEY, base_url=small).rerank(model="podium-mini", query=QUERY, documents=TEXTS)
    with pytest.raises(cohere.errors.UnauthorizedError, match="no valid API key"):
        cohere.ClientV2(api_key="wrong", base_url=keyed[0]).rerank(model="podium-mini", query=QUERY, documents=TEXTS)
    assert (
        cohere.ClientV2(api_key=keyed[1], base_url=keyed[0]).rerank(model="podium-mini", query=QUERY, documents=TEXTS).results
    )


def test_voyage(base, offline):
    client = voyageai.Client(api_key=KEY, base_url=f"{base}/v1")
    said = client.rerank(QUERY, TEXTS, model="podium-mini")
    assert pairs(said.results) == offline
    assert [each.document for each in said.results] == [TEXTS[each.index] for each in said.results]
    assert said.total_tokens > 0
    assert pairs(client.rerank(QUERY, TEXTS, model="podium-mini", top_k=2).results) == offline[:2]


def test_voyage_async(base, offline):
    async def ask():
        client = voyageai.AsyncClient(api_key=KEY, base_url=f"{base}/v1")
        return pairs((await client.rerank(QUERY, TEXTS, model="podium-mini")).results)

    assert asyncio.run(ask()) == offline


def test_voyage_raises_its_own_exceptions(small, keyed):
    with pytest.raises(voyageai.error.InvalidRequestError, match="this server takes 2"):
        voyageai.Client(api_key=KEY, base_url=f"{small}/v1").rerank(QUERY, TEXTS, model="podium-mini")
    with pytest.raises(voyageai.error.AuthenticationError, match="no valid API key"):
        voyageai.Client(api_key="wrong", base_url=f"{keyed[0]}/v1").rerank(QUERY, TEXTS, model="podium-mini")
