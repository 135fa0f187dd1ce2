"""The adapters with the real packages: ids and metadata are preserved, and scores are in the attributes of each package."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys

import numpy as np
import pytest

import podium
from environment import PARITY_MODELS
from lazy_modules import LazyModule
from podium.errors import InvalidInput
from podium.integrations.frames import rerank_frame

langchain_documents = LazyModule("langchain_core.documents")
llama_schema = LazyModule("llama_index.core.schema")
haystack = LazyModule("haystack")
redisvl_rerank = LazyModule("redisvl.utils.rerank")
redisvl_vectorize = LazyModule("redisvl.utils.vectorize")
pandas = LazyModule("pandas")
polars = LazyModule("polars")
for_haystack = LazyModule("podium.integrations.haystack")
for_langchain = LazyModule("podium.integrations.langchain")
for_llama_index = LazyModule("podium.integrations.llama_index")
for_redisvl = LazyModule("podium.integrations.redisvl")

QUERY = "a red fruit"
TEXTS = ["the sea at night", "a ripe red apple", "", "stones"]
TITLES = ["the sea at night", "a ripe red apple", "-", "stones"]


@pytest.fixture(scope="module")
def expected(mini):
    """podium's own ranking of TEXTS: indices and scores, best first."""
    return [(result.index, result.score) for result in mini.rerank(QUERY, TEXTS)]


@pytest.fixture
def langchain_input():
    return [
        langchain_documents.Document(page_content=text, id=f"d{index}", metadata={"index": index})
        for index, text in enumerate(TEXTS)
    ]


def test_langchain_returns_copies_with_scores(mini, expected, langchain_input):
    compressor = for_langchain.PodiumReranker(reranker=mini)
    documents = compressor.compress_documents(langchain_input, QUERY)
    scores = [(document.metadata["index"], document.metadata["relevance_score"]) for document in documents]
    assert scores == expected
    assert [document.id for document in documents] == [f"d{index}" for index, _ in expected]
    assert all("relevance_score" not in document.metadata for document in langchain_input)
    assert asyncio.run(compressor.acompress_documents(langchain_input, QUERY)) == documents
    assert compressor.compress_documents([], QUERY) == []


def test_langchain_limits_documents(mini, expected, langchain_input):
    (document,) = for_langchain.PodiumReranker(reranker=mini, limit=1).compress_documents(langchain_input, QUERY)
    assert document.metadata["index"] == expected[0][0]


def test_langchain_reads_the_metadata_in_rank_by(mini):
    documents = [langchain_documents.Document(page_content="x", metadata={"title": title}) for title in TITLES]
    compressor = for_langchain.PodiumReranker(reranker=mini, rank_by=["title"])
    assert compressor.compress_documents(documents, QUERY)[0].metadata["title"] == "a ripe red apple"


@pytest.fixture
def nodes():
    return [
        llama_schema.NodeWithScore(node=llama_schema.TextNode(text=text, id_=f"d{index}", metadata={}), score=0.5)
        for index, text in enumerate(TEXTS)
    ]


def test_llama_index_returns_nodes_with_scores(mini, expected, nodes):
    postprocessor = for_llama_index.PodiumReranker(reranker=mini)
    expected_ids = [(f"d{index}", score) for index, score in expected]
    ranked = postprocessor.postprocess_nodes(nodes, query_str=QUERY)
    assert [(scored.node.node_id, scored.score) for scored in ranked] == expected_ids
    assert [scored.score for scored in nodes] == [0.5] * 4
    ranked = asyncio.run(postprocessor.apostprocess_nodes(nodes, query_str=QUERY))
    assert [(scored.node.node_id, scored.score) for scored in ranked] == expected_ids


def test_llama_index_limits_nodes(mini, nodes):
    postprocessor = for_llama_index.PodiumReranker(reranker=mini, limit=2)
    assert len(postprocessor.postprocess_nodes(nodes, query_bundle=llama_schema.QueryBundle(QUERY))) == 2


def test_llama_index_needs_a_query(mini, nodes):
    with pytest.raises(InvalidInput, match="query_str or query_bundle"):
        for_llama_index.PodiumReranker(reranker=mini).postprocess_nodes(nodes)


@pytest.fixture
def haystack_input():
    return [
        haystack.Document(id=f"d{index}", content=text, meta={"index": index}, score=0.1) for index, text in enumerate(TEXTS)
    ]


def test_haystack_returns_copies_with_scores(expected, haystack_input):
    ranker = for_haystack.PodiumReranker()
    documents = ranker.run(query=QUERY, documents=haystack_input)["documents"]
    assert [(document.meta["index"], document.score) for document in documents] == expected
    assert [document.id for document in documents] == [f"d{index}" for index, _ in expected]
    assert [document.score for document in haystack_input] == [0.1] * 4
    assert asyncio.run(ranker.run_async(query=QUERY, documents=haystack_input))["documents"] == documents


def test_haystack_limits_documents_by_count_and_by_score(mini, expected, haystack_input):
    ranker = for_haystack.PodiumReranker(reranker=mini, top_k=2)
    documents = ranker.run(query=QUERY, documents=haystack_input)["documents"]
    assert [(document.meta["index"], document.score) for document in documents] == expected[:2]
    assert len(ranker.run(query=QUERY, documents=haystack_input, top_k=1)["documents"]) == 1
    best_index, best_score = expected[0]
    (document,) = ranker.run(query=QUERY, documents=haystack_input, score_threshold=best_score)["documents"]
    assert document.meta["index"] == best_index


def test_haystack_pipeline_is_saved_and_loaded():
    pipeline = haystack.Pipeline()
    pipeline.add_component("ranker", for_haystack.PodiumReranker(top_k=1, rank_by=["title"]))
    loaded = haystack.Pipeline.loads(pipeline.dumps(), allowed_modules=["podium.integrations.haystack"])
    documents = [haystack.Document(content="x", meta={"title": title}) for title in TITLES]
    (document,) = loaded.run({"ranker": {"query": QUERY, "documents": documents}})["ranker"]["documents"]
    assert document.meta["title"] == "a ripe red apple"


def test_redisvl_reranker_returns_documents_and_scores(mini, expected):
    reranker = for_redisvl.PodiumReranker(mini, limit=4)
    assert isinstance(reranker, redisvl_rerank.BaseReranker)
    assert (reranker.model, reranker.limit, reranker.return_score) == (mini.model, 4, True)
    records = [{"content": text, "id": index} for index, text in enumerate(TEXTS)]
    documents, scores = reranker.rank(QUERY, records)
    assert [(document["id"], score) for document, score in zip(documents, scores, strict=True)] == expected
    assert asyncio.run(reranker.arank(query=QUERY, docs=records)) == (documents, scores)
    assert reranker.rank(QUERY, records, limit=1, return_score=False) == documents[:1]


def test_redisvl_reranker_reads_the_fields_of_rank_by(mini):
    reranker = for_redisvl.PodiumReranker(mini)
    records = [{"title": title} for title in TITLES]
    assert reranker.rank(QUERY, records, rank_by=["title"], limit=1)[0] == [{"title": "a ripe red apple"}]


def test_redisvl_reranker_refuses_limit_0(mini):
    with pytest.raises(ValueError, match="positive"):
        for_redisvl.PodiumReranker(mini, limit=0)


def test_embedder_is_a_redisvl_vectorizer():
    with contextlib.closing(podium.Embedder(PARITY_MODELS / "embedders" / "bert-mean")) as embedder:
        vectorizer = for_redisvl.Vectorizer(embedder)
        vectors = embedder.embed(["a", "the capital"])
        assert isinstance(vectorizer, redisvl_vectorize.BaseVectorizer)
        assert vectorizer.dims == embedder.dimensions
        assert vectorizer.embed("a") == vectors[0].tolist()
        assert vectorizer.embed_many(["a", "the capital"]) == vectors.tolist()
        assert vectorizer.embed("a", as_buffer=True) == vectors[0].tobytes()
        assert asyncio.run(vectorizer.aembed("a")) == vectors[0].tolist()
        assert asyncio.run(vectorizer.aembed_many(["a", "the capital"])) == vectors.tolist()


@pytest.fixture(params=[pandas, polars], ids=["pandas", "polars"])
def frame(request):
    return request.param.DataFrame({"text": TEXTS, "index": range(4)})


def test_frame_is_reordered_with_scores_and_ranks(mini, expected, frame):
    ranked = rerank_frame(frame, QUERY, mini)
    assert type(ranked) is type(frame)
    assert list(zip(ranked["index"], ranked["score"], strict=True)) == expected
    assert list(ranked["rank"]) == [1, 2, 3, 4]
    assert list(frame.columns) == ["text", "index"]
    assert len(rerank_frame(frame, QUERY, mini, rank_by="text", limit=1)) == 1


def test_empty_frame_gets_the_new_columns(mini, frame):
    ranked = rerank_frame(frame[:0], QUERY, mini)
    assert (len(ranked), list(ranked.columns)) == (0, ["text", "index", "score", "rank"])


def test_frame_with_a_column_score_is_refused(mini, frame):
    with pytest.raises(InvalidInput, match="already has a column 'score'"):
        rerank_frame(rerank_frame(frame, QUERY, mini), QUERY, mini)


def test_pandas_rows_keep_their_labels_and_missing_cells_have_no_text(mini):
    frame = pandas.DataFrame({"text": [None, "a ripe red apple", np.nan]}, index=["x", "y", "z"])
    assert list(rerank_frame(frame, QUERY, mini).index) == ["y", "x", "z"]


def test_list_is_not_a_frame(mini):
    with pytest.raises(InvalidInput, match="DataFrame of pandas or Polars, not a list"):
        rerank_frame([{"text": "a"}], QUERY, mini)


WITHOUT_PACKAGE = """
import importlib, sys
import podium
sys.modules[sys.argv[2]] = None  # as if it was not installed
try:
    importlib.import_module(f"podium.integrations.{sys.argv[1]}")
except podium.MissingPackage as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("adapter", "module", "package"),
    [
        ("haystack", "haystack", "haystack-ai"),
        ("langchain", "langchain_core", "langchain-core"),
        ("llama_index", "llama_index", "llama-index-core"),
        ("redisvl", "redisvl", "redisvl"),
    ],
)
def test_missing_package_of_an_adapter_is_an_error_with_the_command_that_installs_it(adapter, module, package):
    process = subprocess.run(
        [sys.executable, "-c", WITHOUT_PACKAGE, adapter, module], capture_output=True, text=True, check=True, timeout=120
    )
    assert process.stdout == f"this adapter needs {module}, which is not installed: pip install {package}\n"
