"""Limits on requests: their number, size, values and memory."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor

import httpx
import hypothesis
import pytest
from hypothesis import strategies

import podium
from environment import ROOT
from fakes import WordOverlap
from loopback import wait_until
from podium.field_values import MAX_DEPTH
from podium.json_values import count_outside_strings, string_character_bytes
from podium.scorers import BaseScorer
from podium.server import process as process_module
from podium.server.dialects import podium as podium_dialect
from podium.server.endpoints import rerank, search, sizes
from podium.server.http import bodies
from podium.server.http.protocol import MAX_CONNECTIONS, Protocol
from podium.server.settings import Settings
from podium.server.threads import THREADS_PER_POOL
from serving import REQUEST, ServerThread, WaitingScorer, rerankers

DEFAULTS = Settings()


@pytest.mark.parametrize(
    "text",
    [
        f"`--max-requests`, {DEFAULTS.max_requests} |",
        f"blocks | {THREADS_PER_POOL} |",
        f"`--max-memory`, {DEFAULTS.max_memory:,} bytes",
        f"`--timeout`, {DEFAULTS.timeout:g} s",
        f"`--max-body`, {DEFAULTS.max_body:,} bytes, {bodies.MAX_VALUES:,} values, within {DEFAULTS.read_timeout:g} s",
        f"`--max-documents`, {DEFAULTS.max_documents:,}; `--max-characters`, {DEFAULTS.max_characters:,} |",
        f"characters of a model's name | {rerank.MAX_FIELDS}; {rerank.MAX_MODEL_NAME} |",
        f"read as text | {MAX_DEPTH} |",
        f"characters of a query to `/search` | {search.MAX_QUERY_CHARACTERS:,} |",
        f"`offset` of `/search` | {search.MAX_OFFSET:,} |",
        f"`candidates` of `/search` | {search.MAX_CANDIDATES:,} |",
        f"{Protocol.head_bytes // 1024} KiB, {Protocol.head_fields} fields, within {Protocol.head_seconds:g} s of connecting",
        f"after its reply | {Protocol.rest_seconds:g} s |",
        f"to read a reply | {Protocol.reply_seconds:g} s from",
        f"between two requests | {process_module.KEEP_ALIVE_SECONDS} s |",
        f"requests that wait | {Protocol.max_pipelined}, {Protocol.pipelined_bytes // 1024} KiB together |",
        f"of a process | {MAX_CONNECTIONS:,}, fewer",
        f"and {bodies.BYTES_PER_VALUE} bytes per value",
    ],
)
def test_documented_limits_are_those_of_the_code(text):
    assert text in (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")


# Number of requests


def test_requests_above_the_limit_are_429():
    scorer = WaitingScorer()
    with ServerThread(Settings(max_requests=3), rerankers=rerankers(waiting=scorer)) as server, ThreadPoolExecutor(3) as pool:
        request = REQUEST | {"model": "waiting"}
        futures = [pool.submit(httpx.post, f"{server.url}/v2/rerank", json=request, timeout=30) for _ in range(3)]
        wait_until(lambda: scorer.started_count == 3)
        reply = server.post("/v2/rerank", REQUEST)
        assert reply.status_code == 429
        assert int(reply.headers["retry-after"]) >= 1
        tei_reply = server.post("/rerank", {"query": "a", "texts": ["b"]})
        assert (tei_reply.status_code, tei_reply.json()["error_type"]) == (429, "Overloaded")
        assert server.client.get("/health").status_code == server.client.get("/ready").status_code == 200
        scorer.release.set()
        assert [future.result().status_code for future in futures] == [200] * 3
        assert server.post("/v2/rerank", REQUEST).status_code == 200


def test_one_of_several_models_gets_at_most_three_quarters_of_the_requests():
    scorer = WaitingScorer()
    with ServerThread(Settings(max_requests=8), rerankers=rerankers(waiting=scorer)) as server, ThreadPoolExecutor(6) as pool:
        request = REQUEST | {"model": "waiting"}
        futures = [pool.submit(httpx.post, f"{server.url}/v2/rerank", json=request, timeout=60) for _ in range(6)]
        wait_until(lambda: scorer.started_count == 6)
        assert server.post("/v2/rerank", request).status_code == 429
        assert server.post("/v2/rerank", REQUEST).status_code == 200
        scorer.release.set()
        assert [future.result().status_code for future in futures] == [200] * 6


# Memory


def test_memory_of_waiting_requests_is_limited():
    scorer = WaitingScorer()
    large = REQUEST | {"model": "waiting", "documents": ["x" * 6000]}
    with (
        ServerThread(Settings(max_memory=20_000), rerankers=rerankers(waiting=scorer)) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        future = pool.submit(httpx.post, f"{server.url}/v2/rerank", json=large, timeout=30)
        wait_until(lambda: scorer.started_count == 1)
        assert server.post("/v2/rerank", large).status_code == 429
        scorer.release.set()
        assert future.result().status_code == 200
        assert server.post("/v2/rerank", large).status_code == 200
        wait_until(lambda: server.state.admission.used_bytes == 0)


@pytest.mark.parametrize(
    "content",
    [b"x" * 30_000, json.dumps({"query": "a", "documents": ["\U0001f600" * 2000]}).encode()],
    ids=["the body", "the decoded text"],
)
def test_single_request_above_the_memory_limit_is_413(content):
    with ServerThread(Settings(max_memory=20_000), rerankers=rerankers()) as server:
        reply = server.client.post("/v2/rerank", content=content)
        assert reply.status_code == 413
        assert "more memory than the 20,000 bytes" in reply.text
        assert server.post("/v2/rerank", REQUEST).status_code == 200
        wait_until(lambda: server.state.admission.used_bytes == 0)


def nested(value, depth):
    """Return a value inside of `depth` objects, each of which has the key "a"."""
    for _ in range(depth):
        value = {"a": value}
    return value


def key_indentation(depths):
    """Return the number of spaces before keys that are at these depths, one at each. The first 4 spaces are not counted."""
    return sum(max(0, 2 * depth - 4) for depth in depths)


@pytest.mark.parametrize(
    ("document", "character_count"),
    [
        ("four", 4),
        ({"text": "b", "n": [1, True, None]}, len("text" + "b" + "n") + 3 * sizes.NUMBER_CHARACTERS),
        ({"text": nested("b", 1)}, len("text" + "a" + "b")),
        ({"text": nested("b", 200)}, len("text" + "a" * 200 + "b") + key_indentation(range(1, 202))),
        (nested([1, 2], 9), len("a" * 9) + 2 * sizes.NUMBER_CHARACTERS + key_indentation(range(9)) + 2 * 16),
        (nested("one\ntwo\nthree", 5), len("a" * 5 + "one\ntwo\nthree") + key_indentation(range(5)) + 3 * 6),
    ],
    ids=["string", "flat", "shallow", "deep", "deep list", "deep lines"],
)
def test_size_of_document_includes_indentation(document, character_count):
    """The numbers of the deep list have 16 counted spaces before them, and the three lines of text have 6."""
    assert sizes.document_size(document).character_count == character_count


@pytest.mark.parametrize("depth", [200, 31], ids=["too deep to be read", "deep"])
def test_text_that_is_mostly_indentation_is_400(depth):
    """400 kB of JSON would become 80 MB of YAML, and far more during tokenization."""
    with ServerThread(rerankers=rerankers()) as server:
        reply = server.post("/rank", {"query": "a", "documents": [{"text": nested([1] * 200_000, depth)}]})
        assert reply.status_code == 400
        assert "this server accepts 1,000,000" in reply.text


def test_memory_of_yaml_texts_is_counted():
    """The limit on memory can be exceeded even if every document is below the limit on characters."""
    documents = [{"text": nested([1] * 1000, 20)}] * 50
    content = {"query": "a", "documents": documents}
    with ServerThread(Settings(max_memory=8_000_000), rerankers=rerankers()) as server:
        assert server.post("/rank", {**content, "documents": documents[:5]}).status_code == 200
        assert server.post("/rank", content).status_code == 413


class LongTexts(WordOverlap, BaseScorer):
    max_length = 8_192


def test_memory_of_tokens_is_counted():
    """Every pair of a document has the tokens of the query."""
    content = {"query": "a " * 8_000, "documents": ["b"] * 200}
    with ServerThread(Settings(max_memory=8_000_000), rerankers=rerankers(long=LongTexts())) as server:
        assert server.post("/rank", {**content, "model": "words"}).status_code == 200
        assert server.post("/rank", {**content, "model": "long"}).status_code == 413
        assert server.post("/rank", {"query": "a", "documents": ["b"] * 2_000, "model": "long"}).status_code == 200


@pytest.mark.parametrize(
    ("document", "fields", "character_count", "value_count"),
    [
        ("a string", None, 0, 0),
        ({"text": "a string", "vector": [1] * 100}, None, 0, 0),
        ({"text": {"a": "b"}, "vector": [1] * 100}, None, 2, 2),
        ({"title": "one", "text": "two"}, ["title", "text"], 6, 2),
        ({"text": "one", "body": {"a": "two"}}, ["body.a"], 4, 2),
    ],
    ids=["string", "field that is a string", "field that is an object", "several fields", "dotted name"],
)
def test_only_texts_that_are_written_as_yaml_take_memory(document, fields, character_count, value_count):
    body = bodies.Body({}, size=0, character_bytes=2, is_ascii=True)
    call = podium_dialect.DIALECT.read_call({"query": "a", "documents": [document], "rank_by": fields})
    text_bytes = 2 * character_count
    reply_bytes = 2 * (3 * text_bytes + sizes.REPLY_BYTES_PER_DOCUMENT)  # escaped texts, first as a string and then as bytes
    assert sizes.call_bytes(call, body) == text_bytes + sizes.YAML_BYTES_PER_VALUE * value_count + reply_bytes


# Size of bodies, documents and names


@pytest.mark.parametrize(
    ("settings", "documents", "message"),
    [
        (Settings(max_documents=3), ["a"] * 4, "the request has 4 documents; this server accepts 3"),
        (Settings(max_characters=9), ["a", "b" * 10], "document 1 has 10 characters; this server accepts 9"),
        (Settings(max_characters=9), ["a", {"text": "b", "n": {"deep": "b" * 10}}], "document 1 has 20 characters"),
        (Settings(max_characters=9), ["a", {"text": "b", "n": ["bbbbb", ["bbbbb"]]}], "document 1 has 18 characters"),
        (Settings(max_characters=8), ["a"], "the query has 9 characters; this server accepts 8"),
    ],
    ids=["documents", "string", "object", "list", "query"],
)
def test_too_many_documents_or_characters_are_400(settings, documents, message):
    with ServerThread(settings, rerankers=rerankers()) as server:
        reply = server.post("/v2/rerank", REQUEST | {"documents": documents})
        assert reply.status_code == 400
        assert message in reply.json()["message"]


@pytest.mark.parametrize("is_chunked", [False, True], ids=["with a length", "chunked"])
def test_large_body_is_413(is_chunked):
    body = json.dumps(REQUEST | {"documents": ["x" * 200_000]}).encode()
    with ServerThread(Settings(max_body=100_000), rerankers=rerankers()) as server:
        content = (body[begin : begin + 1000] for begin in range(0, len(body), 1000)) if is_chunked else body
        reply = server.client.post("/v2/rerank", content=content)
        assert reply.status_code == 413
        assert "larger than the 100,000 bytes" in reply.json()["message"]
        assert server.post("/v2/rerank", REQUEST).status_code == 200


def test_very_large_body_is_refused_before_it_is_read():
    with ServerThread(rerankers=rerankers()) as server:
        reply = httpx.post(f"{server.url}/v2/rerank", content=b"x" * 100_000_000, timeout=30)
        assert reply.status_code == 413
        assert server.state.admission.used_bytes == 0


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b'{"query":"a","documents":[' + b"1," * 2_000_000 + b"1]}", 413),
        (b'{"query":"a","documents":[{"text":[' + b"1," * 500_000 + b"1]}]}", 400),
    ],
    ids=["above the limit on values", "above the limit on characters"],
)
def test_body_with_too_many_values_is_refused(content, status):
    with ServerThread(rerankers=rerankers()) as server:
        assert server.client.post("/v2/rerank", content=content).status_code == status


@pytest.mark.parametrize(
    "text",
    ["word, " * 700_000, "1,2,[3,{" * 300_000, '\\"a,\\\\,[' * 300_000 + "\\"],
    ids=["commas", "brackets", "escapes"],
)
def test_commas_and_brackets_in_strings_are_not_values(text):
    with ServerThread(Settings(max_characters=10_000_000), rerankers=rerankers()) as server:
        body = json.dumps({"query": "a", "documents": [text, "b"]}).encode()
        assert server.client.post("/v2/rerank", content=body).status_code == 200


LEAVES = strategies.none() | strategies.integers() | strategies.text('a,[{"\\\u00e9', max_size=6)
OBJECTS = strategies.dictionaries(
    strategies.text('a,{"\\', max_size=4), LEAVES | strategies.lists(LEAVES, max_size=3), max_size=3
)


@hypothesis.settings(deadline=None)
@hypothesis.given(strategies.lists(LEAVES | OBJECTS, max_size=5))
def test_values_are_counted_outside_strings(value):
    body = json.dumps([value], separators=(",", ":")).encode()
    without_strings = re.sub(rb'"(?:[^"\\]|\\.)*"', b"", body)
    assert count_outside_strings(body) == sum(map(without_strings.count, (b",", b"[", b"{")))


@pytest.mark.parametrize(
    ("text", "bytes_per_character"),
    [('"a"', 1), ('"é"', 2), ('"中"', 2), ('"a😀"', 4), (json.dumps("é"), 2), (json.dumps("😀"), 4), (json.dumps("a"), 1)],
)
def test_memory_per_character_is_that_of_the_widest_character(text, bytes_per_character):
    """Python stores all characters of a string with the same number of bytes."""
    assert string_character_bytes(text.encode()) == bytes_per_character


@pytest.mark.parametrize("path", ["/v2/rerank", "/rank"])
def test_integer_above_the_range_of_floats_is_accepted(path):
    document = {"text": "red", "source_score": 10**400, "n": 10**400}
    with ServerThread(rerankers=rerankers()) as server:
        reply = server.post(path, {"query": "red", "documents": [document]})
        assert reply.status_code == 200


def test_number_of_rank_fields_is_limited():
    fields = [f"field{number}" for number in range(3000)]
    with ServerThread(rerankers=rerankers()) as server:
        reply = server.post("/v2/rerank", REQUEST | {"documents": [dict.fromkeys(fields, "a")], "rank_fields": fields})
        assert reply.status_code == 400
        assert "rank_fields has 3,000 names; this server accepts 100" in reply.text


def test_length_of_model_names_is_limited():
    with ServerThread(rerankers=rerankers()) as server:
        reply = server.post("/v2/rerank", REQUEST | {"model": "é" * 10_000})
        assert reply.status_code == 400
        assert len(reply.text) < 1000


def test_rank_returns_the_text_of_the_fields_that_the_model_reads():
    """If a request names no fields, the model reads those of its own `rank_by`."""
    reranker = podium.Reranker(WordOverlap(), rank_by="title")
    with ServerThread(rerankers={"titles": reranker}) as server:
        reply = server.post("/rank", {"query": "red", "documents": [{"title": "a red fruit", "body": "the sea"}]})
        assert reply.status_code == 200, reply.text
        assert reply.json()["results"][0]["text"] == "a red fruit"
