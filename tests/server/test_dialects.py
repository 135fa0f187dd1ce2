"""What each client's API takes and gives: the same ranking in every dialect's words, and every refusal in its own."""

from __future__ import annotations

import json
import math

import httpx
import pytest

import podium
from fakes import FunctionScorer, WordOverlap
from podium.server.dialects import DIALECTS, cohere
from podium.types import Scores
from serving import Serving

QUERY = "red fruit"
TEXTS = ["the sea at night", "a ripe red apple", "", "a red red fruit", "the sea at night"]


@pytest.fixture(scope="module")
def served(mini):
    words = podium.Reranker(WordOverlap())
    likely = podium.Reranker(
        FunctionScorer(lambda texts: Scores([1 / (1 + math.exp(-len(text))) for text in texts]), "probability")
    )
    with Serving(rerankers={"podium-mini": mini, "words": words, "likely": likely}) as server:
        yield server


@pytest.fixture(scope="module")
def words_first():
    with Serving(rerankers={"words": podium.Reranker(WordOverlap())}) as server:
        yield server


def offline(mini):
    return [(result.index, result.score) for result in mini.rerank(QUERY, TEXTS)]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/rerank", "/v2/rerank", "/rerank", "/v1/reranking", "/reranking", "/v1//rerank", "//v2/rerank",
        "/v1/v1/rerank", "/v2/v2/rerank", "/v1/v2/rerank", "/v1/v1/reranking/",
    ],
)  # fmt: skip
def test_the_superset_has_what_each_client_reads_and_the_offline_scores(served, mini, path):
    reply = served.post(path, {"query": QUERY, "documents": TEXTS, "model": "podium-mini"})
    assert reply.status_code == 200
    said = reply.json()
    assert [(each["index"], each["relevance_score"]) for each in said["results"]] == offline(mini)
    assert said["data"] == said["results"]
    assert said["object"] == "list"
    assert said["model"] == "podium-mini"
    assert said["usage"]["total_tokens"] == mini.rerank(QUERY, TEXTS).usage.tokens
    assert said["usage"]["completion_tokens"] == 0  # Together's JavaScript client requires it
    assert all(each["score"] == each["relevance_score"] for each in said["results"])  # Pinecone's clients read score
    assert said["meta"]["billed_units"] == {"search_units": 1}
    assert said["meta"]["warnings"] == ["1 of 5 documents have no text; they are at the bottom, without a score"]
    assert reply.headers["x-request-id"] == said["id"]


def test_tei_gives_every_text(served, mini):
    reply = served.post("/rerank", {"query": QUERY, "texts": TEXTS, "top_n": 2, "documents": None})
    assert [(each["index"], each["score"]) for each in reply.json()] == offline(mini)
    assert all(set(each) == {"index", "score"} for each in reply.json())
    echoed = served.post("/rerank", {"query": QUERY, "texts": TEXTS, "return_text": True, "raw_scores": None}).json()
    assert [each["text"] for each in echoed] == [TEXTS[each["index"]] for each in echoed]


def test_tei_may_choose_among_models(served):
    asked = {"query": QUERY, "texts": TEXTS, "raw_scores": True}
    assert served.post("/rerank", asked | {"model": "words"}).json()[0] == {"index": 3, "score": 2.0}
    refused = served.post("/rerank", asked | {"model": "nope"})
    assert (refused.status_code, refused.json()["error"]) == (
        404,
        "there is no model 'nope' here; there are podium-mini, words, likely",
    )


def test_tei_scores_lie_between_0_and_1_or_are_logits_for_raw_scores(served, words_first):
    asked = {"query": QUERY, "texts": TEXTS}
    for model in ("podium-mini", "likely"):  # of the kinds "sigmoid" and "probability"
        scores, raw = (
            {
                each["index"]: each["score"]
                for each in served.post("/rerank", {**asked, "model": model, "raw_scores": flag}).json()
            }
            for flag in (False, True)
        )
        for index in (0, 1, 3, 4):
            assert 1 / (1 + math.exp(-raw[index])) == pytest.approx(scores[index], abs=1e-12)
    logits = {each["index"]: each["score"] for each in words_first.post("/rerank", asked | {"raw_scores": True}).json()}
    assert [logits[at] for at in (0, 1, 3, 4)] == [0.0, 1.0, 2.0, 0.0]
    squashed = {each["index"]: each["score"] for each in words_first.post("/rerank", asked).json()}
    assert squashed[3] == pytest.approx(1 / (1 + math.exp(-2)))
    assert squashed[2] == pytest.approx(0.0)  # no text: as low as it goes, and no overflow


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
@pytest.mark.parametrize("names", [("text_1", "text_2"), ("queries", "documents"), ("data_1", "data_2")])
def test_vllm_scores_in_the_order_of_the_request(served, mini, path, names):
    texts = TEXTS[:2] + TEXTS[3:]
    said = served.post(path, {names[0]: QUERY, names[1]: texts}).json()
    assert [each["score"] for each in said["data"]] == mini.score(QUERY, texts)
    assert [each["index"] for each in said["data"]] == [0, 1, 2, 3]


def test_vllm_scores_pairs_of_many_with_as_many(served, mini):
    first, second = ["red fruit", "sea", "red fruit"], ["a ripe red apple", "the sea at night", "the sea at night"]
    said = served.post("/score", {"text_1": first, "text_2": second}).json()
    assert [each["score"] for each in said["data"]] == [mini.score(a, [b])[0] for a, b in zip(first, second, strict=True)]
    one = served.post("/score", {"text_1": "sea", "text_2": "the sea at night"}).json()
    assert len(one["data"]) == 1
    refused = served.post("/score", {"text_1": ["a", "b"], "text_2": ["a", "b", "c"]})
    assert refused.status_code == 400
    assert refused.json()["error"]["type"] == "BadRequestError"


def test_podium_says_everything(served, mini):
    said = served.post("/rank", {"query": QUERY, "documents": TEXTS, "limit": 2}).json()
    ranking = mini.rerank(QUERY, TEXTS, limit=2).to_dict()
    assert [{**each, "text": TEXTS[each["index"]]} for each in ranking["results"]] == said["results"]
    assert said["notes"] == ranking["notes"]
    assert said["score_kind"] == "sigmoid"


@pytest.mark.parametrize("path", ["/rank", "/v2/rerank"])
def test_errors_name_the_fields_as_the_request_does(served, path):
    asked = {"query": QUERY, "documents": [{"Title": "red fruit", "Body": "apples"}]}
    refused = served.post(path, asked)
    assert refused.status_code == 400
    assert refused.json()["message"].endswith('Name the fields to read, for example with rank_fields: ["Title", "Body"]')
    misspelt = served.post(path, asked | {"rank_fields": ["title"]}).json()["message"]
    assert misspelt.endswith("did you mean 'Title'?")
    assert served.post(path, asked | {"rank_fields": ["Title"]}).status_code == 200


NULLS = {"top_n": None, "top_k": None, "max_tokens_per_doc": None, "return_documents": None, "rank_fields": None, "model": None}


@pytest.mark.parametrize(
    "extra",
    [NULLS, {"truncation": True, "top_k": None}, {"unknown": [{}], "user": "me", "priority": 3}, {"max_chunks_per_doc": 10}],
)
def test_null_and_unknown_fields_are_accepted(served, extra):
    reply = served.post("/v2/rerank", {"query": QUERY, "documents": TEXTS} | extra)
    assert len(reply.json()["results"]) == 5
    assert all("document" not in each for each in reply.json()["results"])


@pytest.mark.parametrize("name", ["top_n", "top_k"])
@pytest.mark.parametrize(("asked", "given"), [(2, 2), (2.0, 2), (5, 5), (99, 5), (10**30, 5), (0, 5)])
def test_a_limit_above_the_documents_is_all_of_them(served, name, asked, given):
    assert len(served.post("/v1/rerank", {"query": QUERY, "documents": TEXTS, name: asked}).json()["results"]) == given


def test_documents_come_back_as_objects_only_where_asked_for(served):
    records = [{"text": "a ripe red apple", "id": 7}, "the sea", {"text": "\ud800 half a pair"}]
    asked = {"query": QUERY, "documents": records, "return_documents": True}
    said = served.client.post("/v2/rerank", content=json.dumps(asked)).json()  # httpx itself can't write half a pair
    by_index = {each["index"]: each["document"] for each in said["results"]}
    assert by_index[0] == records[0]
    assert by_index[1] == {"text": "the sea"}
    assert "half a pair" in by_index[2]["text"]


def test_rank_fields_are_what_is_read(served):
    records = [{"title": "the sea", "body": "red fruit"}, {"title": "red fruit", "body": "the sea"}]
    for field, best in (("title", 1), ("body", 0)):
        asked = {"query": QUERY, "documents": records, "rank_fields": [field]}
        assert served.post("/v1/rerank", asked).json()["results"][0]["index"] == best
    missing = served.post("/v1/rerank", {"query": QUERY, "documents": records, "rank_fields": ["nope"]})
    assert missing.status_code == 400
    assert "no field 'nope'" in missing.json()["message"]


def test_podium_says_what_it_read(served):
    records = [{"title": "Sea", "text": "red fruit"}, {"title": "Red", "text": ""}]
    asked = {"query": QUERY, "documents": records}
    read = {each["index"]: each["text"] for each in served.post("/rank", asked).json()["results"]}
    assert read == {0: "red fruit", 1: None}
    asked["rank_by"] = ["title", "text"]
    read = {each["index"]: each["text"] for each in served.post("/rank", asked).json()["results"]}
    assert read[0] == "title: Sea\ntext: red fruit\n"


@pytest.mark.parametrize("path", ["/reranking", "/v1/rerank", "/v1/reranking"])
def test_llama_cpp_clients_may_send_texts_on_any_of_its_paths(served, mini, path):
    reply = served.post(path, {"query": QUERY, "texts": TEXTS})
    assert [(each["index"], each["score"]) for each in reply.json()] == offline(mini)


@pytest.mark.parametrize("path", ["/v1/reranking", "/reranking", "/v1/v1/reranking"])
def test_mixedbread_has_input_and_data(served, mini, path):
    request = {"query": QUERY, "input": TEXTS, "model": "podium-mini", "top_k": 2, "return_input": True}
    body = served.post(path, request).json()
    assert [(each["index"], each["score"]) for each in body["data"]] == offline(mini)[:2]
    assert [each["input"] for each in body["data"]] == [TEXTS[each["index"]] for each in body["data"]]
    assert (body["top_k"], body["return_input"], body["object"], body["model"]) == (2, True, "list", "podium-mini")
    assert all("input" not in each for each in served.post(path, request | {"return_input": False}).json()["data"])
    refused = served.post(path, request | {"input": []})
    assert (refused.status_code, refused.json()["message"]) == (400, "input must be a list with at least one document in it")


def test_nim_ranks_passages_by_logits(served, mini):
    request = {"model": "podium-mini", "query": {"text": QUERY}, "passages": [{"text": text} for text in TEXTS]}
    rankings = served.post("/v1/ranking", request).json()["rankings"]
    assert [each["index"] for each in rankings] == [index for index, _ in offline(mini)]
    probabilities = [1 / (1 + math.exp(-each["logit"])) for each in rankings[:4]]
    assert probabilities == pytest.approx([score for _, score in offline(mini)[:4]])
    words = served.post("/v1/ranking", request | {"model": "words"}).json()["rankings"]
    assert words[0] == {"index": 3, "logit": 2.0}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"passages": []}, "passages must be a list with at least one object in it"),
        ({"passages": ["a"]}, 'each passage must be an object with a string: {"text": "..."}'),
        ({"query": "a"}, 'query must be an object with a string: {"text": "..."}'),
    ],
)
def test_invalid_nim_requests_are_refused(served, wrong, message):
    reply = served.post("/v1/ranking", {"query": {"text": "a"}, "passages": [{"text": "b"}]} | wrong)
    assert (reply.status_code, reply.json()["detail"]) == (400, message)


def test_nim_truncate_none_refuses_long_passages(served):
    request = {"query": {"text": QUERY}, "passages": [{"text": "red fruit " * 2000}]}
    assert served.post("/v1/ranking", request | {"truncate": "END"}).status_code == 200
    assert served.post("/v1/ranking", request | {"truncate": "NONE"}).status_code == 400


def test_weaviate_gets_scores_in_the_order_of_its_documents(served, mini):
    body = served.post("/rerank", {"query": QUERY, "documents": TEXTS[:2], "property": ""}).json()
    scores = mini.score(QUERY, TEXTS[:2])
    assert body == {"scores": [{"document": text, "score": score} for text, score in zip(TEXTS, scores, strict=False)]}
    refused = served.post("/rerank", {"query": QUERY, "documents": [], "property": "content"})
    assert (refused.status_code, "documents must be" in refused.json()["error"]) == (400, True)
    for path in ("/.well-known/ready", "/.well-known/live", "/meta"):  # asked for when Weaviate starts
        assert served.client.get(path).status_code == 200


def test_booleans_may_be_written_as_strings(served):
    request = {"query": QUERY, "documents": TEXTS, "return_documents": "True"}
    assert all("document" in each for each in served.post("/v1/rerank", request).json()["results"])
    request["return_documents"] = "false"
    assert all("document" not in each for each in served.post("/v1/rerank", request).json()["results"])


def test_wildcard_model_answers_for_names_that_are_not_served(mini):
    rerankers = {"words": podium.Reranker(WordOverlap()), "*": mini}
    with Serving(rerankers=rerankers) as server:
        request = {"query": QUERY, "documents": TEXTS}
        other = server.post("/v2/rerank", request | {"model": "rerank-english-v3.0"}).json()
        assert [(each["index"], each["score"]) for each in other["results"]] == offline(mini)
        assert other["model"] == "rerank-english-v3.0"
        assert server.post("/v2/rerank", request | {"model": "words"}).json()["results"][0]["score"] == 2.0
        assert server.post("/v2/rerank", request).json()["results"][0]["score"] == 2.0
        written = server.client.get("/metrics").text
    assert 'model="*"' in written
    assert "rerank-english-v3.0" not in written  # clients must not choose labels


def test_check_api_key_is_answered(served):
    assert served.post("/v1/check-api-key", {}).json()["valid"] is True


def test_each_path_has_one_default_dialect_and_distinct_markers():
    for path in {path for dialect in DIALECTS for path in dialect.paths}:
        markers = [dialect.marker for dialect in DIALECTS if path in dialect.paths]
        assert markers.count(None) == 1, path
        assert len(set(markers)) == len(markers), path


def test_a_path_may_end_in_a_slash(served):
    assert served.post("/v2/rerank/", {"query": QUERY, "documents": TEXTS}).status_code == 200


def test_what_is_cut_is_said(served):
    long = "red fruit " * 2000
    reply = served.post("/v2/rerank", {"query": QUERY, "documents": [long, "b"], "max_tokens_per_doc": 100})
    assert reply.headers["x-podium-truncated"] == "1"
    dropped = {each["index"]: each.get("dropped_tokens") for each in reply.json()["results"]}
    assert dropped[0] > 1000
    assert dropped[1] is None
    warnings = reply.json()["meta"]["warnings"]
    assert "1 of 2 documents are longer than the model reads; see dropped_tokens" in warnings
    assert "max_tokens_per_doc is not applied: 1 documents were read further than 100 tokens" in warnings
    for path, asked in (
        ("/rerank", {"texts": [long], "truncate": False}),
        ("/v1/rerank", {"documents": [long], "truncation": False}),
    ):
        refused = served.post(path, {"query": QUERY} | asked)
        assert refused.status_code in (400, 422)
        assert "longer than the model reads" in refused.text


WRONG = [
    {},
    {"query": QUERY},
    {"query": None},
    {"query": 7},
    {"query": ["a"]},
    {"query": ""},
    {"query": " \u200b "},
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


@pytest.mark.parametrize("wrong", WRONG, ids=[json.dumps(wrong) for wrong in WRONG])
def test_what_is_wrong_is_a_400_that_both_sdks_understand(served, wrong):
    asked = ({"query": QUERY, "documents": TEXTS} | wrong) if wrong and wrong != {"query": QUERY} else wrong
    reply = served.post("/v2/rerank", asked)
    assert reply.status_code == 400, reply.text
    assert reply.headers["content-type"] == "application/json"
    said = reply.json()
    assert isinstance(said["message"], str)
    assert said["message"] == said["detail"]
    assert said["id"] == reply.headers["x-request-id"]


@pytest.mark.parametrize(
    "wrong", [{}, {"query": 7}, {"texts": "a"}, {"texts": []}, {"texts": [{"text": "a"}]}, {"truncate": 1}]
)
def test_what_is_wrong_for_tei_is_a_validation_error(served, wrong):
    reply = served.post("/rerank", ({"query": QUERY, "texts": TEXTS} | wrong) if wrong else {"texts": None})
    assert reply.status_code == 422
    assert reply.json()["error_type"] == "Validation"
    assert isinstance(reply.json()["error"], str)


RAW = [
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
@pytest.mark.parametrize("raw", RAW, ids=[raw[:12] for raw in RAW])
def test_malformed_json_is_a_400(served, path, raw):
    reply = served.client.post(path, content=raw)
    assert reply.status_code in (400, 422), reply.text
    assert reply.headers["content-type"] == "application/json"
    json.loads(reply.content)


@pytest.mark.parametrize("depth", [100, 900, 5000])
@pytest.mark.parametrize("part", ['{"a":%s}', "[%s]", '{"text":"a","b":%s}'])
def test_documents_that_are_deep_are_ranked_or_refused(served, depth, part):
    begin, end = part.split("%s")
    deep = begin * depth + "1" + end * depth
    for path in ("/v2/rerank", "/rank"):
        body = '{"query":"a","return_documents":true,"documents":["b",{"text":"c","meta":' + deep + "}]}"
        assert served.client.post(path, content=body).status_code in (200, 400)


def test_many_questions_at_once_are_answered(served, mini):
    count = 300
    first, second = [f"query {at}" for at in range(count)], ["a ripe red apple"] * count
    said = served.post("/score", {"text_1": first, "text_2": second, "model": "podium-mini"}).json()
    assert [each["score"] for each in said["data"][:5]] == [mini.score(query, ["a ripe red apple"])[0] for query in first[:5]]
    assert len(said["data"]) == count


def test_an_unknown_model_is_a_404_with_the_names(served):
    reply = served.post("/v2/rerank", {"query": QUERY, "documents": TEXTS, "model": "rerank-v9"})
    assert reply.status_code == 404
    assert reply.json()["message"] == "there is no model 'rerank-v9' here; there are podium-mini, words, likely"
    vllm = served.post("/score", {"text_1": "a", "text_2": "b", "model": "x"})
    assert vllm.status_code == 404
    assert vllm.json()["error"] == {
        "message": "there is no model 'x' here; there are podium-mini, words, likely",
        "type": "NotFoundError",
        "param": None,
        "code": 404,
    }


def test_models_answer_by_their_names(served):
    said = served.post("/v2/rerank", {"query": QUERY, "documents": TEXTS, "model": "words"}).json()
    assert [each["relevance_score"] for each in said["results"]][:2] == [2.0, 1.0]
    assert [each["id"] for each in served.client.get("/v1/models").json()["data"]] == ["podium-mini", "words", "likely"]
    info = served.client.get("/info").json()
    assert (info["model_id"], info["max_client_batch_size"]) == ("podium-mini", 10_000)


def test_a_path_or_method_that_is_not_there_is_said_in_json(served):
    assert "there is no /v3/rerank here" in served.post("/v3/rerank", {}).json()["detail"]
    wrong = served.client.get("/v2/rerank")
    assert wrong.status_code == 405
    assert wrong.headers["allow"] == "POST"
    assert wrong.json()["message"]


def test_no_dialect_shows_what_was_asked_in_a_repr():
    call = cohere.DIALECT.read({"query": "secret words", "documents": ["secret words"]})
    assert "secret" not in repr(call) + repr(call.questions)


def test_podium_itself_can_ask_podium(served, mini):
    """Our own clients of these APIs, at our own server: the two readings of each contract agree."""
    for name in ("cohere", "jina", "voyage"):
        base = {"voyage": f"{served.url}/v1", "jina": f"{served.url}/v1"}.get(name, served.url)
        with podium.load(f"{name}:podium-mini", api_key="k", base_url=base) as asked:
            ranking = asked.rerank(QUERY, TEXTS)
            assert [(result.index, pytest.approx(result.score)) for result in ranking] == offline(mini)


def test_a_large_reply_is_whole(served):
    asked = {"query": QUERY, "documents": [f"text {at} red" for at in range(3000)], "model": "words", "return_documents": True}
    said = httpx.post(f"{served.url}/v2/rerank", json=asked, timeout=60).json()
    assert sorted(each["index"] for each in said["results"]) == list(range(3000))
    assert said["usage"]["completion_tokens"] == 0  # Together's JavaScript client requires it
    assert all(each["score"] == each["relevance_score"] for each in said["results"])  # Pinecone's clients read score
    assert said["meta"]["billed_units"] == {"search_units": 30}
