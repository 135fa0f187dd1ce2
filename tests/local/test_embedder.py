"""The same vectors as sentence-transformers 6.2, for every family; and what an embedder owes whoever calls it."""

from __future__ import annotations

import asyncio
import gzip
import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import podium
from environment import PARITY
from podium.errors import InvalidInput, ModelNotFound, UnsupportedModel
from podium.local.families import FAMILIES
from podium.sources.embedding import adocument_vectors, aquery_vector, document_vectors, query_vector

FOLDERS = sorted(path.parent for path in PARITY.glob("embedders/*/expected.json.gz"))
MEAN = PARITY / "embedders" / "bert-mean"


@pytest.fixture(scope="module", params=FOLDERS, ids=lambda folder: folder.name)
def fixture(request):
    expected = json.loads(gzip.decompress((request.param / "expected.json.gz").read_bytes()))
    embedder = podium.Embedder(request.param)
    yield embedder, expected
    embedder.close()


@pytest.fixture(scope="module")
def embedder():
    with_threads = podium.Embedder(MEAN, threads=2)
    yield with_threads
    with_threads.close()


def cosines(a, b):
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_there_is_a_fixture_for_every_family():
    types = {json.loads((folder / "config.json").read_text())["model_type"] for folder in FOLDERS}
    embedders = [family for family in FAMILIES if family.pooling({}) != "none"]  # late interaction has no one vector
    assert all(set(family.model_types) & types for family in embedders)


def test_vectors_are_the_references_with_every_prompt(fixture):
    embedder, expected = fixture
    assert embedder.max_length == expected["max_length"]
    for made, name in (
        (embedder.embed(expected["texts"]), "embed"),
        (np.stack([embedder.embed_query(text) for text in expected["texts"]]), "query"),
        (embedder.embed_documents(expected["texts"]), "document"),
    ):
        wanted = np.array(expected[name], np.float32)
        assert (made.shape, made.dtype) == (wanted.shape, np.float32)
        np.testing.assert_allclose(cosines(made, wanted), 1, atol=1e-5)
        np.testing.assert_allclose(made, wanted, atol=1e-4)


def test_a_vector_is_the_same_whatever_ran_beside_it(embedder):
    texts = ["a", "the capital of the north", "", "the capital of the north", "x " * 300]
    together = embedder.embed(texts)
    alone = np.concatenate([embedder.embed([text]) for text in texts])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(asyncio.run(embedder.aembed(texts)), together)
    with ThreadPoolExecutor(8) as threads:
        for each in threads.map(embedder.embed, [texts] * 16):
            np.testing.assert_array_equal(each, together)


def test_nothing_in_nothing_out(embedder):
    assert embedder.embed([]).shape == (0, embedder.dimensions)
    assert embedder(["a"]).shape == (1, embedder.dimensions)


def test_what_is_not_read_is_told(embedder):
    short, long = embedder.dropped_tokens(["a", "x " * 300])
    assert short == 0
    assert long == 300 - (embedder.max_length - 2)
    before = embedder.truncated
    embedder.embed(["a", "x " * 300, "x " * 300, "y " * 300])
    assert embedder.truncated == before + 2


@pytest.mark.parametrize("texts", ["one string", 7, None, [None], [b"a"], [["a"]]])
def test_what_is_no_list_of_strings_is_refused(embedder, texts):
    with pytest.raises(InvalidInput, match=r"list of strings|takes strings"):
        embedder.embed(texts)


def test_an_unknown_prompt_is_refused_with_those_there_are():
    with_prompts = podium.Embedder(PARITY / "embedders" / "xlm-roberta-prompts")
    with pytest.raises(InvalidInput, match="no prompt 'poem'; it has document, passage, query"):
        with_prompts.embed(["a"], prompt="poem")
    with_prompts.close()


def test_int8_is_close(embedder):
    quick = podium.Embedder(MEAN, precision="int8")
    texts = ["the capital of the north", "a letter"]
    assert cosines(quick.embed(texts), embedder.embed(texts)).min() > 0.97
    quick.close()


def test_what_is_no_embedder_is_refused(tmp_path):
    with pytest.raises(UnsupportedModel, match=r"has no modules.json with a Pooling"):
        podium.Embedder("podium-mini")
    with pytest.raises(UnsupportedModel, match=r"podium runs|not one score|Transformer"):
        podium.load(MEAN)
    with pytest.raises(ModelNotFound, match="no embedder 'nothing'"):
        podium.Embedder("nothing")
    shutil.copytree(MEAN, tmp_path / "m")
    pooling = tmp_path / "m" / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps({"pooling_mode": "lasttoken"}), encoding="utf-8")
    with pytest.raises(UnsupportedModel, match="pools by 'lasttoken'; podium knows cls and mean"):
        podium.Embedder(tmp_path / "m")
    pooling.write_text(json.dumps({"pooling_mode": "mean", "include_prompt": False}), encoding="utf-8")
    with pytest.raises(UnsupportedModel, match="include_prompt"):
        podium.Embedder(tmp_path / "m")


def test_any_callable_embeds_and_is_checked():
    from podium.errors import SourceError

    assert document_vectors(lambda texts: [[1, 2]] * len(texts), ["a", "b"]).tolist() == [[1.0, 2.0]] * 2
    assert query_vector(lambda texts: [[1, 2]], "a").tolist() == [1.0, 2.0]
    for wrong in ([[1, 2]], [[1], [1, 2]], "vectors", None, [["a"], ["b"]], [[float("nan")], [1.0]], [[], []]):
        with pytest.raises(SourceError, match="the embedder returned"):
            document_vectors(lambda texts, wrong=wrong: wrong, ["a", "b"])

    def failing(texts):
        raise RuntimeError("a document")

    with pytest.raises(SourceError, match="failed with RuntimeError") as caught:
        document_vectors(failing, ["a"])
    assert "a document" not in str(caught.value)


class Vectorizer:
    """As redisvl's vectorizers are: `embed` takes one string, `embed_many` several, and the object cannot be called."""

    def embed(self, content):
        return self.embed_many([content])[0]

    def embed_many(self, contents):
        return [[float(len(content)), 1.0] for content in contents]


async def embedded_later(texts):
    await asyncio.sleep(0)
    return [[float(len(text)), 1.0] for text in texts]


@pytest.mark.parametrize("embed", [Vectorizer(), embedded_later], ids=["redisvl", "async"])
def test_a_redisvl_vectorizer_and_an_async_function_embed(embed):
    assert document_vectors(embed, ["a", "abc"]).tolist() == [[1, 1], [3, 1]]
    assert query_vector(embed, "ab").tolist() == [2, 1]

    async def awaited():
        from_loop = query_vector(embed, "abc").tolist()  # a blocking call on an event loop's own thread
        return from_loop, (await aquery_vector(embed, "ab")).tolist(), (await adocument_vectors(embed, ["a"])).tolist()

    assert asyncio.run(awaited()) == ([3, 1], [2, 1], [[1, 1]])
    index = podium.EmbeddedIndex.create(None, embed=embed)
    index.add(["a red apple", "sea"], ids=["apple", "sea"])
    assert {found["source_key"] for found in index.search("apple", 2)} == {"apple", "sea"}


def test_an_async_function_keeps_one_event_loop():
    """An async HTTP client is bound to the loop it was first used on."""
    loops = []

    async def embed(texts):
        loops.append(asyncio.get_running_loop())
        return [[1.0]] * len(texts)

    query_vector(embed, "a")
    query_vector(embed, "b")
    assert loops[0] is loops[1]
