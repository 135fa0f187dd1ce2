"""Embedders: for every family, their vectors are those of sentence-transformers 6.2, and wrong arguments are refused."""

from __future__ import annotations

import asyncio
import gzip
import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import podium
from environment import NEEDS_ONNX, PARITY_MODELS
from podium.embedding import adocument_vectors, aquery_vector, document_vectors, query_vector
from podium.errors import InvalidInput, ModelNotFound, PodiumError, SourceError, UnsupportedModel
from podium.local.families import FAMILIES

FOLDERS = sorted(path.parent for path in PARITY_MODELS.glob("embedders/*/expected.json.gz"))
MEAN = PARITY_MODELS / "embedders" / "bert-mean"
PROMPTS = PARITY_MODELS / "embedders" / "xlm-roberta-prompts"


@pytest.fixture(scope="module", params=FOLDERS, ids=lambda folder: folder.name)
def embedder_and_expected(request):
    """An embedder, and the results of sentence-transformers in its expected.json.gz."""
    expected = json.loads(gzip.decompress((request.param / "expected.json.gz").read_bytes()))
    embedder = podium.Embedder(request.param)
    yield embedder, expected
    embedder.close()


@pytest.fixture(scope="module")
def embedder():
    embedder = podium.Embedder(MEAN, threads=2)
    yield embedder
    embedder.close()


def cosines(a, b):
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_every_family_is_tested():
    types = {json.loads((folder / "config.json").read_text())["model_type"] for folder in FOLDERS}
    types.add("podium-late")  # a model with late interaction has no vector for a complete text
    encoders = [family for family in FAMILIES if "onnx" in family.runtimes]  # the others are in test_decoders.py
    assert all(set(family.model_types) & types for family in encoders)


@pytest.mark.parametrize("kind", ["embed", "query", "document"])
def test_vectors_are_those_of_sentence_transformers(embedder_and_expected, kind):
    embedder, expected = embedder_and_expected
    functions = {
        "embed": embedder.embed,
        "query": lambda texts: np.stack([embedder.embed_query(text) for text in texts]),
        "document": embedder.embed_documents,
    }
    vectors = functions[kind](expected["texts"])
    reference = np.array(expected[kind], np.float32)
    assert embedder.max_length == expected["max_length"]
    assert (vectors.shape, vectors.dtype) == (reference.shape, np.float32)
    np.testing.assert_allclose(cosines(vectors, reference), 1, atol=1e-5)
    np.testing.assert_allclose(vectors, reference, atol=1e-4)


def test_vector_does_not_depend_on_other_texts(embedder):
    texts = ["a", "the capital of the north", "", "the capital of the north", "x " * 300]
    together = embedder.embed(texts)
    alone = np.concatenate([embedder.embed([text]) for text in texts])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(asyncio.run(embedder.aembed(texts)), together)
    with ThreadPoolExecutor(8) as threads:
        for vectors in threads.map(embedder.embed, [texts] * 16):
            np.testing.assert_array_equal(vectors, together)


def test_no_texts_give_no_vectors(embedder):
    assert embedder.embed([]).shape == (0, embedder.dimensions)
    assert embedder(["a"]).shape == (1, embedder.dimensions)


def test_truncated_texts_are_counted(embedder):
    assert embedder.dropped_tokens(["a", "x " * 300]) == [0, 300 - (embedder.max_length - 2)]  # 2: [CLS] and [SEP]
    before = embedder.truncated
    embedder.embed(["a", "x " * 300, "x " * 300, "y " * 300])
    assert embedder.truncated == before + 2  # equal texts are counted once


@pytest.mark.parametrize("texts", ["one string", 7, None, [None], [b"a"], [["a"]]], ids=str)
def test_texts_must_be_a_list_of_strings(embedder, texts):
    with pytest.raises(InvalidInput, match=r"list of strings|takes strings"):
        embedder.embed(texts)


def test_unknown_prompt_is_refused_with_the_known_ones():
    embedder = podium.Embedder(PROMPTS)
    with pytest.raises(InvalidInput, match="no prompt 'poem'; it has document, passage, query"):
        embedder.embed(["a"], prompt="poem")
    embedder.close()


def test_closed_embedder_is_an_error():
    embedder = podium.Embedder(MEAN)
    embedder.close()
    with pytest.raises(PodiumError, match="closed"):
        embedder.embed(["a"])


def test_public_methods_are_those_of_the_documentation():
    assert {name for name in vars(podium.Embedder) if not name.startswith("_")} == {
        *("embed", "aembed", "embed_query", "embed_documents", "dropped_tokens", "truncated", "precision", "close"),
    }


def test_int8_vectors_are_close(embedder):
    quantised = podium.Embedder(MEAN, precision="int8")
    texts = ["the capital of the north", "a letter"]
    assert cosines(quantised.embed(texts), embedder.embed(texts)).min() > 0.97
    quantised.close()


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("podium-mini", UnsupportedModel, r"has no modules.json with a Pooling"),
        pytest.param(PARITY_MODELS / "exported-albert", UnsupportedModel, "its own ONNX file", marks=NEEDS_ONNX),
        ("nothing", ModelNotFound, "no embedder 'nothing'"),
    ],
    ids=["reranker", "onnx-file", "unknown"],
)
def test_other_models_are_refused(name, error, message):
    with pytest.raises(error, match=message):
        podium.Embedder(name)


def test_embedder_is_not_a_reranker():
    with pytest.raises(UnsupportedModel, match=r"podium runs|not one score|Transformer"):
        podium.load(MEAN)


@pytest.mark.parametrize(
    ("pooling", "message"),
    [
        ({"pooling_mode": "lasttoken"}, "pooling is 'lasttoken'; podium has cls and mean"),
        ({"pooling_mode": "mean", "include_prompt": False}, "include_prompt"),
    ],
    ids=["mode", "prompt"],
)
def test_other_pooling_is_refused(tmp_path, pooling, message):
    folder = shutil.copytree(MEAN, tmp_path / "model")
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling), encoding="utf-8")
    with pytest.raises(UnsupportedModel, match=message):
        podium.Embedder(folder)


# Any function from texts to vectors can be used as an embedder.


def test_function_can_be_an_embedder():
    assert document_vectors(lambda texts: [[1, 2]] * len(texts), ["a", "b"]).tolist() == [[1.0, 2.0]] * 2
    assert query_vector(lambda texts: [[1, 2]], "a").tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "vectors",
    [[[1, 2]], [[1], [1, 2]], "vectors", None, [["a"], ["b"]], [[float("nan")], [1.0]], [[], []]],
    ids=["too-few", "ragged", "string", "none", "strings", "nan", "empty"],
)
def test_wrong_vectors_are_refused(vectors):
    with pytest.raises(SourceError, match="the embedder returned"):
        document_vectors(lambda texts: vectors, ["a", "b"])


def test_error_of_a_function_is_raised_without_its_message():
    def fail(texts):
        raise RuntimeError("a document")

    with pytest.raises(SourceError, match="failed with RuntimeError") as caught:
        document_vectors(fail, ["a"])
    assert "a document" not in str(caught.value)


class Vectorizer:
    """An embedder as in redisvl: `embed` takes one string, `embed_many` several, and the object cannot be called."""

    def embed(self, content):
        return self.embed_many([content])[0]

    def embed_many(self, contents):
        return [[float(len(content)), 1.0] for content in contents]


async def embed_asynchronously(texts):
    await asyncio.sleep(0)
    return [[float(len(text)), 1.0] for text in texts]


EMBEDDERS = pytest.mark.parametrize("embed", [Vectorizer(), embed_asynchronously], ids=["redisvl", "async"])


@EMBEDDERS
def test_redisvl_vectorizer_and_async_function_can_be_embedders(embed):
    assert document_vectors(embed, ["a", "abc"]).tolist() == [[1, 1], [3, 1]]
    assert query_vector(embed, "ab").tolist() == [2, 1]


@EMBEDDERS
def test_redisvl_vectorizer_and_async_function_embed_on_an_event_loop(embed):
    async def main():
        blocking = query_vector(embed, "abc").tolist()  # a blocking call on the event loop's own thread
        return blocking, (await aquery_vector(embed, "ab")).tolist(), (await adocument_vectors(embed, ["a"])).tolist()

    assert asyncio.run(main()) == ([3, 1], [2, 1], [[1, 1]])


@EMBEDDERS
def test_redisvl_vectorizer_and_async_function_fill_an_index(embed):
    index = podium.EmbeddedIndex.create(None, embed=embed)
    index.add(["a red apple", "sea"], ids=["apple", "sea"])
    assert {document["source_key"] for document in index.search("apple", 2)} == {"apple", "sea"}


def test_async_function_always_runs_on_the_same_event_loop():
    """An asynchronous HTTP client belongs to the loop on which it was first used."""
    loops = []

    async def embed(texts):
        loops.append(asyncio.get_running_loop())
        return [[1.0]] * len(texts)

    query_vector(embed, "a")
    query_vector(embed, "b")
    assert loops[0] is loops[1]
