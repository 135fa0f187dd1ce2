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
    """Return the text and score of each result."""
    return [(document.page_content, document.metadata["relevance_score"]) for document in documents]


def test_langchain_cohere(server_url, expected, expected_texts):
    module = import_from("langchain-cohere", "langchain_cohere")
    reranker = module.CohereRerank(base_url=server_url, cohere_api_key=KEY, model=MODEL, top_n=3)
    assert langchain_scores(reranker.compress_documents(langchain_documents(), QUERY)) == expected_texts[:3]
    documents = asyncio.run(reranker.acompress_documents(langchain_documents(), QUERY))
    assert [document.page_content for document in documents] == [text for text, _ in expected_texts[:3]]
    unlimited = module.CohereRerank(base_url=server_url, cohere_api_key=KEY, model=MODEL, top_n=None)
    assert [result["index"] for result in unlimited.rerank(TEXTS, QUERY)] == [index for index, _ in expected]


def test_langchain_voyage(server_url, expected_texts):
    module = import_from("langchain-voyageai", "langchain_voyageai")
    reranker = module.VoyageAIRerank(base_url=f"{server_url}/v1", voyage_api_key=KEY, model=MODEL, top_k=3)
    assert langchain_scores(reranker.compress_documents(langchain_documents(), QUERY)) == expected_texts[:3]


def test_langchain_nvidia(server_url, expected_texts):
    """The scores of NIM are logits, so they are converted before they are compared."""
    module = import_from("langchain-nvidia-ai-endpoints", "langchain_nvidia_ai_endpoints")
    reranker = module.NVIDIARerank(model=MODEL, base_url=f"{server_url}/v1", api_key=KEY, top_n=3)
    logits = langchain_scores(reranker.compress_documents(langchain_documents(), QUERY))
    expected_scores = [(text, pytest.approx(score.expected, abs=1e-6)) for text, score in expected_texts[:3]]
    assert [(text, 1 / (1 + math.exp(-logit))) for text, logit in logits] == expected_scores


def llama_index_scores(reranker):
    """Return the text and score of each result."""
    schema = importlib.import_module("llama_index.core.schema")
    nodes = [schema.NodeWithScore(node=schema.TextNode(text=text), score=0.0) for text in TEXTS]
    ranked = reranker.postprocess_nodes(nodes, query_str=QUERY)
    return [(scored.node.get_content(), scored.score) for scored in ranked]


def test_llama_index_cohere(server_url, expected_texts):
    module = import_from("llama-index-postprocessor-cohere-rerank", "llama_index.postprocessor.cohere_rerank")
    reranker = module.CohereRerank(base_url=server_url, api_key=KEY, model=MODEL, top_n=3)
    assert llama_index_scores(reranker) == expected_texts[:3]


def test_llama_index_tei(server_url, expected_texts, url_and_key):
    module = import_from("llama-index-postprocessor-tei-rerank", "llama_index.postprocessor.tei_rerank")
    assert llama_index_scores(module.TextEmbeddingInference(base_url=server_url, top_n=3)) == expected_texts[:3]
    url, key = url_and_key
    assert llama_index_scores(module.TextEmbeddingInference(base_url=url, auth_token=key, top_n=3)) == expected_texts[:3]


def test_llama_index_jina(server_url, expected_texts):
    module = import_from("llama-index-postprocessor-jinaai-rerank", "llama_index.postprocessor.jinaai_rerank")
    reranker = module.JinaRerank(base_url=f"{server_url}/v1", api_key=KEY, model=MODEL, top_n=3)
    assert llama_index_scores(reranker) == expected_texts[:3]


def haystack_output(ranker):
    haystack = importlib.import_module("haystack")
    return ranker.run(query=QUERY, documents=[haystack.Document(content=text) for text in TEXTS])


def haystack_secret():
    return importlib.import_module("haystack.utils").Secret.from_token(KEY)


def test_haystack_cohere(server_url, expected_texts):
    module = import_from("cohere-haystack", "haystack_integrations.components.rankers.cohere")
    ranker = module.CohereRanker(model=MODEL, api_base_url=server_url, api_key=haystack_secret(), top_k=3)
    documents = haystack_output(ranker)["documents"]
    assert [(document.content, document.score) for document in documents] == expected_texts[:3]


def test_haystack_jina(server_url, expected_texts):
    module = import_from("jina-haystack", "haystack_integrations.components.rankers.jina")
    ranker = module.JinaRanker(model=MODEL, base_url=f"{server_url}/v1/rerank", api_key=haystack_secret(), top_k=3)
    output = haystack_output(ranker)
    assert [(document.content, document.score) for document in output["documents"]] == expected_texts[:3]
    assert output["meta"]["model"] == MODEL


def litellm_arguments(server_url, provider):
    return {"model": f"{provider}/{MODEL}", "query": QUERY, "documents": TEXTS, "api_base": server_url, "api_key": KEY}


def litellm_scores(response):
    """Return the index and score of each result."""
    return [(result["index"], result["relevance_score"]) for result in response.results]


def test_litellm_infinity(server_url, expected):
    """With this provider, litellm can only read a reply whose documents are strings, so none are requested."""
    litellm = import_from("litellm", "litellm")
    response = litellm.rerank(**litellm_arguments(server_url, "infinity"), return_documents=False)
    assert litellm_scores(response) == expected


@pytest.mark.parametrize("provider", ["cohere", "hosted_vllm", "jina_ai", "voyage", "huggingface"])
@pytest.mark.parametrize("return_documents", [False, True], ids=["without documents", "with documents"])
def test_litellm(server_url, expected, provider, return_documents):
    litellm = import_from("litellm", "litellm")
    arguments = litellm_arguments(server_url, provider)
    assert litellm_scores(litellm.rerank(**arguments, return_documents=return_documents)) == expected
    response = asyncio.run(litellm.arerank(**arguments, top_n=2))
    assert [result["index"] for result in response.results][:2] == [index for index, _ in expected[:2]]


def test_litellm_nim(server_url, expected):
    litellm = import_from("litellm", "litellm")
    response = litellm.rerank(**litellm_arguments(server_url, "nvidia_nim/ranking"))
    assert [result["index"] for result in response.results] == [index for index, _ in expected]


@pytest.mark.parametrize(
    ("class_name", "path"), [("CohereReranker", ""), ("VoyageAIReranker", "/v1")], ids=["cohere", "voyage"]
)
def test_redisvl(server_url, expected_texts, class_name, path):
    module = import_from("redisvl", "redisvl.utils.rerank")
    options = {"limit": 3, "return_score": True, "api_config": {"api_key": KEY}, "base_url": f"{server_url}{path}"}
    reranker = getattr(module, class_name)(model=MODEL, **options)
    assert list(zip(*reranker.rank(query=QUERY, docs=TEXTS), strict=True)) == expected_texts[:3]
    assert list(zip(*asyncio.run(reranker.arank(query=QUERY, docs=TEXTS)), strict=True)) == expected_texts[:3]


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
def test_rerankers(server_url, expected, provider, path):
    module = import_from("rerankers", "rerankers")
    options = {"api_provider": provider, "api_key": KEY, "url": f"{server_url}{path}", "verbose": 0}
    reranker = module.Reranker(MODEL, model_type="APIRanker", **options)
    results = reranker.rank(QUERY, TEXTS).results
    assert [(result.document.doc_id, result.score) for result in results] == expected


def test_mixedbread(server_url, expected):
    client = import_from("mixedbread", "mixedbread").Mixedbread(base_url=server_url, api_key=KEY)
    response = client.rerank(model=MODEL, query=QUERY, input=TEXTS, return_input=True)
    assert [(result.index, result.score) for result in response.data] == expected
    assert [result.input for result in response.data] == [TEXTS[index] for index, _ in expected]


@pytest.mark.parametrize("with_keys", [False, True], ids=["server without keys", "server with keys"])
def test_pinecone(server_url, expected, url_and_key, with_keys):
    module = import_from("pinecone", "pinecone")
    url, key = url_and_key if with_keys else (server_url, KEY)
    response = module.Pinecone(api_key=key, host=url).inference.rerank(model=MODEL, query=QUERY, documents=TEXTS)
    assert [(result.index, result.score) for result in response.data] == expected
    assert response.usage.rerank_units == 1
