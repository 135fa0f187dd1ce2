"""Language models behind the server: instructions in the dialects that have the field, long documents, and refusals."""

from __future__ import annotations

import pytest

import podium
from environment import NEEDS_CORE
from fakes import WordOverlap
from language_models import PROMPT_MODELS
from podium.server.dialects import DIALECTS
from serving import ServerThread

pytestmark = NEEDS_CORE

QUERY = "where is the river?"
TEXTS = ["a river", "the sea at night", "trees 1 2 3"]
FISH = "Prefer documents about fish"
REQUEST = {"query": QUERY, "documents": TEXTS}
REQUESTS = {
    "/v2/rerank": REQUEST,
    "/v1/score": {"text_1": QUERY, "text_2": TEXTS},
    "/rank": REQUEST,
}


@pytest.fixture(scope="module")
def reranker():
    with podium.load(PROMPT_MODELS / "Qwen3-Reranker-0.6B", max_length=256) as reranker:
        yield reranker


@pytest.fixture(scope="module")
def server(reranker):
    with ServerThread(rerankers={"qwen": reranker, "words": podium.Reranker(WordOverlap())}) as server:
        yield server


def scores_by_index(body):
    entries = body.get("data") or body["results"]
    return {entry["index"]: entry["score"] for entry in entries}


@pytest.mark.parametrize("path", REQUESTS)
def test_instruction_of_a_request_is_read(server, reranker, path):
    plain = server.post(path, REQUESTS[path])
    instructed = server.post(path, REQUESTS[path] | {"instruction": FISH})
    assert (plain.status_code, instructed.status_code) == (200, 200)
    expected = {result.index: result.score for result in reranker.rerank(QUERY, TEXTS, instruction=FISH)}
    assert scores_by_index(instructed.json()) == expected != scores_by_index(plain.json())


@pytest.mark.parametrize("instruction", [None, "", "  "], ids=["null", "empty", "blank"])
@pytest.mark.parametrize("path", REQUESTS)
def test_empty_instruction_is_no_instruction(server, path, instruction):
    assert scores_by_index(server.post(path, REQUESTS[path] | {"instruction": instruction}).json()) == scores_by_index(
        server.post(path, REQUESTS[path]).json()
    )


@pytest.mark.parametrize("path", REQUESTS)
def test_model_without_instructions_refuses_them(server, path):
    reply = server.post(path, REQUESTS[path] | {"instruction": FISH, "model": "words"})
    assert reply.status_code == 400
    assert "instruction is for models that read one" in reply.text


def test_instruction_must_be_a_short_string(server):
    assert server.post("/rank", REQUEST | {"instruction": ["a"]}).status_code == 400
    reply = server.post("/rank", REQUEST | {"instruction": "a" * 5000})
    assert (reply.status_code, "5,000 characters, more than 4,000" in reply.text) == (400, True)


def test_instruction_that_leaves_no_room_for_a_text_is_refused(server):
    """The model of this test reads 256 tokens."""
    reply = server.post("/rank", REQUEST | {"instruction": "中" * 3990})
    assert reply.status_code == 400
    assert "instruction has 11,970 tokens, which leaves too few for a text; shorten it" in reply.text


def test_other_dialects_have_no_instruction():
    """The APIs of Voyage, Mixedbread, NVIDIA NIM, Weaviate and Text Embeddings Inference do not have the field."""
    assert {dialect.name for dialect in DIALECTS if any(field.name == "instruction" for field in dialect.fields)} == {
        "cohere",
        "vllm",
        "podium",
    }


def test_long_document_is_truncated_and_not_an_error(server):
    """Other servers answer with status 500, or with a score of a prompt without its end."""
    reply = server.post("/v1/rerank", {"query": QUERY, "documents": ["a river", "river " * 5000]})
    assert reply.status_code == 200
    results = {result["index"]: result for result in reply.json()["results"]}
    assert results[1]["dropped_tokens"] > 4000
    assert reply.headers["x-podium-truncated"] == "1"


def test_scores_have_the_scale_of_the_client(server, reranker):
    """Text Embeddings Inference, which cannot serve these models, returns numbers from 0 to 1, or logits."""
    expected = {result.index: result.score for result in reranker.rerank(QUERY, TEXTS)}
    body = server.post("/rerank", {"query": QUERY, "texts": TEXTS}).json()
    assert {entry["index"]: entry["score"] for entry in body} == expected
    logits = server.post("/rerank", {"query": QUERY, "texts": TEXTS, "raw_scores": True}).json()
    assert all(entry["score"] < 0 or expected[entry["index"]] >= 0.5 for entry in logits)


def test_explanation_is_that_of_the_instruction(server, reranker):
    request = {"query": QUERY, "documents": ["A river. The sea."], "explain": True, "instruction": FISH}
    explanation = server.post("/rank", request).json()["results"][0]["explanation"]
    assert explanation["score"] == reranker.rerank(QUERY, ["A river. The sea."], instruction=FISH)[0].score
