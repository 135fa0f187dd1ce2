"""LangChain, LlamaIndex, Haystack, litellm, redisvl and others, whichever of their rerankers this environment has."""

from __future__ import annotations

import asyncio
import importlib
import math

import pytest
from conftest import KEY, LISTED, QUERY, TEXTS


def of(package, module):
    """Return a module of a package on this environment's list; skip where it is not, fail where it can't be imported."""
    if package not in LISTED:
        pytest.skip(f"{package} is for the other environment")
    return importlib.import_module(module)


def expected(offline, limit=None):
    return [(TEXTS[index], score) for index, score in offline[:limit]]


def test_langchain_cohere(base, offline):
    module = of("langchain-cohere", "langchain_cohere")
    documents = importlib.import_module("langchain_core.documents")
    reranker = module.CohereRerank(base_url=base, cohere_api_key=KEY, model="podium-mini", top_n=3)
    given = [documents.Document(page_content=text) for text in TEXTS]
    found = reranker.compress_documents(given, QUERY)
    assert [(each.page_content, each.metadata["relevance_score"]) for each in found] == expected(offline, 3)
    found = asyncio.run(reranker.acompress_documents(given, QUERY))
    assert [each.page_content for each in found] == [text for text, _ in expected(offline, 3)]
    every = module.CohereRerank(base_url=base, cohere_api_key=KEY, model="podium-mini", top_n=None)
    assert [each["index"] for each in every.rerank(TEXTS, QUERY)] == [index for index, _ in offline]


def test_langchain_voyage(base, offline):
    module = of("langchain-voyageai", "langchain_voyageai")
    documents = importlib.import_module("langchain_core.documents")
    reranker = module.VoyageAIRerank(base_url=f"{base}/v1", voyage_api_key=KEY, model="podium-mini", top_k=3)
    found = reranker.compress_documents([documents.Document(page_content=text) for text in TEXTS], QUERY)
    assert [(each.page_content, each.metadata["relevance_score"]) for each in found] == expected(offline, 3)


def nodes():
    schema = importlib.import_module("llama_index.core.schema")
    return [schema.NodeWithScore(node=schema.TextNode(text=text), score=0.0) for text in TEXTS]


def found_nodes(reranker):
    return [(each.node.get_content(), each.score) for each in reranker.postprocess_nodes(nodes(), query_str=QUERY)]


def test_llama_index_cohere(base, offline):
    module = of("llama-index-postprocessor-cohere-rerank", "llama_index.postprocessor.cohere_rerank")
    reranker = module.CohereRerank(base_url=base, api_key=KEY, model="podium-mini", top_n=3)
    assert found_nodes(reranker) == expected(offline, 3)


def test_llama_index_tei(base, offline, keyed):
    module = of("llama-index-postprocessor-tei-rerank", "llama_index.postprocessor.tei_rerank")
    assert found_nodes(module.TextEmbeddingInference(base_url=base, top_n=3)) == expected(offline, 3)
    url, key = keyed
    assert found_nodes(module.TextEmbeddingInference(base_url=url, auth_token=key, top_n=3)) == expected(offline, 3)


def test_llama_index_jina(base, offline):
    module = of("llama-index-postprocessor-jinaai-rerank", "llama_index.postprocessor.jinaai_rerank")
    reranker = module.JinaRerank(base_url=f"{base}/v1", api_key=KEY, model="podium-mini", top_n=3)
    assert found_nodes(reranker) == expected(offline, 3)


def haystack_documents():
    haystack = importlib.import_module("haystack")
    return [haystack.Document(content=text) for text in TEXTS]


def test_haystack_cohere(base, offline):
    module = of("cohere-haystack", "haystack_integrations.components.rankers.cohere")
    secret = importlib.import_module("haystack.utils").Secret
    ranker = module.CohereRanker(model="podium-mini", api_base_url=base, api_key=secret.from_token(KEY), top_k=3)
    found = ranker.run(query=QUERY, documents=haystack_documents())["documents"]
    assert [(each.content, each.score) for each in found] == expected(offline, 3)


def test_haystack_jina(base, offline):
    module = of("jina-haystack", "haystack_integrations.components.rankers.jina")
    secret = importlib.import_module("haystack.utils").Secret
    ranker = module.JinaRanker(model="podium-mini", base_url=f"{base}/v1/rerank", api_key=secret.from_token(KEY), top_k=3)
    said = ranker.run(query=QUERY, documents=haystack_documents())
    assert [(each.content, each.score) for each in said["documents"]] == expected(offline, 3)
    assert said["meta"]["model"] == "podium-mini"


def test_litellm_infinity(base, offline):
    """It wants documents as strings, which no other client takes; without them it is as the others."""
    litellm = of("litellm", "litellm")
    asked = {"model": "infinity/podium-mini", "query": QUERY, "documents": TEXTS, "api_base": base, "api_key": KEY}
    said = litellm.rerank(**asked, return_documents=False)
    assert [(each["index"], each["relevance_score"]) for each in said.results] == offline


@pytest.mark.parametrize("model", ["cohere", "hosted_vllm", "jina_ai", "voyage", "huggingface"])
@pytest.mark.parametrize("echoed", [False, True])
def test_litellm(base, offline, model, echoed):
    litellm = of("litellm", "litellm")
    asked = {"model": f"{model}/podium-mini", "query": QUERY, "documents": TEXTS, "api_base": base, "api_key": KEY}
    said = litellm.rerank(**asked, return_documents=echoed)
    assert [(each["index"], each["relevance_score"]) for each in said.results] == offline
    said = asyncio.run(litellm.arerank(**asked, top_n=2))
    assert [each["index"] for each in said.results][:2] == [index for index, _ in offline[:2]]


def test_litellm_nim(base, offline):
    litellm = of("litellm", "litellm")
    request = {"query": QUERY, "documents": TEXTS, "api_base": base, "api_key": KEY}
    response = litellm.rerank(model="nvidia_nim/ranking/podium-mini", **request)
    assert [each["index"] for each in response.results] == [index for index, _ in offline]


def test_langchain_nvidia(base, offline):
    module = of("langchain-nvidia-ai-endpoints", "langchain_nvidia_ai_endpoints")
    documents = importlib.import_module("langchain_core.documents")
    reranker = module.NVIDIARerank(model="podium-mini", base_url=f"{base}/v1", api_key=KEY, top_n=3)
    ranked = reranker.compress_documents([documents.Document(page_content=text) for text in TEXTS], QUERY)
    scores = [1 / (1 + math.exp(-each.metadata["relevance_score"])) for each in ranked]
    expected_scores = [(text, pytest.approx(score.expected, abs=1e-6)) for text, score in expected(offline, 3)]
    assert [(each.page_content, score) for each, score in zip(ranked, scores, strict=True)] == expected_scores


@pytest.mark.parametrize(("name", "path"), [("CohereReranker", ""), ("VoyageAIReranker", "/v1")])
def test_redisvl(base, offline, name, path):
    module = of("redisvl", "redisvl.utils.rerank")
    options = {"limit": 3, "return_score": True, "api_config": {"api_key": KEY}, "base_url": f"{base}{path}"}
    reranker = getattr(module, name)(model="podium-mini", **options)
    assert list(zip(*reranker.rank(query=QUERY, docs=TEXTS), strict=True)) == expected(offline, 3)
    assert list(zip(*asyncio.run(reranker.arank(query=QUERY, docs=TEXTS)), strict=True)) == expected(offline, 3)


@pytest.mark.parametrize(
    ("provider", "path"),
    [
        ("cohere", "/v2/rerank"),
        ("jina", "/v1/rerank"),
        ("voyage", "/v1/rerank"),
        ("mixedbread.ai", "/v1/reranking"),
        ("pinecone", "/rerank"),
        ("text-embeddings-inference", "/rerank"),
    ],
)
def test_rerankers(base, offline, provider, path):
    module = of("rerankers", "rerankers")
    url = f"{base}{path}"
    reranker = module.Reranker("podium-mini", model_type="APIRanker", api_provider=provider, api_key=KEY, url=url, verbose=0)
    results = reranker.rank(QUERY, TEXTS).results
    assert [(result.document.doc_id, result.score) for result in results] == offline


def test_mixedbread(base, offline):
    client = of("mixedbread", "mixedbread").Mixedbread(base_url=base, api_key=KEY)
    response = client.rerank(model="podium-mini", query=QUERY, input=TEXTS, return_input=True)
    assert [(each.index, each.score) for each in response.data] == offline
    assert [each.input for each in response.data] == [TEXTS[index] for index, _ in offline]


def test_pinecone(base, offline, keyed):
    module = of("pinecone", "pinecone")
    for url, key in ((base, KEY), keyed):
        client = module.Pinecone(api_key=key, host=url)
        response = client.inference.rerank(model="podium-mini", query=QUERY, documents=TEXTS)
        assert [(each.index, each.score) for each in response.data] == offline
        assert response.usage.rerank_units == 1
