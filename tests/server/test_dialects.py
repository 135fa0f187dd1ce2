"""The dialects: the API of each client returns podium's scores in its own format, and errors that the client understands."""

from __future__ import annotations

import json
import math

import httpx
import pytest

import podium
from fakes import FunctionScorer, WordOverlap
from podium.server.dialects import DIALECTS, cohere
from podium.types import Scores
from serving import ServerThread

QUERY = "red fruit"
TEXTS = ["the sea at night", "a ripe red apple", "", "a red red fruit", "the sea at night"]
REQUEST = {"query": QUERY, "documents": TEXTS}


def logistic(value):
    return 1 / (1 + math.exp(-value))


@pytest.fixture(scope="module")
def server(mini):
    """A server whose default model is podium-mini. The score of the model "probable" is a probability."""
    words = podium.Reranker(WordOverlap())
    scorer = FunctionScorer(lambda texts: Scores([logistic(len(text)) for text in texts]), "probability")
    with ServerThread(rerankers={"podium-mini": mini, "words": words, "probable": podium.Reranker(scorer)}) as server:
        yield server


@pytest.fixture(scope="module")
def words_server():
    """A server whose only model has logits without an upper limit."""
    with ServerThread(rerankers={"words": podium.Reranker(WordOverlap())}) as server:
        yield server


def offline_scores(mini):
    """Return (index, score) of each result of a Reranker, best first, with which the server's results are compared."""
    return [(result.index, result.score) for result in mini.rerank(QUERY, TEXTS)]


# Cohere, and the APIs that share its paths


@pytest.mark.parametrize(
    "path",
    [
        "/v1/rerank", "/v2/rerank", "/rerank", "/v1/reranking", "/reranking", "/v1//rerank", "//v2/rerank",
        "/v1/v1/rerank", "/v2/v2/rerank", "/v1/v2/rerank", "/v1/v1/reranking/", "/v2/rerank/",
    ],
)  # fmt: skip
def test_reply_has_the_fields_of_every_client(server, mini, path):
    reply = server.post(path, REQUEST | {"model": "podium-mini"})
    assert reply.status_code == 200
    body = reply.json()
    assert [(result["index"], result["relevance_score"]) for result in body["results"]] == offline_scores(mini)
    assert body["data"] == body["results"]
    assert body["object"] == "list"
    assert body["model"] == "podium-mini"
    assert body["usage"]["total_tokens"] == mini.rerank(QUERY, TEXTS).usage.tokens
    assert body["usage"]["completion_tokens"] == 0  # Together's JavaScript client requires it
    assert all(result["score"] == result["relevance_score"] for result in body["results"])  # Pinecone's clients read score
    assert body["meta"]["billed_units"] == {"search_units": 1}
    assert body["meta"]["warnings"] == ["1 of 5 documents have no text; they are at the bottom, with the lowest score"]
    assert reply.headers["x-request-id"] == body["id"]


NULL_FIELDS = dict.fromkeys(("top_n", "top_k", "max_tokens_per_doc", "return_documents", "rank_fields", "model"))


@pytest.mark.parametrize(
    "fields",
    [NULL_FIELDS, {"truncation": True, "top_k": None}, {"unknown": [{}], "user": "me"}, {"max_chunks_per_doc": 10}],
    ids=["null", "default", "unknown", "of Cohere's version 1"],
)
def test_null_and_unknown_fields_are_accepted(server, fields):
    results = server.post("/v2/rerank", REQUEST | fields).json()["results"]
    assert len(results) == 5
    assert all("document" not in result for result in results)


@pytest.mark.parametrize("name", ["top_n", "top_k"])
@pytest.mark.parametrize(("limit", "count"), [(2, 2), (2.0, 2), (5, 5), (99, 5), (10**30, 5), (0, 5)])
def test_limit_sets_the_number_of_results(server, name, limit, count):
    """0, and a limit above the number of documents, return all."""
    assert len(server.post("/v1/rerank", REQUEST | {name: limit}).json()["results"]) == count


def test_returned_documents_are_objects(server):
    records = [{"text": "a ripe red apple", "id": 7}, "the sea", {"text": "\ud800 lone surrogate"}]
    request = {"query": QUERY, "documents": records, "return_documents": True}
    body = json.dumps(request)  # httpx itself could not encode the surrogate
    results = server.client.post("/v2/rerank", content=body).json()["results"]
    documents = {result["index"]: result["document"] for result in results}
    assert documents[0] == records[0]
    assert documents[1] == {"text": "the sea"}
    assert "lone surrogate" in documents[2]["text"]


@pytest.mark.parametrize(("value", "is_returned"), [("True", True), ("false", False)])
def test_booleans_can_be_strings(server, value, is_returned):
    results = server.post("/v1/rerank", REQUEST | {"return_documents": value}).json()["results"]
    assert all(("document" in result) == is_returned for result in results)


@pytest.mark.parametrize(("field", "best_index"), [("title", 1), ("body", 0)])
def test_rank_fields_are_read(server, field, best_index):
    records = [{"title": "the sea", "body": "red fruit"}, {"title": "red fruit", "body": "the sea"}]
    reply = server.post("/v1/rerank", {"query": QUERY, "documents": records, "rank_fields": [field]})
    assert reply.json()["results"][0]["index"] == best_index


def test_unknown_rank_field_is_400(server):
    reply = server.post("/v1/rerank", {"query": QUERY, "documents": [{"title": "the sea"}], "rank_fields": ["nope"]})
    assert reply.status_code == 400
    assert "no field 'nope'" in reply.json()["message"]


def test_truncated_documents_are_reported(server):
    reply = server.post("/v2/rerank", {"query": QUERY, "documents": ["red fruit " * 2000, "b"], "max_tokens_per_doc": 100})
    assert reply.headers["x-podium-truncated"] == "1"
    dropped_tokens = {result["index"]: result.get("dropped_tokens") for result in reply.json()["results"]}
    assert dropped_tokens[0] > 1000
    assert dropped_tokens[1] is None
    warnings = reply.json()["meta"]["warnings"]
    assert "1 of 2 documents are longer than the model reads; see dropped_tokens" in warnings
    assert "max_tokens_per_doc is not applied: the model read more than 100 tokens of each of 1 documents" in warnings


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("/rerank", {"texts": ["red fruit " * 2000], "truncate": False}, 422),
        ("/v1/rerank", {"documents": ["red fruit " * 2000], "truncation": False}, 400),
        ("/score", {"text_1": QUERY, "text_2": "red fruit " * 2000, "truncate": False}, 400),
    ],
    ids=["TEI", "Voyage", "vLLM"],
)
def test_truncation_can_be_refused(server, path, fields, status):
    reply = server.post(path, {"query": QUERY} | fields)
    assert reply.status_code == status
    assert "longer than the model reads" in reply.text


def test_large_reply_is_complete(server):
    documents = [f"text {number} red" for number in range(3000)]
    request = {"query": QUERY, "documents": documents, "model": "words", "return_documents": True}
    body = httpx.post(f"{server.url}/v2/rerank", json=request, timeout=60).json()
    assert sorted(result["index"] for result in body["results"]) == list(range(3000))
    assert body["meta"]["billed_units"] == {"search_units": 30}  # Cohere bills one unit per 100 documents


# Text Embeddings Inference, llama.cpp


@pytest.mark.parametrize("path", ["/rerank", "/reranking", "/v1/rerank", "/v1/reranking"])
def test_tei_returns_every_text(server, mini, path):
    """llama.cpp accepts `texts` on each of its paths."""
    results = server.post(path, {"query": QUERY, "texts": TEXTS, "top_n": 2, "documents": None}).json()
    assert [(result["index"], result["score"]) for result in results] == offline_scores(mini)
    assert all(set(result) == {"index", "score"} for result in results)


def test_tei_returns_texts_on_request(server):
    results = server.post("/rerank", {"query": QUERY, "texts": TEXTS, "return_text": True, "raw_scores": None}).json()
    assert [result["text"] for result in results] == [TEXTS[result["index"]] for result in results]


def test_tei_request_can_name_a_model(server):
    request = {"query": QUERY, "texts": TEXTS, "raw_scores": True}
    assert server.post("/rerank", request | {"model": "words"}).json()[0] == {"index": 3, "score": 2.0}
    reply = server.post("/rerank", request | {"model": "nope"})
    assert reply.status_code == 404
    assert reply.json()["error"] == "there is no model 'nope' on this server; name one of these: podium-mini, words, probable"


def tei_scores(server, **fields):
    results = server.post("/rerank", {"query": QUERY, "texts": TEXTS, **fields}).json()
    return {result["index"]: result["score"] for result in results}


@pytest.mark.parametrize("model", ["podium-mini", "probable"], ids=["sigmoid", "probability"])
def test_tei_raw_scores_are_logits(server, model):
    scores = tei_scores(server, model=model)
    logits = tei_scores(server, model=model, raw_scores=True)
    for index in (0, 1, 3, 4):  # document 2 has no text
        assert logistic(logits[index]) == pytest.approx(scores[index], abs=1e-12)


def test_tei_scores_are_from_0_to_1(words_server):
    logits = tei_scores(words_server, raw_scores=True)
    assert [logits[index] for index in (0, 1, 3, 4)] == [0.0, 1.0, 2.0, 0.0]
    scores = tei_scores(words_server)
    assert scores[3] == pytest.approx(logistic(2))
    assert scores[2] == pytest.approx(0.0)  # no text: the lowest score, without an overflow


# vLLM


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
@pytest.mark.parametrize("names", [("text_1", "text_2"), ("queries", "documents"), ("data_1", "data_2")])
def test_vllm_scores_are_in_request_order(server, mini, path, names):
    texts = TEXTS[:2] + TEXTS[3:]
    body = server.post(path, {names[0]: QUERY, names[1]: texts}).json()
    assert [result["score"] for result in body["data"]] == mini.score(QUERY, texts)
    assert [result["index"] for result in body["data"]] == [0, 1, 2, 3]


def test_vllm_scores_pairs(server, mini):
    queries = ["red fruit", "sea", "red fruit"]
    texts = ["a ripe red apple", "the sea at night", "the sea at night"]
    body = server.post("/score", {"text_1": queries, "text_2": texts}).json()
    assert [result["score"] for result in body["data"]] == [
        mini.score(query, [text])[0] for query, text in zip(queries, texts, strict=True)
    ]


def test_vllm_scores_a_single_pair(server):
    assert len(server.post("/score", {"text_1": "sea", "text_2": "the sea at night"}).json()["data"]) == 1


def test_vllm_refuses_lists_of_different_lengths(server):
    reply = server.post("/score", {"text_1": ["a", "b"], "text_2": ["a", "b", "c"]})
    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == "BadRequestError"
    assert reply.json()["error"]["message"].startswith("text_1 has 2 texts and text_2 has 3")


def test_vllm_scores_many_pairs(server, mini):
    queries = [f"query {number}" for number in range(300)]
    request = {"text_1": queries, "text_2": ["a ripe red apple"] * 300, "model": "podium-mini"}
    data = server.post("/score", request).json()["data"]
    assert len(data) == 300
    assert [result["score"] for result in data[:5]] == [mini.score(query, ["a ripe red apple"])[0] for query in queries[:5]]


# podium


def test_podium_returns_the_complete_ranking(server, mini):
    body = server.post("/rank", REQUEST | {"limit": 2}).json()
    ranking = mini.rerank(QUERY, TEXTS, limit=2).to_dict()
    assert body["results"] == [{**result, "text": TEXTS[result["index"]], "explanation": None} for result in ranking["results"]]
    assert body["notes"] == ranking["notes"]
    assert body["score_kind"] == "sigmoid"


def test_podium_reads_long_documents_in_passages_on_request(server):
    text = "The sea is blue at night. " * 200 + "The best red fruit is a ripe apple."
    request = {"query": QUERY, "documents": [text, "the sea"]}
    cut = server.post("/rank", request).json()["results"][0]
    assert cut["passage"] is None
    body = server.post("/rank", request | {"passages": True}).json()
    result = body["results"][0]
    assert (result["index"], result["dropped_tokens"]) == (0, 0)
    passage = result["passage"]
    assert passage["text"] == text[passage["start"] : passage["end"]]
    assert "ripe apple" in passage["text"]
    refused = server.post("/rank", request | {"passages": True, "model": "words"})
    assert refused.status_code == 400
    assert "word-overlap cannot read passages" in refused.json()["message"]


@pytest.mark.parametrize(
    ("fields", "texts"),
    [
        ({}, {0: "red fruit", 1: None}),
        ({"rank_by": ["title", "text"]}, {0: "title: Sea\ntext: red fruit\n", 1: "title: Red\n"}),
        ({"rank_fields": "title", "rank_by": "text"}, {0: "Sea", 1: "Red"}),
    ],
    ids=["default", "rank_by", "rank_fields"],
)
def test_podium_returns_the_text_that_was_read(server, fields, texts):
    records = [{"title": "Sea", "text": "red fruit"}, {"title": "Red", "text": ""}]
    results = server.post("/rank", {"query": QUERY, "documents": records, **fields}).json()["results"]
    assert {result["index"]: result["text"] for result in results} == texts


@pytest.mark.parametrize("path", ["/rank", "/v2/rerank"])
def test_errors_name_fields_as_requests_do(server, path):
    request = {"query": QUERY, "documents": [{"Title": "red fruit", "Body": "apples"}]}
    reply = server.post(path, request)
    assert reply.status_code == 400
    assert reply.json()["message"].endswith('Name the fields to read, for example with rank_fields: ["Title", "Body"]')
    message = server.post(path, request | {"rank_fields": ["title"]}).json()["message"]
    assert message.endswith("did you mean 'Title'?")
    assert server.post(path, request | {"rank_fields": ["Title"]}).status_code == 200


# Mixedbread, NIM, Weaviate


@pytest.mark.parametrize("path", ["/v1/reranking", "/reranking", "/v1/v1/reranking"])
def test_mixedbread_returns_results_in_data(server, mini, path):
    request = {"query": QUERY, "input": TEXTS, "model": "podium-mini", "top_k": 2, "return_input": True}
    body = server.post(path, request).json()
    assert [(result["index"], result["score"]) for result in body["data"]] == offline_scores(mini)[:2]
    assert [result["input"] for result in body["data"]] == [TEXTS[result["index"]] for result in body["data"]]
    assert (body["top_k"], body["return_input"], body["object"], body["model"]) == (2, True, "list", "podium-mini")
    assert all("input" not in result for result in server.post(path, request | {"return_input": False}).json()["data"])
    reply = server.post(path, request | {"input": []})
    assert reply.status_code == 400
    assert reply.json()["message"] == "input must be a list with at least one document, not an empty list"


def test_nim_returns_logits(server, mini):
    request = {"model": "podium-mini", "query": {"text": QUERY}, "passages": [{"text": text} for text in TEXTS]}
    rankings = server.post("/v1/ranking", request).json()["rankings"]
    assert [result["index"] for result in rankings] == [index for index, _ in offline_scores(mini)]
    probabilities = [logistic(result["logit"]) for result in rankings[:4]]
    assert probabilities == pytest.approx([score for _, score in offline_scores(mini)[:4]])
    words = server.post("/v1/ranking", request | {"model": "words"}).json()["rankings"]
    assert words[0] == {"index": 3, "logit": 2.0}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"passages": []}, 'passages must be a list with at least one object such as {"text": "..."}, not an empty list'),
        ({"passages": ["a"]}, 'passages must be a list with at least one object such as {"text": "..."}'),
        ({"query": "a"}, 'query must be an object such as {"text": "..."}, not a string'),
        ({"truncate": "START"}, 'truncate must be "NONE" or "END"'),
    ],
    ids=["empty", "strings", "query", "truncate"],
)
def test_nim_refuses_invalid_requests(server, fields, message):
    reply = server.post("/v1/ranking", {"query": {"text": "a"}, "passages": [{"text": "b"}]} | fields)
    assert reply.status_code == 400
    assert reply.json()["detail"].startswith(message)


@pytest.mark.parametrize(("truncate", "status"), [("END", 200), ("NONE", 400)])
def test_nim_request_can_refuse_truncation(server, truncate, status):
    request = {"query": {"text": QUERY}, "passages": [{"text": "red fruit " * 2000}], "truncate": truncate}
    assert server.post("/v1/ranking", request).status_code == status


def test_weaviate_scores_are_in_request_order(server, mini):
    body = server.post("/rerank", {"query": QUERY, "documents": TEXTS[:2], "property": ""}).json()
    scores = mini.score(QUERY, TEXTS[:2])
    assert body == {"scores": [{"document": text, "score": score} for text, score in zip(TEXTS, scores, strict=False)]}
    reply = server.post("/rerank", {"query": QUERY, "documents": [], "property": "content"})
    assert reply.status_code == 400
    assert "documents must be" in reply.json()["error"]


@pytest.mark.parametrize("path", ["/.well-known/ready", "/.well-known/live", "/meta"])
def test_weaviate_can_start(server, path):
    """Weaviate requests these paths when it starts."""
    assert server.client.get(path).status_code == 200


# Models and paths


def test_request_can_name_a_model(server):
    results = server.post("/v2/rerank", REQUEST | {"model": "words"}).json()["results"]
    assert [result["relevance_score"] for result in results[:2]] == [2.0, 1.0]
    assert [model["id"] for model in server.client.get("/v1/models").json()["data"]] == ["podium-mini", "words", "probable"]
    info = server.client.get("/info").json()
    assert (info["model_id"], info["max_client_batch_size"]) == ("podium-mini", 10_000)


def test_wildcard_model_answers_for_names_that_are_not_served(mini):
    with ServerThread(rerankers={"words": podium.Reranker(WordOverlap()), "*": mini}) as server:
        reply = server.post("/v2/rerank", REQUEST | {"model": "rerank-english-v3.0"}).json()
        assert [(result["index"], result["score"]) for result in reply["results"]] == offline_scores(mini)
        assert reply["model"] == "rerank-english-v3.0"
        assert server.post("/v2/rerank", REQUEST | {"model": "words"}).json()["results"][0]["score"] == 2.0
        assert server.post("/v2/rerank", REQUEST).json()["results"][0]["score"] == 2.0
        metrics = server.client.get("/metrics").text
    assert 'model="*"' in metrics
    assert "rerank-english-v3.0" not in metrics  # clients must not choose labels


def test_unknown_model_is_404(server):
    message = "there is no model 'rerank-v9' on this server; name one of these: podium-mini, words, probable"
    reply = server.post("/v2/rerank", REQUEST | {"model": "rerank-v9"})
    assert reply.status_code == 404
    assert reply.json()["message"] == message
    vllm = server.post("/score", {"text_1": "a", "text_2": "b", "model": "rerank-v9"})
    assert vllm.status_code == 404
    assert vllm.json()["error"] == {"message": message, "type": "NotFoundError", "param": None, "code": 404}


def test_unknown_path_is_404(server):
    assert "there is no /v3/rerank on this server" in server.post("/v3/rerank", {}).json()["detail"]


def test_wrong_method_is_405(server):
    reply = server.client.get("/v2/rerank")
    assert reply.status_code == 405
    assert reply.headers["allow"] == "POST"
    assert reply.json()["message"] == "/v2/rerank does not support GET; see /docs"


def test_check_api_key_is_answered(server):
    """Cohere's client can ask whether its key is valid."""
    assert server.post("/v1/check-api-key", {}).json()["valid"] is True


def test_each_path_has_one_default_dialect_and_distinct_markers():
    for path in {path for dialect in DIALECTS for path in dialect.paths}:
        markers = [dialect.marker for dialect in DIALECTS if path in dialect.paths]
        assert markers.count(None) == 1, path
        assert len(set(markers)) == len(markers), path


def test_repr_of_a_call_shows_no_content():
    call = cohere.DIALECT.read_call({"query": "secret words", "documents": ["secret words"]})
    assert "secret" not in repr(call) + repr(call.questions)


@pytest.mark.parametrize(("name", "path"), [("cohere", ""), ("jina", "/v1"), ("voyage", "/v1")])
def test_podiums_own_clients_understand_the_server(server, mini, name, path):
    with podium.load(f"{name}:podium-mini", api_key="k", base_url=server.url + path) as reranker:
        ranking = reranker.rerank(QUERY, TEXTS)
        assert [(result.index, pytest.approx(result.score)) for result in ranking] == offline_scores(mini)


# Invalid requests


INVALID_FIELDS = [
    {"query": None},
    {"query": 7},
    {"query": ["a"]},
    {"query": ""},
    {"query": " \u200b "},
    {"documents": None},
    {"documents": "one string"},
    {"documents": []},
    {"documents": {}},
    {"documents": [1, 2]},
    {"documents": [["nested"]]},
    {"documents": [True]},
    {"documents": [{"no_text_here": "a"}]},
    {"top_n": -1},
    {"top_n": "2"},
    {"top_n": 1.5},
    {"top_n": True},
    {"return_documents": "yes"},
    {"rank_fields": "text"},
    {"rank_fields": [1]},
    {"model": 3},
]


@pytest.mark.parametrize("path", ["/rank", "/v1/rerank", "/v2/rerank"])
@pytest.mark.parametrize("name", ["NaN", "Infinity", "-Infinity"])
def test_nan_and_infinity_are_400(server, path, name):
    content = f'{{"query": "a", "documents": [{{"text": "a", "x": {name}}}]}}'
    reply = server.client.post(path, content=content, headers={"Content-Type": "application/json"})
    assert reply.status_code == 400
    assert f"it contains {name}; send null instead" in reply.json()["message"]


@pytest.mark.parametrize(
    ("path", "option"),
    [("/rank", ""), ("/v1/rerank", ', "return_documents": true'), ("/v2/rerank", ', "return_documents": true')],
    ids=["/rank", "/v1/rerank", "/v2/rerank"],
)
def test_number_above_the_range_of_floats_is_null_in_the_reply(server, path, option):
    """Python reads 1e999 as infinity, which JSON cannot express."""
    content = f'{{"query": "a", "documents": [{{"text": "a", "x": [1e999]}}]{option}}}'
    reply = server.client.post(path, content=content, headers={"Content-Type": "application/json"})
    assert reply.status_code == 200
    assert '"x":[null]' in reply.text


@pytest.mark.parametrize(
    "request_body",
    [{}, {"query": QUERY}, *(REQUEST | fields for fields in INVALID_FIELDS)],
    ids=["empty", "query only", *map(json.dumps, INVALID_FIELDS)],
)
def test_invalid_request_is_400_for_cohere_and_voyage(server, request_body):
    reply = server.post("/v2/rerank", request_body)
    assert reply.status_code == 400, reply.text
    assert reply.headers["content-type"] == "application/json"
    body = reply.json()
    assert isinstance(body["message"], str)
    assert body["message"] == body["detail"]
    assert body["id"] == reply.headers["x-request-id"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"query": ["a"]}, "query must be a string, not a list"),
        ({"return_documents": ["a"]}, "return_documents must be true or false, not a list"),
        ({"top_n": [2]}, "top_n must be a whole number from 0, not a list"),
        ({"query": []}, "query must be a string, not an empty list"),
        ({"rank_fields": [1]}, "rank_fields must be a list of strings, not a list with other values"),
    ],
)
def test_message_describes_a_list_that_is_refused(server, fields, message):
    assert server.post("/v2/rerank", REQUEST | fields).json()["message"] == message


TEI_REQUEST = {"query": QUERY, "texts": TEXTS}


@pytest.mark.parametrize(
    "request_body",
    [
        {"texts": None},
        TEI_REQUEST | {"query": 7},
        TEI_REQUEST | {"texts": "a"},
        TEI_REQUEST | {"texts": []},
        TEI_REQUEST | {"texts": [{"text": "a"}]},
        TEI_REQUEST | {"truncate": 1},
    ],
    ids=["null", "query", "string", "empty", "objects", "truncate"],
)
def test_invalid_tei_request_is_422(server, request_body):
    reply = server.post("/rerank", request_body)
    assert reply.status_code == 422
    assert reply.json()["error_type"] == "Validation"
    assert isinstance(reply.json()["error"], str)


INVALID_JSON = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"a"',
    b"7",
    b"{'query': 1}",
    b'{"query": NaN, "documents": ["a"]}',
    b'{"query": "a", "documents": ["a"], "top_n": Infinity}',
    b"\xff\xfe{}",
    b'{"query": "a\x00"}',
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"top_n": ' + b"9" * 10_000 + b"}",
    b'{"query": "a", "documents": ["a"]} trailing',
]


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank", "/score", "/rank"])
@pytest.mark.parametrize("content", INVALID_JSON, ids=[content[:12] for content in INVALID_JSON])
def test_invalid_json_is_400(server, path, content):
    reply = server.client.post(path, content=content)
    assert reply.status_code in (400, 422), reply.text
    assert reply.headers["content-type"] == "application/json"
    json.loads(reply.content)


@pytest.mark.parametrize("path", ["/v2/rerank", "/rank"])
@pytest.mark.parametrize("depth", [100, 900, 5000])
@pytest.mark.parametrize("pattern", ['{"a":%s}', "[%s]", '{"text":"a","b":%s}'], ids=["objects", "lists", "texts"])
def test_deep_documents_are_ranked_or_refused(server, path, depth, pattern):
    begin, end = pattern.split("%s")
    deep_value = begin * depth + "1" + end * depth
    body = '{"query":"a","return_documents":true,"documents":["b",{"text":"c","meta":' + deep_value + "}]}"
    assert server.client.post(path, content=body).status_code in (200, 400)
