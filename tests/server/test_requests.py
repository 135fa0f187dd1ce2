"""The server under load, under limits, with keys, with scorers that fail: what is accepted is answered, the rest told why."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import pytest
from hypothesis import given, strategies
from hypothesis import settings as hypothesis_settings
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import podium
from fakes import FunctionScorer, WordOverlap
from loopback import wait_until
from podium.errors import (
    BadResponse,
    DeadlineExceeded,
    InvalidInput,
    KeyRejected,
    PodiumError,
    ProviderUnavailable,
    RateLimited,
    RequestRejected,
)
from podium.json_values import count_outside_strings
from podium.local.schedule import Work, Workers
from podium.server.dialects.call import Refusal
from podium.server.http.bodies import string_width
from podium.server.http.keys import Keys, add_key
from podium.server.http.protocol import Protocol
from podium.server.models import Models
from podium.server.settings import Settings
from podium.server.threads import THREADS
from podium.types import Scores
from serving import Serving

ASKED = {"query": "red fruit", "documents": ["the sea", "a red fruit"]}


class Waiting(WordOverlap):
    """An asynchronous scorer that waits until it may go on, and counts who was cancelled meanwhile."""

    def __init__(self) -> None:
        self.may_go_on = threading.Event()
        self.begun, self.cancelled = 0, 0

    async def ascore(self, query, texts):
        self.begun += 1
        try:
            while not self.may_go_on.is_set():
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return self.score(query, texts)


class Hanging(WordOverlap):
    """A scorer that blocks its thread."""

    def __init__(self) -> None:
        self.may_go_on = threading.Event()

    def score(self, query, texts):
        self.may_go_on.wait(30)
        return super().score(query, texts)


def words(**others):
    return {"words": podium.Reranker(WordOverlap()), **{name: podium.Reranker(scorer) for name, scorer in others.items()}}


# Limits


def test_a_full_queue_refuses_at_once_and_says_when_to_come_again():
    waiting = Waiting()
    with Serving(Settings(max_requests=3), rerankers=words(waiting=waiting)) as server, ThreadPoolExecutor(3) as pool:
        asked = ASKED | {"model": "waiting"}
        accepted = [pool.submit(httpx.post, f"{server.url}/v2/rerank", json=asked, timeout=30) for _ in range(3)]
        wait_until(lambda: waiting.begun == 3)
        refused = server.post("/v2/rerank", ASKED)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        tei = server.post("/rerank", {"query": "a", "texts": ["b"]})
        assert (tei.status_code, tei.json()["error_type"]) == (429, "Overloaded")
        assert server.client.get("/health").status_code == server.client.get("/ready").status_code == 200
        waiting.may_go_on.set()
        assert [answer.result().status_code for answer in accepted] == [200] * 3
        assert server.post("/v2/rerank", ASKED).status_code == 200


def test_one_of_several_models_never_gets_the_last_places():
    waiting = Waiting()
    with Serving(Settings(max_requests=8), rerankers=words(waiting=waiting)) as server, ThreadPoolExecutor(6) as pool:
        asked = ASKED | {"model": "waiting"}
        accepted = [pool.submit(httpx.post, f"{server.url}/v2/rerank", json=asked, timeout=60) for _ in range(6)]
        wait_until(lambda: waiting.begun == 6)
        assert server.post("/v2/rerank", asked).status_code == 429
        assert server.post("/v2/rerank", ASKED).status_code == 200
        waiting.may_go_on.set()
        assert [answer.result().status_code for answer in accepted] == [200] * 6


def test_bodies_that_wait_are_bounded_together():
    waiting = Waiting()
    large = ASKED | {"model": "waiting", "documents": ["x" * 6000]}
    with Serving(Settings(max_memory=20_000), rerankers=words(waiting=waiting)) as server, ThreadPoolExecutor(1) as pool:
        first = pool.submit(httpx.post, f"{server.url}/v2/rerank", json=large, timeout=30)
        wait_until(lambda: waiting.begun == 1)
        assert server.post("/v2/rerank", large).status_code == 429
        waiting.may_go_on.set()
        assert first.result().status_code == 200
        assert server.post("/v2/rerank", large).status_code == 200
        wait_until(lambda: server.state.admission.bytes == 0)


def test_a_request_that_alone_takes_too_much_memory_is_refused_for_good():
    with Serving(Settings(max_memory=20_000), rerankers=words()) as server:
        for content in (b"x" * 30_000, json.dumps({"query": "a", "documents": ["\U0001f600" * 2000]}).encode()):
            refused = server.client.post("/v2/rerank", content=content)
            assert (refused.status_code, "more than the 20,000 bytes of memory" in refused.text) == (413, True)
        assert server.post("/v2/rerank", ASKED).status_code == 200
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
    with Serving(settings, rerankers=words()) as server:
        reply = server.post("/v2/rerank", ASKED | {"documents": asked})
        assert reply.status_code == 400
        assert says in reply.json()["message"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_refused(chunked):
    body = json.dumps(ASKED | {"documents": ["x" * 200_000]}).encode()
    with Serving(Settings(max_body=100_000), rerankers=words()) as server:
        content = (body[at : at + 1000] for at in range(0, len(body), 1000)) if chunked else body
        reply = server.client.post("/v2/rerank", content=content)
        assert reply.status_code == 413
        assert "larger than the 100,000 bytes" in reply.json()["message"]
        assert server.post("/v2/rerank", ASKED).status_code == 200


def test_a_hundred_megabytes_are_refused_before_they_are_read():
    with Serving(rerankers=words()) as server:
        reply = httpx.post(f"{server.url}/v2/rerank", content=b"x" * 100_000_000, timeout=30)
        assert reply.status_code == 413
        assert server.state.admission.bytes == 0


def test_a_body_of_too_many_values_is_refused():
    with Serving(rerankers=words()) as server:
        body = b'{"query":"a","documents":[' + b"1," * 2_000_000 + b"1]}"
        assert server.client.post("/v2/rerank", content=body).status_code == 413
        body = b'{"query":"a","documents":[{"text":[' + b"1," * 500_000 + b"1]}]}"
        assert server.client.post("/v2/rerank", content=body).status_code == 400


@pytest.mark.parametrize("text", ["word, " * 700_000, "1,2,[3,{" * 300_000, '\\"a,\\\\,[' * 300_000 + "\\"])
def test_commas_and_brackets_in_strings_are_no_values(text):
    with Serving(Settings(max_characters=10_000_000), rerankers=words()) as server:
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
    with Serving(rerankers=words()) as server:
        asked = {
            "query": "red",
            "documents": [{"text": "red", "source_score": 10**400, "n": 10**400}],
            "return_documents": True,
        }
        for path in ("/v2/rerank", "/rank"):
            assert server.post(path, asked).status_code == 200


def test_a_question_that_is_refused_stops_the_others():
    waiting = Waiting()
    with Serving(rerankers=words(waiting=waiting)) as server:
        asked = {"text_1": ["", *(f"q{at}" for at in range(2000))], "text_2": ["the sea"] * 2001, "model": "waiting"}
        assert server.post("/score", asked).status_code == 400
        wait_until(lambda: waiting.cancelled == waiting.begun)
        assert waiting.begun < 2000


# Time


def test_a_deadline_is_a_504_and_stops_the_work():
    waiting = Waiting()
    with Serving(Settings(timeout=0.1), rerankers=words(waiting=waiting)) as server:
        reply = server.post("/v2/rerank", ASKED | {"model": "waiting"})
        assert reply.status_code == 504
        assert "not done within 0.1 seconds" in reply.json()["message"]
        wait_until(lambda: waiting.cancelled == 1 and server.state.admission.requests == 0)


@pytest.mark.parametrize(("header", "status"), [("0.05", 504), ("soon", 400), ("-1", 400), ("0", 400), ("nan", 400)])
def test_a_request_may_have_less_time(header, status):
    with Serving(rerankers=words(waiting=Waiting())) as server:
        reply = server.post("/v2/rerank", ASKED | {"model": "waiting"}, x_request_timeout=header)
        assert reply.status_code == status


def post_without_waiting(server, request, path="/v2/rerank"):
    """Send a request and return its connection."""
    body = json.dumps(request).encode()
    connection = socket.create_connection(("127.0.0.1", server.port))
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


def test_a_client_that_goes_away_frees_its_place():
    waiting = Waiting()
    with Serving(Settings(max_requests=2), rerankers=words(waiting=waiting)) as server:
        for gone in range(1, 21):
            with post_without_waiting(server, ASKED | {"model": "waiting"}):
                wait_until(lambda gone=gone: waiting.begun == gone)
            wait_until(lambda gone=gone: waiting.cancelled == gone)
        wait_until(lambda: server.state.admission.requests == 0)
        assert server.post("/v2/rerank", ASKED).status_code == 200


class Stepwise(WordOverlap):
    """Runs on the schedule of local models, a step per text, and counts its steps."""

    def __init__(self) -> None:
        self.workers, self.may_go_on, self.steps = Workers(1), threading.Event(), 0

    async def ascore(self, query, texts):
        await self.workers.arun(Work([1] * len(texts), self._step))
        return self.score(query, texts)

    def _step(self, items):
        self.steps += 1
        self.may_go_on.wait(60)


def test_a_client_that_goes_away_stops_the_steps_of_its_work():
    stepwise = Stepwise()
    with Serving(rerankers=words(stepwise=stepwise)) as server:
        with post_without_waiting(server, {"query": "a", "documents": ["b"] * 2000, "model": "stepwise"}):
            wait_until(lambda: stepwise.steps == 1)
        wait_until(lambda: server.state.admission.requests == 0)
        stepwise.may_go_on.set()
        assert server.post("/v2/rerank", ASKED | {"model": "stepwise"}).status_code == 200
        assert stepwise.steps == 1 + len(ASKED["documents"])


def test_a_body_that_comes_too_slowly_is_refused():
    with (
        Serving(Settings(read_timeout=0.2), rerankers=words()) as server,
        socket.create_connection(("127.0.0.1", server.port)) as s,
    ):
        s.sendall(b"POST /v2/rerank HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
        answer = b"".join(iter(lambda: s.recv(10_000), b""))  # to the end: the server hangs up
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"did not come within 0.2 seconds" in answer


def test_a_client_that_hangs_up_in_its_body_leaves_nothing():
    with Serving(rerankers=words()) as server:
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", server.port)) as s:
                s.sendall(b"POST /v2/rerank HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{" + b" " * 50)
        wait_until(lambda: server.state.admission.bytes == 0)
        assert server.post("/v2/rerank", ASKED).status_code == 200


class Impatient(Protocol):
    """The server's protocol, with limits that tests can wait for."""

    head_seconds = rest_seconds = 0.2


class ImpatientToSend(Protocol):
    reply_seconds = 0.2


def hung_up(connection):
    """Whether the server closes a connection; it waits for that."""
    connection.settimeout(60)
    try:
        while connection.recv(65_536):
            pass
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\r\n",
        b"POST /v2/rerank HTTP/1.1\r\nHost:",
        b"GET /health HTTP/1.1\r\nHost: a\r\n\r\nGET",
        b"GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc",
        b"GET /health HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n",
    ],
    ids=["nothing", "an empty line", "half a head", "half a second head", "half a body", "half of the trailers"],
)
def test_connections_that_stop_in_the_middle_are_closed(sent):
    with (
        Serving(rerankers=words(), protocol=Impatient) as server,
        socket.create_connection(("127.0.0.1", server.port)) as connection,
    ):
        connection.sendall(sent)
        assert hung_up(connection)


def test_a_head_that_comes_byte_by_byte_is_hung_up_on():
    with (
        Serving(rerankers=words(), protocol=Impatient) as server,
        socket.create_connection(("127.0.0.1", server.port)) as connection,
    ):
        connection.sendall(b"POST /v2/rerank HTTP/1.1\r\nHost:")
        wait_until(lambda: not send(connection, b"x"), 60)


def send(connection, data):
    """Whether a connection still takes data."""
    try:
        connection.sendall(data)
    except ConnectionError:
        return False
    return True


def test_a_reply_that_is_not_read_is_given_up():
    """Its connection is closed, and its memory is free again."""
    request = {"query": "a", "documents": [{"text": "a", "padding": "b" * 900_000}] * 10, "return_documents": True}
    body = json.dumps(request).encode()
    with Serving(rerankers=words(), protocol=ImpatientToSend) as server, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(b"POST /v2/rerank HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        assert connection.recv(12) == b"HTTP/1.1 200"
        wait_until(lambda: server.state.admission.bytes == 0)
        connection.settimeout(60)
        assert len(received_until_closed(connection)) < 18_000_000
        assert server.post("/v2/rerank", ASKED).status_code == 200


def received_until_closed(connection):
    received = bytearray()
    try:
        while part := connection.recv(65_536):
            received += part
    except ConnectionError:
        pass
    return received


def test_a_large_reply_counts_until_it_is_read():
    request = {"query": "a", "documents": [{"text": "a", "padding": "b" * 900_000}] * 10, "return_documents": True}
    body = json.dumps(request).encode()
    with Serving(rerankers=words()) as server, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(b"POST /v2/rerank HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        assert connection.recv(12) == b"HTTP/1.1 200"
        wait_until(lambda: server.state.admission.bytes > 18_000_000)
        connection.close()
        wait_until(lambda: server.state.admission.bytes == 0)


def test_pipelined_requests_are_answered_in_order_and_bounded():
    one = b"POST /v2/rerank HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b"
    bodies = [json.dumps(ASKED | {"top_n": limit}).encode() for limit in (1, 2, 1)]
    with Serving(rerankers=words()) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(b"".join(one % (len(body), body) for body in bodies))
            connection.settimeout(60)
            answers = b""
            while answers.count(b"HTTP/1.1 200") < 3 or not answers.endswith(b"}"):
                answers += connection.recv(65_536)
        assert [part.count(b"relevance_score") for part in answers.split(b"HTTP/1.1 200")[1:]] == [2, 4, 2]
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n" * 2000)
            assert hung_up(connection)


@pytest.mark.parametrize("parts", [1, 2, 7], ids=["one read", "two reads", "many reads"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_upgrade_of_a_request_with_a_body_is_ignored(framing, parts):
    """Java's HttpClient sends such a request first on every connection. Its body must not be read as a request either."""
    body = json.dumps(ASKED).encode()
    head = b"POST /v2/rerank HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nUpgrade: h2c\r\n"
    head += b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
    if framing == "length":
        first = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    else:
        first = head + b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    last = b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    requests = first * 2 + last
    size = -(-len(requests) // parts)
    with Serving(rerankers=words()) as server, socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.settimeout(60)
        for start in range(0, len(requests), size):
            connection.sendall(requests[start : start + size])
            time.sleep(0.05)  # so that the parts arrive apart
        replies = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert replies.count(b"HTTP/1.1 ") == replies.count(b"HTTP/1.1 200 OK") == 3
    assert replies.count(b'"results"') == 2


def test_a_body_of_tiny_chunks_is_read_whole():
    """A hundred thousand chunks of one byte."""
    body = json.dumps(ASKED).encode()
    head = b"POST /v2/rerank HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nConnection: close\r\n"
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    with Serving(rerankers=words()) as server, socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.settimeout(60)
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
        replies = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert replies.startswith(b"HTTP/1.1 200 OK")


def test_a_path_with_a_line_break_is_not_found():
    with Serving(rerankers=words()) as server:
        assert server.client.post("/rank%0A", json=ASKED).status_code == 404


def test_fields_to_read_and_names_of_models_are_bounded():
    unknown = [f"fieldXnumber_{number}y" for number in range(3000)]
    with Serving(rerankers=words()) as server:
        many = server.post("/v2/rerank", ASKED | {"documents": [dict.fromkeys(unknown, "a")], "rank_fields": unknown})
        assert (many.status_code, "this server takes 100" in many.text) == (400, True)
        long = server.post("/v2/rerank", ASKED | {"model": "é" * 10_000})
        assert (long.status_code, len(long.text) < 1000) == (400, True)


# Scorers that fail


@pytest.mark.parametrize(
    ("error", "status", "again"),
    [
        (InvalidInput("no"), 400, None),
        (RequestRejected("no", status=422), 400, None),
        (RateLimited("no", status=429), 429, "5"),
        (ProviderUnavailable("no"), 503, "5"),
        (DeadlineExceeded("no"), 504, None),
        (KeyRejected("no", status=401), 502, None),  # the server's own key: the client's is not to blame
        (BadResponse("no"), 502, None),
        (PodiumError("no"), 500, None),
    ],
)
def test_what_fails_below_is_told_by_its_status(error, status, again):
    def fail(texts):
        raise error

    with Serving(rerankers=words(failing=FunctionScorer(fail))) as server:
        reply = server.post("/v2/rerank", ASKED | {"model": "failing"})
        assert (reply.status_code, reply.headers.get("retry-after")) == (status, again)
        assert reply.json()["message"] == "no"


def test_an_error_of_nobodys_is_a_500_without_its_words(caplog):
    def fail(texts):
        raise RuntimeError(f"could not read {texts}")

    with caplog.at_level(logging.INFO, "podium"), Serving(rerankers=words(failing=FunctionScorer(fail))) as server:
        reply = server.post("/v2/rerank", ASKED | {"model": "failing", "documents": ["a secret"]})
        assert reply.status_code == 500
        assert reply.json()["message"].startswith("the server failed (RuntimeError); its log has more under ")
        assert "secret" not in reply.text
    failure = next(record for record in caplog.records if record.message == "failure")
    assert "test_requests.py" in failure.fields["at"]
    assert "secret" not in str([vars(record) for record in caplog.records])


@pytest.mark.parametrize("scores", [[1.0], [1.0, float("nan")], [1.0, 2.0, 3.0]])
def test_scores_that_fit_no_document_are_an_error(scores):
    with Serving(rerankers=words(lying=FunctionScorer(lambda texts: Scores(scores)))) as server:
        assert server.post("/v2/rerank", ASKED | {"model": "lying"}).status_code == 500


def post_briefly(server, path, request):
    """Post a request that has little time, on a connection of its own."""
    return httpx.post(f"{server.url}{path}", json=request, headers={"x-request-timeout": "0.5"}, timeout=60)


def test_a_scorer_that_hangs_holds_up_nobody_else():
    hanging = Hanging()
    with Serving(rerankers=words(hanging=hanging)) as server, ThreadPoolExecutor(10) as pool:
        asked = ASKED | {"model": "hanging"}
        hung = [pool.submit(post_briefly, server, "/v2/rerank", asked) for _ in range(10)]
        assert server.post("/v2/rerank", ASKED).status_code == 200
        assert {answer.result().status_code for answer in hung} == {504}
        hanging.may_go_on.set()


class CountingHang(Hanging):
    """A scorer that blocks its threads, and counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.threads = 0

    def score(self, query, texts):
        self.threads += 1
        return super().score(query, texts)


def test_a_model_that_hangs_takes_neither_all_threads_nor_all_places():
    """Eight times as many requests as it has threads. Threads of requests that were given up stay taken."""
    hanging, asked = CountingHang(), ASKED | {"model": "hanging"}
    with Serving(Settings(max_requests=128), rerankers=words(hanging=hanging)) as server, ThreadPoolExecutor(128) as pool:
        hung = [pool.submit(post_briefly, server, "/v2/rerank", asked) for _ in range(128)]
        wait_until(lambda: hanging.threads == THREADS)
        assert server.post("/v2/rerank", ASKED).status_code == 200
        assert {answer.result().status_code for answer in hung} <= {429, 504}
        assert hanging.threads == THREADS  # which are still held, and will be
        assert server.post("/v2/rerank", ASKED).status_code == 200
        assert post_briefly(server, "/v2/rerank", asked).status_code == 504
        hanging.may_go_on.set()
        wait_until(lambda: server.post("/v2/rerank", asked).status_code == 200)


class HangingSource:
    """A source that blocks its threads."""

    def __init__(self) -> None:
        self.may_go_on = threading.Event()

    def search(self, query, limit):
        self.may_go_on.wait(60)
        return []


def test_an_index_that_hangs_holds_up_no_model():
    source = HangingSource()
    with (
        Serving(rerankers=words(), source=source) as server,
        ThreadPoolExecutor(70) as pool,
    ):
        hung = [pool.submit(post_briefly, server, "/search", {"query": "a"}) for _ in range(70)]
        assert {answer.result().status_code for answer in hung} == {504}
        assert server.post("/v2/rerank", ASKED).status_code == 200
        source.may_go_on.set()


# Load


def test_many_connections_get_the_offline_answers(mini):
    """Sixty-four at once, of many sizes: every one is answered, and by the very scores of the offline call."""
    asked = [
        {"query": f"fruit {at}", "documents": [f"{word} apple {at}" for word in ("red", "green", "old")[: at % 3 + 1]]}
        for at in range(64)
    ]
    with Serving(rerankers={"podium-mini": mini}) as server, ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda body: httpx.post(f"{server.url}/v2/rerank", json=body, timeout=60), asked))
    for body, answer in zip(asked, answers, strict=True):
        expected = [(result.index, result.score) for result in mini.rerank(body["query"], body["documents"])]
        assert [(each["index"], each["relevance_score"]) for each in answer.json()["results"]] == expected


@pytest.mark.parametrize("path", ["/score", "/rank"])
def test_a_small_request_is_answered_before_a_large_one(mini, path):
    text = "the sea at night " * 20
    large = {
        "/score": {"text_1": [f"question {at}" for at in range(1000)], "text_2": [f"{at} {text}" for at in range(1000)]},
        "/rank": {"query": "question", "documents": [f"{at} {text}" for at in range(1000)]},
    }
    with Serving(rerankers={"podium-mini": mini}) as server:
        with post_without_waiting(server, large[path], path):
            wait_until(lambda: server.state.admission.requests == 1)
            documents = [f"a red fruit {text}{number}" for number in range(5)]
            assert server.post("/v2/rerank", {"query": "red fruit", "documents": documents}).status_code == 200
            assert server.state.admission.requests == 1  # the large one
        wait_until(lambda: server.state.admission.requests == 0)


def test_draining_answers_the_accepted_and_refuses_the_others():
    waiting = Waiting()
    with Serving(rerankers=words(waiting=waiting)) as server, ThreadPoolExecutor(2) as pool:
        accepted = pool.submit(httpx.post, f"{server.url}/v2/rerank", json=ASKED | {"model": "waiting"}, timeout=30)
        wait_until(lambda: waiting.begun == 1)
        loop = server._server.servers[0].get_loop()
        drained = asyncio.run_coroutine_threadsafe(server.state.admission.drain(), loop)
        wait_until(lambda: server.state.admission.draining)
        refused = server.post("/v2/rerank", ASKED)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert server.client.get("/ready").json() == {"status": "draining"}
        assert server.client.get("/health").status_code == 200
        assert not drained.done()
        waiting.may_go_on.set()
        assert accepted.result().status_code == 200
        drained.result(10)


def test_several_names_can_stand_for_one_model():
    """It is loaded once, with one set of threads; and it is the server's only model."""
    options = {"name": "podium-mini"}
    with Serving(Settings(models={"mini": options, "*": options, "short": options | {"max_length": 16}})) as server:
        mini, wildcard, short = server.state.models.rerankers.values()
        assert mini is wildcard
        assert mini is not short
        assert server.state.models.distinct == [mini, short]
        assert server.post("/v2/rerank", ASKED | {"model": "any"}).status_code == 200


def test_while_models_load_a_request_is_told_to_come_again():
    with pytest.raises(Refusal) as refused:
        Models({}).served_name(None)
    assert (refused.value.status, refused.value.retry_after) == (503, 1)


# Keys


@pytest.fixture
def keyed(tmp_path):
    path = tmp_path / "keys.txt"
    key = add_key(path, "search-team")
    with Serving(replace(Settings(), keys_file=path), rerankers=words()) as server:
        yield server, path, key


def test_a_key_is_asked_for(keyed):
    server, _, key = keyed
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer"}, {"authorization": key[:-1]}):
        for path, body in (("/v2/rerank", ASKED), ("/rerank", {"query": "a", "texts": ["b"]}), ("/score", {}), ("/search", {})):
            refused = server.client.post(path, json=body, headers=headers)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
            assert "no valid API key" in refused.text
    for path in ("/v1/models", "/info", "/metrics"):
        assert server.client.get(path).status_code == 401
    for path in ("/health", "/ready", "/", "/docs", "/openapi.json"):
        assert server.client.get(path).status_code == 200
    for authorization in (f"Bearer {key}", f"bearer {key}", key):  # the last as LlamaIndex's TEI client sends it
        assert server.post("/v2/rerank", ASKED, authorization=authorization).status_code == 200


def test_keys_are_hashed_at_rest_and_read_again(keyed):
    server, path, key = keyed
    assert key not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    second = add_key(path, "other-team")
    assert server.post("/v2/rerank", ASKED, authorization=f"Bearer {second}").status_code == 200
    lines = path.read_text().splitlines()
    path.write_text("# only the other team\n\n" + lines[1] + "\n")
    assert server.post("/v2/rerank", ASKED, authorization=f"Bearer {key}").status_code == 401
    assert server.post("/v2/rerank", ASKED, authorization=f"Bearer {second}").status_code == 200


@pytest.mark.parametrize("damage", ["nonsense\n", None])
def test_while_the_keys_cannot_be_read_those_from_before_stay(keyed, damage, caplog):
    server, path, key = keyed
    with caplog.at_level(logging.INFO, "podium"):
        path.unlink() if damage is None else path.write_text(damage)
        assert server.post("/v2/rerank", ASKED, authorization=f"Bearer {key}").status_code == 200
        assert server.post("/v2/rerank", ASKED).status_code == 401
    assert any("the keys from before stay" in str(vars(record)) for record in caplog.records)


def test_the_last_key_can_be_taken_away_and_a_late_one_is_noticed(keyed):
    server, path, key = keyed
    path.write_text("# nobody\n")
    assert server.post("/v2/rerank", ASKED, authorization=f"Bearer {key}").status_code == 401
    path.write_text("# nobody")  # without an end of its line
    assert server.post("/v2/rerank", ASKED, authorization=f"Bearer {add_key(path, 'next')}").status_code == 200


def test_a_copy_of_the_same_size_and_time_is_noticed(keyed):
    """`cp -p` and rsync keep the modification time, and write into the same file."""
    server, path, key = keyed
    before = path.stat()
    last = path.read_text()[-2]
    path.write_text(path.read_text()[:-2] + ("0" if last != "0" else "1") + "\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert server.post("/v2/rerank", ASKED, authorization=f"Bearer {key}").status_code == 401


def test_two_keys_of_one_name_are_refused(tmp_path):
    path = tmp_path / "keys.txt"
    add_key(path, "team")
    path.write_text(path.read_text() * 2)
    with pytest.raises(InvalidInput, match=r"line 2: a second key has the name team; rename or delete one of them"):
        Keys(path)


def test_a_key_may_be_sent_as_api_key(keyed):
    server, _, key = keyed
    assert server.post("/v2/rerank", ASKED, api_key=key).status_code == 200
    assert server.post("/v2/rerank", ASKED, api_key="wrong").status_code == 401


@pytest.mark.parametrize("name", ["", "two words", "#x", "x" * 65, "a\nb"])
def test_a_key_has_a_name_of_one_word(tmp_path, name):
    with pytest.raises(InvalidInput, match="one word"):
        add_key(tmp_path / "keys.txt", name)


def test_a_key_name_is_there_once(tmp_path):
    add_key(tmp_path / "keys.txt", "team")
    with pytest.raises(InvalidInput, match="has a key named team already"):
        add_key(tmp_path / "keys.txt", "team")
    with pytest.raises(InvalidInput, match="cannot be read"):
        Keys(tmp_path / "none.txt")


# What is told


def test_nothing_that_a_request_holds_is_logged(mini, caplog):
    asked = {"query": "my secret question", "documents": ["my secret text", {"text": "secret too"}], "user": "secret me"}
    with caplog.at_level(logging.DEBUG), Serving(rerankers={"podium-mini": mini}) as server:
        for path in ("/v2/rerank", "/rank"):
            server.post(path, asked, authorization="Bearer secret-key")
        server.client.post("/v2/rerank?key=secret", content=b'{"query": "secret')
        server.post("/v2/rerank", asked | {"documents": [{"no": "secret"}]})
    ours = [record for record in caplog.records if record.name.startswith(("podium", "uvicorn", "starlette"))]
    assert len(ours) >= 4
    assert "secret" not in str([vars(record) for record in ours])
    request = next(record.fields for record in ours if record.message == "request")
    assert {"id", "path", "bytes", "documents", "tokens", "dialect", "model", "status", "milliseconds"} <= set(request)


def test_a_request_id_goes_through():
    with Serving(rerankers=words()) as server:
        reply = server.post("/v2/rerank", ASKED, x_request_id="trace-1234.A")
        assert reply.headers["x-request-id"] == reply.json()["id"] == "trace-1234.A"
        for odd in ("a b", "x" * 129, "<script>", ""):
            made = server.post("/v2/rerank", ASKED, x_request_id=odd).headers["x-request-id"]
            assert len(made) == 32


def test_what_leads_nowhere_has_an_id_and_a_line_too(caplog):
    with caplog.at_level(logging.INFO, "podium"), Serving(rerankers=words()) as server:
        nowhere = [
            ("GET", "/nope%0Aa line", 404),
            ("GET", "/v2/rerank", 405),
            ("POST", "/health", 405),
        ]
        nowhere += [
            ("GET", f"/page/{name}", 404) for name in ("a" * 5000 + ".js", "a%00.js", ".%2e%2fapp.py", "playground.html")
        ]
        for method, path, status in nowhere:
            reply = server.client.request(method, path)
            assert reply.status_code == status
            assert reply.json()["id"] == reply.headers["x-request-id"] != ""
    said = [record.fields["path"] for record in caplog.records if record.message == "request"]
    assert said[:3] == ["/nope%0Aa%20line", "/v2/rerank", "/health"]
    assert len(said) == len(nowhere)


@pytest.mark.parametrize("host", ["a b", "[", "x:y:z", "", "[::1", "\\"])
def test_an_odd_host_is_no_failure(host):
    with Serving(rerankers=words()) as server, socket.create_connection(("127.0.0.1", server.port)) as s:
        s.sendall(f"GET /v1/models HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: s.recv(10_000), b""))
        assert answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 400 ")), answer


def test_metrics_count_what_was_done():
    with Serving(rerankers=words()) as server:
        server.post("/v2/rerank", ASKED)
        server.post("/rerank", {"query": "a", "texts": ["b"] * 3})
        server.post("/v2/rerank", ASKED | {"model": "x" * 50})
        written = server.client.get("/metrics").text
    assert 'podium_requests_total{dialect="cohere",model="words",status="200"} 1.0' in written
    assert 'podium_requests_total{dialect="cohere",model="none",status="404"} 1.0' in written  # no label of a client's choosing
    assert 'podium_documents_total{model="words"} 5.0' in written
    assert 'podium_request_seconds_count{model="words"} 2.0' in written
    assert "podium_requests_in_progress 0.0" in written


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:8080"}, 200),
        ({"host": "[::1]:8080"}, 200),
        ({"host": "podium"}, 200),  # a name without a dot: nobody outside can register one
        ({"host": "evil.example"}, 403),  # DNS rebinding
        ({"host": "127.0.0.1.evil.example:8080"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),  # a sandboxed frame, a file
        ({"origin": "http://127.0.0.1:9999"}, 403),  # another server on this machine
        ({"origin": "http://localhost:8080", "host": "localhost:8080"}, 200),
        ({"origin": "https://rerank.example.com", "host": "podium", "sec-fetch-site": "same-origin"}, 200),  # by a proxy
        ({"origin": "https://evil.example", "host": "podium", "sec-fetch-site": "cross-site"}, 403),
        ({"content-type": "text/plain"}, 415),  # what a page sends without asking first
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "multipart/form-data; boundary=x"}, 415),
        ({"content-type": "application/json; charset=utf-8"}, 200),
    ],
)
def test_a_server_without_keys_refuses_pages_of_other_origins(headers, status):
    with Serving(rerankers=words()) as server:
        reply = server.client.post("/rank", content=json.dumps(ASKED), headers={"content-type": "application/json"} | headers)
        assert reply.status_code == status, reply.text
        assert "access-control-allow-origin" not in reply.headers
        if status == 403 and "host" in headers:
            assert server.client.get("/info", headers=headers).status_code == 403


def test_names_and_origins_of_the_server_can_be_given():
    settings = Settings(allowed_hosts=("rerank.example.com",), cors_origins=("http://friend",))
    with Serving(settings, rerankers=words()) as server:
        assert server.post("/v2/rerank", ASKED, host="rerank.example.com").status_code == 200
        assert server.post("/v2/rerank", ASKED, host="evil.example").status_code == 403
        friend = server.post("/v2/rerank", ASKED, origin="http://friend")
        assert (friend.status_code, friend.headers["access-control-allow-origin"]) == (200, "http://friend")
        assert server.post("/v2/rerank", ASKED, origin="http://elsewhere").status_code == 403
    with Serving(Settings(allowed_hosts=("*",), cors_origins=("*",)), rerankers=words()) as server:
        reply = server.post("/v2/rerank", ASKED, host="any.example", origin="http://elsewhere")
        assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (200, "*")


def test_with_keys_any_host_and_origin_may_ask(keyed):
    server, _, key = keyed
    headers = {"authorization": f"Bearer {key}", "host": "rerank.example.com", "origin": "http://elsewhere"}
    reply = server.client.post("/v2/rerank", json=ASKED, headers=headers)
    assert reply.status_code == 200
    assert "access-control-allow-origin" not in reply.headers


def test_a_request_is_a_span_of_the_trace_it_belongs_to():
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with Serving(rerankers=words()) as server:
        server.post("/v2/rerank", ASKED, traceparent=parent)
    (span,) = exporter.get_finished_spans()
    assert span.name == "POST /v2/rerank"
    assert f"{span.context.trace_id:032x}" in parent
    assert span.attributes["podium.documents"] == 2
    assert span.attributes["podium.model"] == "words"
    assert span.attributes["podium.status"] == 200
    assert "fruit" not in str(span.attributes)


# The search of the page


def test_the_index_is_searched():
    index = podium.EmbeddedIndex.create(None)
    index.add(["a green apple", "the red sea at night", "a ripe red apple"])
    with Serving(rerankers=words(), source=index) as server:
        found = server.post("/search", {"query": "red apple", "candidates": 2}).json()["documents"]
        assert [(each["text"], each["source_rank"]) for each in found] == [("a ripe red apple", 1), ("a green apple", 2)]
        first, second = (server.post("/search", {"query": "red apple", "candidates": 1, "offset": at}).json() for at in (0, 1))
        assert [*first["documents"], *second["documents"]] == found
        assert first["total"] == second["total"] == 3
        assert server.post("/search", {"query": " "}).status_code == 400
        assert server.post("/search", {}).status_code == 400
        assert server.client.get("/v1/models").json()["search"] is True
        long = server.post("/search", {"query": "apple " * 2000})
        assert (long.status_code, "the query has 12,000 characters; /search takes 10,000" in long.text) == (400, True)
    with Serving(rerankers=words()) as server:
        refused = server.post("/search", {"query": "a"})
        assert (refused.status_code, "--index" in refused.text) == (404, True)
