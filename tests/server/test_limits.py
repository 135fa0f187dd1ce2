"""The server under load and under limits: what is accepted is answered, the rest told why."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from hypothesis import given, strategies
from hypothesis import settings as hypothesis_settings

from environment import ROOT
from loopback import wait_until
from podium.json_values import count_outside_strings
from podium.server import process as process_module
from podium.server.endpoints import pages
from podium.server.http import bodies
from podium.server.http.bodies import string_width
from podium.server.http.protocol import MAX_CONNECTIONS, Protocol
from podium.server.settings import Settings
from podium.server.threads import THREADS
from serving import REQUEST, Serving, WaitingScorer, rerankers


def test_the_documented_limits_are_the_real_ones():
    table = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    settings = Settings()
    for documented in (
        f"`--max-requests`, {settings.max_requests} |",
        f"blocks | {THREADS} |",
        f"`--max-memory`, {settings.max_memory:,} bytes",
        f"`--timeout`, {settings.timeout:g} s",
        f"`--max-body`, {settings.max_body:,} bytes, {bodies.MAX_VALUES:,} values, within {settings.read_timeout:g} s",
        f"`--max-documents`, {settings.max_documents:,}; `--max-characters`, {settings.max_characters:,} |",
        f"to `/search` | {pages.MAX_QUERY_CHARACTERS:,} |",
        f"{Protocol.head_bytes // 1024} KiB, within {Protocol.head_seconds:g} s of connecting",
        f"after its reply | {Protocol.rest_seconds:g} s |",
        f"reading a reply | {Protocol.reply_seconds:g} s from",
        f"between two requests | {process_module.KEEP_ALIVE} s |",
        f"requests that wait | {Protocol.max_pipelined} |",
        f"of a process | {MAX_CONNECTIONS:,}, fewer",
        f"and {bodies.BYTES_PER_VALUE} bytes per value",
    ):
        assert documented in table


def test_a_full_queue_refuses_at_once_and_says_when_to_come_again():
    waiting = WaitingScorer()
    with Serving(Settings(max_requests=3), rerankers=rerankers(waiting=waiting)) as server, ThreadPoolExecutor(3) as pool:
        asked = REQUEST | {"model": "waiting"}
        accepted = [pool.submit(httpx.post, f"{server.url}/v2/rerank", json=asked, timeout=30) for _ in range(3)]
        wait_until(lambda: waiting.started == 3)
        refused = server.post("/v2/rerank", REQUEST)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        tei = server.post("/rerank", {"query": "a", "texts": ["b"]})
        assert (tei.status_code, tei.json()["error_type"]) == (429, "Overloaded")
        assert server.client.get("/health").status_code == server.client.get("/ready").status_code == 200
        waiting.release.set()
        assert [answer.result().status_code for answer in accepted] == [200] * 3
        assert server.post("/v2/rerank", REQUEST).status_code == 200


def test_one_of_several_models_never_gets_the_last_places():
    waiting = WaitingScorer()
    with Serving(Settings(max_requests=8), rerankers=rerankers(waiting=waiting)) as server, ThreadPoolExecutor(6) as pool:
        asked = REQUEST | {"model": "waiting"}
        accepted = [pool.submit(httpx.post, f"{server.url}/v2/rerank", json=asked, timeout=60) for _ in range(6)]
        wait_until(lambda: waiting.started == 6)
        assert server.post("/v2/rerank", asked).status_code == 429
        assert server.post("/v2/rerank", REQUEST).status_code == 200
        waiting.release.set()
        assert [answer.result().status_code for answer in accepted] == [200] * 6


def test_bodies_that_wait_are_bounded_together():
    waiting = WaitingScorer()
    large = REQUEST | {"model": "waiting", "documents": ["x" * 6000]}
    with Serving(Settings(max_memory=20_000), rerankers=rerankers(waiting=waiting)) as server, ThreadPoolExecutor(1) as pool:
        first = pool.submit(httpx.post, f"{server.url}/v2/rerank", json=large, timeout=30)
        wait_until(lambda: waiting.started == 1)
        assert server.post("/v2/rerank", large).status_code == 429
        waiting.release.set()
        assert first.result().status_code == 200
        assert server.post("/v2/rerank", large).status_code == 200
        wait_until(lambda: server.state.admission.bytes == 0)


def test_a_request_that_alone_takes_too_much_memory_is_refused_for_good():
    with Serving(Settings(max_memory=20_000), rerankers=rerankers()) as server:
        for content in (b"x" * 30_000, json.dumps({"query": "a", "documents": ["\U0001f600" * 2000]}).encode()):
            refused = server.client.post("/v2/rerank", content=content)
            assert (refused.status_code, "more than the 20,000 bytes of memory" in refused.text) == (413, True)
        assert server.post("/v2/rerank", REQUEST).status_code == 200
        wait_until(lambda: server.state.admission.bytes == 0)


@pytest.mark.parametrize(
    ("settings", "asked", "says"),
    [
        (Settings(max_documents=3), ["a"] * 4, "4 documents; this server takes 3 in a request"),
        (Settings(max_characters=9), ["a", "b" * 10], "document 1 has 10 characters; this server takes 9"),
        (Settings(max_characters=9), ["a", {"text": "b", "n": {"deep": "b" * 10}}], "document 1 has 20 characters"),
        (Settings(max_characters=9), ["a", {"text": "b", "n": ["bbbbb", ["bbbbb"]]}], "document 1 has 16 characters"),
        (Settings(max_characters=8), ["a"], "the query has 9 characters; this server takes 8"),
    ],
)
def test_limits_are_told_in_the_dialects_words(settings, asked, says):
    with Serving(settings, rerankers=rerankers()) as server:
        reply = server.post("/v2/rerank", REQUEST | {"documents": asked})
        assert reply.status_code == 400
        assert says in reply.json()["message"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_refused(chunked):
    body = json.dumps(REQUEST | {"documents": ["x" * 200_000]}).encode()
    with Serving(Settings(max_body=100_000), rerankers=rerankers()) as server:
        content = (body[at : at + 1000] for at in range(0, len(body), 1000)) if chunked else body
        reply = server.client.post("/v2/rerank", content=content)
        assert reply.status_code == 413
        assert "larger than the 100,000 bytes" in reply.json()["message"]
        assert server.post("/v2/rerank", REQUEST).status_code == 200


def test_a_hundred_megabytes_are_refused_before_they_are_read():
    with Serving(rerankers=rerankers()) as server:
        reply = httpx.post(f"{server.url}/v2/rerank", content=b"x" * 100_000_000, timeout=30)
        assert reply.status_code == 413
        assert server.state.admission.bytes == 0


def test_a_body_of_too_many_values_is_refused():
    with Serving(rerankers=rerankers()) as server:
        body = b'{"query":"a","documents":[' + b"1," * 2_000_000 + b"1]}"
        assert server.client.post("/v2/rerank", content=body).status_code == 413
        body = b'{"query":"a","documents":[{"text":[' + b"1," * 500_000 + b"1]}]}"
        assert server.client.post("/v2/rerank", content=body).status_code == 400


@pytest.mark.parametrize("text", ["word, " * 700_000, "1,2,[3,{" * 300_000, '\\"a,\\\\,[' * 300_000 + "\\"])
def test_commas_and_brackets_in_strings_are_no_values(text):
    with Serving(Settings(max_characters=10_000_000), rerankers=rerankers()) as server:
        body = json.dumps({"query": "a", "documents": [text, "b"]}).encode()
        assert server.client.post("/v2/rerank", content=body).status_code == 200


LEAVES = strategies.none() | strategies.integers() | strategies.text('a,[{"\\\u00e9', max_size=6)


OBJECTS = strategies.dictionaries(
    strategies.text('a,{"\\', max_size=4), LEAVES | strategies.lists(LEAVES, max_size=3), max_size=3
)


@hypothesis_settings(deadline=None)
@given(strategies.lists(LEAVES | OBJECTS, max_size=5))
def test_values_are_counted_outside_strings(value):
    body = json.dumps([value], separators=(",", ":")).encode()
    without_strings = re.sub(rb'"(?:[^"\\]|\\.)*"', b"", body)
    assert count_outside_strings(body) == sum(map(without_strings.count, (b",", b"[", b"{")))


@pytest.mark.parametrize(
    ("text", "width"),
    [('"a"', 1), ('"é"', 2), ('"中"', 2), ('"a😀"', 4), (json.dumps("é"), 2), (json.dumps("😀"), 4), (json.dumps("a"), 1)],
)
def test_decoded_strings_are_counted_by_their_widest_character(text, width):
    assert string_width(text.encode()) == width


def test_a_number_that_is_no_float_is_no_failure():
    with Serving(rerankers=rerankers()) as server:
        asked = {
            "query": "red",
            "documents": [{"text": "red", "source_score": 10**400, "n": 10**400}],
            "return_documents": True,
        }
        for path in ("/v2/rerank", "/rank"):
            assert server.post(path, asked).status_code == 200


def test_fields_to_read_and_names_of_models_are_bounded():
    unknown = [f"fieldXnumber_{number}y" for number in range(3000)]
    with Serving(rerankers=rerankers()) as server:
        many = server.post("/v2/rerank", REQUEST | {"documents": [dict.fromkeys(unknown, "a")], "rank_fields": unknown})
        assert (many.status_code, "this server takes 100" in many.text) == (400, True)
        long = server.post("/v2/rerank", REQUEST | {"model": "é" * 10_000})
        assert (long.status_code, len(long.text) < 1000) == (400, True)
