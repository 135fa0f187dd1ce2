"""The adapters, with the real packages: ids and metadata stay, the score is where that package's users look for it."""

from __future__ import annotations

import asyncio
import importlib
import warnings

import numpy as np
import pytest

import podium
from environment import PARITY
from podium.errors import InvalidInput
from podium.integrations.frames import rerank_frame

with warnings.catch_warnings():  # what these packages warn of when they are imported is theirs
    warnings.simplefilter("ignore")
    langchain_documents = importlib.import_module("langchain_core.documents")
    llama_schema = importlib.import_module("llama_index.core.schema")
    haystack = importlib.import_module("haystack")
    redisvl_rerank = importlib.import_module("redisvl.utils.rerank")
    redisvl_vectorize = importlib.import_module("redisvl.utils.vectorize")
    pandas = importlib.import_module("pandas")
    polars = importlib.import_module("polars")
    from podium.integrations import haystack as for_haystack
    from podium.integrations import langchain as for_langchain
    from podium.integrations import llama_index as for_llama_index
    from podium.integrations import redisvl as for_redisvl

QUERY = "a red fruit"
TEXTS = ["the sea at night", "a ripe red apple", "", "stones"]


@pytest.fixture(scope="module")
def wanted(mini):
    """What podium itself says: places and scores, best first."""
    return [(result.index, result.score) for result in mini.rerank(QUERY, TEXTS)]


def test_langchain(mini, wanted):
    documents = [
        langchain_documents.Document(page_content=text, id=f"d{at}", metadata={"at": at}) for at, text in enumerate(TEXTS)
    ]
    compressor = for_langchain.PodiumReranker(reranker=mini)
    found = compressor.compress_documents(documents, QUERY)
    assert [(each.metadata["at"], each.metadata["relevance_score"]) for each in found] == wanted
    assert [each.id for each in found] == [f"d{at}" for at, _ in wanted]
    assert all("relevance_score" not in each.metadata for each in documents)
    assert asyncio.run(compressor.acompress_documents(documents, QUERY)) == found
    assert for_langchain.PodiumReranker(reranker=mini, limit=1).compress_documents(documents, QUERY) == found[:1]
    assert compressor.compress_documents([], QUERY) == []
    titled = [langchain_documents.Document(page_content="x", metadata={"title": text or "-"}) for text in TEXTS]
    by_title = for_langchain.PodiumReranker(reranker=mini, rank_by=["title"]).compress_documents(titled, QUERY)
    assert by_title[0].metadata["title"] == TEXTS[1]


def test_llama_index(mini, wanted):
    nodes = [
        llama_schema.NodeWithScore(node=llama_schema.TextNode(text=text, id_=f"d{at}", metadata={}), score=0.5)
        for at, text in enumerate(TEXTS)
    ]
    postprocessor = for_llama_index.PodiumReranker(reranker=mini)
    found = postprocessor.postprocess_nodes(nodes, query_str=QUERY)
    assert [(int(each.node.node_id[1:]), each.score) for each in found] == wanted
    assert [each.score for each in nodes] == [0.5] * 4
    again = asyncio.run(postprocessor.apostprocess_nodes(nodes, query_str=QUERY))
    assert [(each.node.node_id, each.score) for each in again] == [(each.node.node_id, each.score) for each in found]
    limited = for_llama_index.PodiumReranker(reranker=mini, limit=2)
    assert len(limited.postprocess_nodes(nodes, query_bundle=llama_schema.QueryBundle(QUERY))) == 2
    with pytest.raises(InvalidInput, match="query_str or query_bundle"):
        postprocessor.postprocess_nodes(nodes)


def test_haystack(mini, wanted):
    documents = [haystack.Document(id=f"d{at}", content=text, meta={"at": at}, score=0.1) for at, text in enumerate(TEXTS)]
    ranker = for_haystack.PodiumReranker()
    found = ranker.run(query=QUERY, documents=documents)["documents"]
    assert [(each.meta["at"], each.score) for each in found] == wanted
    assert [each.id for each in found] == [f"d{at}" for at, _ in wanted]
    assert [each.score for each in documents] == [0.1] * 4
    assert asyncio.run(ranker.run_async(query=QUERY, documents=documents))["documents"] == found
    assert len(ranker.run(query=QUERY, documents=documents, top_k=1)["documents"]) == 1
    assert all(each.score >= 0.9 for each in ranker.run(query=QUERY, documents=documents, score_threshold=0.9)["documents"])
    given = for_haystack.PodiumReranker(reranker=mini, top_k=2).run(query=QUERY, documents=documents)["documents"]
    assert given == found[:2]


def test_haystack_pipelines_run_and_are_saved():
    pipeline = haystack.Pipeline()
    pipeline.add_component("ranker", for_haystack.PodiumReranker(top_k=1, rank_by=["title"]))
    again = haystack.Pipeline.loads(pipeline.dumps(), allowed_modules=["podium.integrations.haystack"])
    documents = [haystack.Document(content="x", meta={"title": text or "-"}) for text in TEXTS]
    (found,) = again.run({"ranker": {"query": QUERY, "documents": documents}})["ranker"]["documents"]
    assert found.meta["title"] == TEXTS[1]


def test_redisvl_rerankers(mini, wanted):
    reranker = for_redisvl.PodiumReranker(mini, limit=4)
    assert isinstance(reranker, redisvl_rerank.BaseReranker)
    assert (reranker.model, reranker.limit, reranker.return_score) == (mini.model, 4, True)
    documents = [{"content": text, "id": at} for at, text in enumerate(TEXTS)]
    found, scores = reranker.rank(QUERY, documents)
    assert [(each["id"], score) for each, score in zip(found, scores, strict=True)] == wanted
    assert asyncio.run(reranker.arank(query=QUERY, docs=documents)) == (found, scores)
    assert reranker.rank(QUERY, documents, limit=1, return_score=False) == found[:1]
    assert reranker.rank(QUERY, [{"title": "x"}, {"title": TEXTS[1]}], rank_by=["title"], limit=1)[0] == [{"title": TEXTS[1]}]
    with pytest.raises(ValueError, match="positive"):
        for_redisvl.PodiumReranker(mini, limit=0)


def test_an_embedder_is_a_redisvl_vectorizer():
    with_vectors = podium.Embedder(PARITY / "embedders" / "bert-mean")
    vectorizer = for_redisvl.Vectorizer(with_vectors)
    assert isinstance(vectorizer, redisvl_vectorize.BaseVectorizer)
    assert vectorizer.dims == with_vectors.dimensions
    wanted = with_vectors.embed(["a", "the capital"])
    assert vectorizer.embed("a") == wanted[0].tolist()
    assert vectorizer.embed_many(["a", "the capital"]) == wanted.tolist()
    assert vectorizer.embed("a", as_buffer=True) == wanted[0].tobytes()
    assert asyncio.run(vectorizer.aembed("a")) == wanted[0].tolist()
    assert asyncio.run(vectorizer.aembed_many(["a", "the capital"])) == wanted.tolist()
    with_vectors.close()


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_frames(mini, wanted, package):
    made = {"pandas": pandas.DataFrame, "polars": polars.DataFrame}[package]
    frame = made({"text": TEXTS, "at": range(4)})
    found = rerank_frame(frame, QUERY, mini)
    assert type(found) is type(frame)
    assert list(zip(found["at"], found["score"], strict=True)) == wanted
    assert list(found["rank"]) == [1, 2, 3, 4]
    assert list(frame.columns) == ["text", "at"]
    assert len(rerank_frame(frame, QUERY, mini, rank_by="text", limit=1)) == 1
    empty = rerank_frame(frame[:0], QUERY, mini)
    assert (len(empty), list(empty.columns)) == (0, ["text", "at", "score", "rank"])
    with pytest.raises(InvalidInput, match="a column 'score' of its own"):
        rerank_frame(found, QUERY, mini)


def test_a_pandas_index_goes_with_its_rows_and_missing_cells_are_no_text(mini):
    frame = pandas.DataFrame({"text": [None, "a ripe red apple", np.nan]}, index=["x", "y", "z"])
    found = rerank_frame(frame, QUERY, mini)
    assert list(found.index) == ["y", "x", "z"]


def test_what_is_no_frame_is_refused(mini):
    with pytest.raises(InvalidInput, match="DataFrame of pandas or Polars, not a list"):
        rerank_frame([{"text": "a"}], QUERY, mini)
