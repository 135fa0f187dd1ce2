"""LangChain, LlamaIndex, Haystack and litellm, whichever of their rerankers this environment has."""

from __future__ import annotations

import asyncio
import importlib

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
