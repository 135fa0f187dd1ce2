"""The rerankers of LangChain, LlamaIndex, Haystack, litellm, redisvl and others that are installed in this environment."""

from __future__ import annotations

import asyncio
import importlib
import math

import pytest
from conftest import KEY, MODEL, PACKAGES, QUERY, TEXTS


def import_from(package, module):
    """Return a module of a package. Skips the test if the package is not in this environment's list."""
    if package not in PACKAGES:
        pytest.skip(f"{package} is in the other environment")
    return importlib.import_module(module)


def langchain_documents():
    module = importlib.import_module("langchain_core.documents")
    return [module.Document(page_content=text) for text in TEXTS]


def langchain_scores(documents):
    return [(document.page_content, document.metadata["relevance_score"]) for document in documents]


def test_langchain_cohere(base, offline, offline_texts):
    module = import_from("langchain-cohere", "langchain_cohere")
    reranker = module.CohereRerank(base_url=base, cohere_api_key=KEY, model=MODEL, top_n=3)
    assert langchain_scores(reranker.compress_documents(langchain_documents(), QUERY)) == offline_texts[:3]
    documents = asyncio.run(reranker.acompress_documents(langchain_documents(), QUERY))
    assert [document.page_content for document in documents] == [text for text, _ in offline_texts[:3]]
    unlimited = module.CohereRerank(base_url=base, cohere_api_key=KEY, model=MODEL, top_n=None)
    assert [result["index"] for result in unlimited.rerank(TEXTS, QUERY)] == [index for index, _ in offline]


def test_langchain_voyage(base, offline_texts):
    module = import_from("langchain-voyageai", "langchain_voyageai")
    reranker = module.VoyageAIRerank(base_url=f"{base}/v1", voyage_api_key=KEY, model=MODEL, top_k=3)
    assert langchain_scores(reranker.compress_documents(langchain_documents(), QUERY)) == offline_texts[:3]


def test_langchain_nvidia(base, offline_texts):
    """NIM returns logits."""
    module = import_from("langchain-nvidia-ai-endpoints", "langchain_nvidia_ai_endpoints")
    reranker = module.NVIDIARerank(model=MODEL, base_url=f"{base}/v1", api_key=KEY, top_n=3)
    logits = langchain_scores(reranker.compress_documents(langchain_documents(), QUERY))
    expected = [(text, pytest.approx(score.expected, abs=1e-6)) for text, score in offline_texts[:3]]
    assert [(text, 1 / (1 + math.exp(-logit))) for text, logit in logits] == expected


def llama_index_scores(reranker):
    schema = importlib.import_module("llama_index.core.schema")
    nodes = [schema.NodeWithScore(node=schema.TextNode(text=text), score=0.0) for text in TEXTS]
    ranked = reranker.postprocess_nodes(nodes, query_str=QUERY)
    return [(scored.node.get_content(), scored.score) for scored in ranked]


def test_llama_index_cohere(base, offline_texts):
    module = import_from("llama-index-postprocessor-cohere-rerank", "llama_index.postprocessor.cohere_rerank")
    reranker = module.CohereRerank(base_url=base, api_key=KEY, model=MODEL, top_n=3)
    assert llama_index_scores(reranker) == offline_texts[:3]


def test_llama_index_tei(base, offline_texts, keyed):
    module = import_from("llama-index-postprocessor-tei-rerank", "llama_index.postprocessor.tei_rerank")
    assert llama_index_scores(module.TextEmbeddingInference(base_url=base, top_n=3)) == offline_texts[:3]
    url, key = keyed
    assert llama_index_scores(module.TextEmbeddingInference(base_url=url, auth_token=key, top_n=3)) == offline_texts[:3]


def test_llama_index_jina(base, offline_texts):
    module = import_from("llama-index-postprocessor-jinaai-rerank", "llama_index.postprocessor.jinaai_rerank")
    reranker = module.JinaRerank(base_url=f"{base}/v1", api_key=KEY, model=MODEL, top_n=3)
    assert llama_index_scores(reranker) == offline_texts[:3]


def haystack_output(ranker):
    haystack = importlib.import_module("haystack")
    return ranker.run(query=QUERY, documents=[haystack.Document(content=text) for text in TEXTS])


def haystack_secret():
    return importlib.import_module("haystack.utils").Secret.from_token(KEY)


def test_haystack_cohere(base, offline_texts):
    module = import_from("cohere-haystack", "haystack_integrations.components.rankers.cohere")
    ranker = module.CohereRanker(model=MODEL, api_base_url=base, api_key=haystack_secret(), top_k=3)
    documents = haystack_output(ranker)["documents"]
    assert [(document.content, document.score) for document in documents] == offline_texts[:3]


def test_haystack_jina(base, offline_texts):
    module = import_from("jina-haystack", "haystack_integrations.components.rankers.jina")
    ranker = module.JinaRanker(model=MODEL, base_url=f"{base}/v1/rerank", api_key=haystack_secret(), top_k=3)
    output = haystack_output(ranker)
    assert [(document.content, document.score) for document in output["documents"]] == offline_texts[:3]
    assert output["meta"]["model"] == MODEL


def litellm_arguments(base, provider):
    return {"model": f"{provider}/{MODEL}", "query": QUERY, "documents": TEXTS, "api_base": base, "api_key": KEY}


def litellm_scores(response):
    return [(result["index"], result["relevance_score"]) for result in response.results]


def test_litellm_infinity(base, offline):
    """With this provider, litellm can only read a reply whose documents are strings, so none are requested."""
    litellm = import_from("litellm", "litellm")
    response = litellm.rerank(**litellm_arguments(base, "infinity"), return_documents=False)
    assert litellm_scores(response) == offline


@pytest.mark.parametrize("provider", ["cohere", "hosted_vllm", "jina_ai", "voyage", "huggingface"])
@pytest.mark.parametrize("return_documents", [False, True], ids=["without documents", "with documents"])
def test_litellm(base, offline, provider, return_documents):
    litellm = import_from("litellm", "litellm")
    arguments = litellm_arguments(base, provider)
    assert litellm_scores(litellm.rerank(**arguments, return_documents=return_documents)) == offline
    response = asyncio.run(litellm.arerank(**arguments, top_n=2))
    assert [result["index"] for result in response.results][:2] == [index for index, _ in offline[:2]]


def test_litellm_nim(base, offline):
    litellm = import_from("litellm", "litellm")
    response = litellm.rerank(**litellm_arguments(base, "nvidia_nim/ranking"))
    assert [result["index"] for result in response.results] == [index for index, _ in offline]


@pytest.mark.parametrize(
    ("class_name", "path"), [("CohereReranker", ""), ("VoyageAIReranker", "/v1")], ids=["cohere", "voyage"]
)
def test_redisvl(base, offline_texts, class_name, path):
    module = import_from("redisvl", "redisvl.utils.rerank")
    options = {"limit": 3, "return_score": True, "api_config": {"api_key": KEY}, "base_url": f"{base}{path}"}
    reranker = getattr(module, class_name)(model=MODEL, **options)
    assert list(zip(*reranker.rank(query=QUERY, docs=TEXTS), strict=True)) == offline_texts[:3]
    assert list(zip(*asyncio.run(reranker.arank(query=QUERY, docs=TEXTS)), strict=True)) == offline_texts[:3]


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
    ids=["cohere", "jina", "voyage", "mixedbread", "pinecone", "tei"],
)
def test_rerankers(base, offline, provider, path):
    module = import_from("rerankers", "rerankers")
    options = {"api_provider": provider, "api_key": KEY, "url": f"{base}{path}", "verbose": 0}
    reranker = module.Reranker(MODEL, model_type="APIRanker", **options)
    results = reranker.rank(QUERY, TEXTS).results
    assert [(result.document.doc_id, result.score) for result in results] == offline


def test_mixedbread(base, offline):
    client = import_from("mixedbread", "mixedbread").Mixedbread(base_url=base, api_key=KEY)
    response = client.rerank(model=MODEL, query=QUERY, input=TEXTS, return_input=True)
    assert [(result.index, result.score) for result in response.data] == offline
    assert [result.input for result in response.data] == [TEXTS[index] for index, _ in offline]


@pytest.mark.parametrize("with_keys", [False, True], ids=["server without keys", "server with keys"])
def test_pinecone(base, offline, keyed, with_keys):
    module = import_from("pinecone", "pinecone")
    url, key = keyed if with_keys else (base, KEY)
    response = module.Pinecone(api_key=key, host=url).inference.rerank(model=MODEL, query=QUERY, documents=TEXTS)
    assert [(result.index, result.score) for result in response.data] == offline
    assert response.usage.rerank_units == 1
