"""Connections: slow and pipelined requests, malformed heads, upgrades, replies that are not read."""

from __future__ import annotations

import contextlib
import gc
import json
import math
import socket
import time

import pytest
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from loopback import wait_until
from podium.server import process as process_module
from podium.server.http.protocol import Protocol
from podium.server.settings import Settings
from serving import REQUEST, ServerThread, WaitingScorer, connect, http_request, received_until_closed, rerankers

HEALTH = b"GET /health HTTP/1.1\r\nHost: a\r\n"
LAST_HEALTH = HEALTH + b"Connection: close\r\n\r\n"
MALFORMED_BODY = b"POST /rank HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"
LARGE_REQUEST = {"query": "a", "documents": [{"text": "a", "padding": "b" * 900_000}] * 10, "return_documents": True}
"""Its reply has more than 18,000,000 bytes, because it contains the documents twice: in `results` and in `data`."""


class ShortHeadTimeout(Protocol):
    head_seconds = rest_seconds = 0.2


class ShortReplyTimeout(Protocol):
    reply_seconds = 0.2


def statuses(replies):
    """Return the status of each reply on a connection."""
    return [int(part[:3]) for part in replies.split(b"HTTP/1.1 ")[1:]]


# Timeouts


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n",
        b"POST /v2/rerank HTTP/1.1\r\nHost:",
        HEALTH + b"\r\nGET",
        HEALTH + b"Content-Length: 100\r\n\r\nabc",
        HEALTH + b"Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n",
    ],
    ids=["nothing", "an empty line", "half a head", "half a second head", "half a body", "half of the trailers"],
)
def test_connection_with_an_unfinished_request_is_closed(data):
    with ServerThread(rerankers=rerankers(), protocol=ShortHeadTimeout) as server, connect(server) as connection:
        connection.sendall(data)
        received_until_closed(connection)


def test_connection_is_closed_if_its_head_arrives_too_slowly():
    def takes_another_byte():
        try:
            connection.sendall(b"x")
        except ConnectionError:
            return False
        return True

    with ServerThread(rerankers=rerankers(), protocol=ShortHeadTimeout) as server, connect(server) as connection:
        connection.sendall(b"POST /v2/rerank HTTP/1.1\r\nHost:")
        wait_until(lambda: not takes_another_byte(), 60)


def test_connection_is_closed_if_its_reply_is_not_read():
    """The memory of the reply is released, too."""
    with (
        ServerThread(rerankers=rerankers(), protocol=ShortReplyTimeout) as server,
        connect(server, receive_buffer=4096) as connection,
    ):
        connection.sendall(http_request(LARGE_REQUEST))
        assert connection.recv(12) == b"HTTP/1.1 200"
        wait_until(lambda: server.state.admission.used_bytes == 0)
        assert len(received_until_closed(connection)) < 18_000_000
        assert server.post("/v2/rerank", REQUEST).status_code == 200


def test_memory_of_reply_is_counted_until_it_is_read():
    with ServerThread(rerankers=rerankers()) as server, connect(server, receive_buffer=4096) as connection:
        connection.sendall(http_request(LARGE_REQUEST))
        assert connection.recv(12) == b"HTTP/1.1 200"
        wait_until(lambda: server.state.admission.used_bytes > 18_000_000)
        connection.close()
        wait_until(lambda: server.state.admission.used_bytes == 0)


# Heads


@pytest.mark.parametrize(("field_count", "status"), [(Protocol.head_fields, 200), (Protocol.head_fields + 1, 431)])
def test_number_of_header_fields_is_limited(field_count, status):
    with ServerThread(rerankers=rerankers()) as server, connect(server) as connection:
        empty_fields = b"a:\r\n" * (field_count - 2)  # there are also Host and Connection
        connection.sendall(HEALTH + empty_fields + b"Connection: close\r\n\r\n")
        assert statuses(received_until_closed(connection)) == [status]


def live_requests():
    """Return the objects of uvicorn for single requests that are still in memory."""
    return [value for value in gc.get_objects() if isinstance(value, RequestResponseCycle)]


@pytest.mark.parametrize(
    "head",
    [
        b"GET /%b HTTP/1.1\r\n" % (b"a" * 70_000),
        HEALTH + b"A: %b\r\n" % (b"a" * 70_000),
        HEALTH + (b"A: %b\r\n" % (b"a" * 7000)) * 10,
    ],
    ids=["path", "field", "fields"],
)
def test_size_of_head_is_limited(head):
    """The limit also holds for a head that arrives in one read."""
    with ServerThread(rerankers=rerankers()) as server, connect(server) as connection:
        connection.sendall(head + b"Connection: close\r\n\r\n")
        assert statuses(received_until_closed(connection)) in ([431], [])  # no reply if the head arrives in parts


@pytest.mark.parametrize("is_reset", [False, True], ids=["idle", "reset"])
def test_answered_head_is_freed_without_garbage_collection(is_reset):
    """uvicorn's own protocol keeps the last head of a connection. It also keeps a reset connection until a timer ends."""
    with ServerThread(rerankers=rerankers()) as server, contextlib.ExitStack() as stack:
        gc.collect()
        gc.disable()
        try:
            connections = [stack.enter_context(connect(server)) for _ in range(5)]
            for connection in connections:
                connection.sendall(HEALTH + b"\r\n")
                assert connection.recv(12) == b"HTTP/1.1 200"
                if is_reset:  # the end of the reply is unread, so this resets the connection
                    connection.close()
            wait_until(lambda: not live_requests())
        finally:
            gc.enable()


@pytest.mark.parametrize(
    ("path", "content"),
    [("/v2/rerank", {"query": "a", "documents": [1]}), ("/score", {"text_1": ["a", ""], "text_2": ["b", "b"]})],
    ids=["one question", "several questions"],
)
def test_failed_request_is_freed_without_garbage_collection(path, content):
    """An exception refers to the frames that it passed. If one of them referred to the exception, that would be a cycle."""
    with ServerThread(rerankers=rerankers()) as server:
        gc.collect()
        gc.disable()
        try:
            assert server.post(path, content).status_code == 400
            wait_until(lambda: not live_requests())
        finally:
            gc.enable()


# Pipelined requests


def test_pipelined_requests_are_answered_in_order():
    contents = [REQUEST | {"top_n": limit} for limit in (1, 2, 1)]
    with ServerThread(rerankers=rerankers()) as server, connect(server) as connection:
        connection.sendall(b"".join(map(http_request, contents)) + LAST_HEALTH)
        replies = received_until_closed(connection)
    # Each result is in `results` and in `data`. The last reply is that of /health.
    assert [part.count(b"relevance_score") for part in replies.split(b"HTTP/1.1 200")[1:]] == [2, 4, 2, 0]


def test_number_of_pipelined_requests_is_limited():
    """The server closes a connection with too many."""
    with ServerThread(rerankers=rerankers()) as server, connect(server) as connection:
        connection.sendall((HEALTH + b"\r\n") * 2000)
        received_until_closed(connection)


@pytest.mark.parametrize(
    "pipelined", [b"", http_request(REQUEST), http_request(REQUEST)[:-5]], ids=["none", "one", "unfinished"]
)
def test_request_is_cancelled_when_its_client_disconnects(pipelined):
    """The request is also cancelled if its client has sent further requests in the meantime."""
    scorer = WaitingScorer()
    with ServerThread(rerankers=rerankers(waiting=scorer)) as server:
        with connect(server) as connection:
            connection.sendall(http_request(REQUEST | {"model": "waiting"}))
            wait_until(lambda: scorer.started_count == 1)
            connection.sendall(pipelined)
        wait_until(lambda: scorer.cancelled_count == 1 and server.state.admission.request_count == 0)


@pytest.mark.parametrize(
    "pipelined",
    [
        http_request({"padding": "x" * 70_000}),
        HEALTH + b"A: %b\r\n\r\n" % (b"x" * 20_000),
        HEALTH + b"a:\r\n" * 190 + b"\r\n",
    ],
    ids=["a body", "heads", "fields"],
)
def test_size_of_pipelined_requests_is_limited(pipelined):
    """The server closes the connection, and cancels the request that it is answering."""
    scorer = WaitingScorer()
    with ServerThread(rerankers=rerankers(waiting=scorer)) as server, connect(server) as connection:
        connection.sendall(http_request(REQUEST | {"model": "waiting"}))
        wait_until(lambda: scorer.started_count == 1)
        connection.sendall(pipelined * 4)
        assert received_until_closed(connection) == b""
        wait_until(lambda: scorer.cancelled_count == 1)


@pytest.mark.parametrize(
    "malformed",
    [b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", MALFORMED_BODY],
    ids=["method", "version", "chunk"],
)
@pytest.mark.parametrize("is_one_read", [True, False], ids=["in one read", "later"])
def test_request_before_a_malformed_request_is_answered(malformed, is_one_read):
    scorer = WaitingScorer()
    with ServerThread(rerankers=rerankers(waiting=scorer)) as server, connect(server) as connection:
        request = http_request(REQUEST | {"model": "waiting"})
        connection.sendall(request + malformed if is_one_read else request)
        wait_until(lambda: scorer.started_count == 1)
        if not is_one_read:
            connection.sendall(malformed)
        connection.sendall(b"ignored" * 20_000)
        scorer.release.set()
        assert statuses(received_until_closed(connection)) == [200, 400]


@pytest.mark.parametrize("target", ["http://", "http://[::1/x", "http://a:99999999/"], ids=["no-host", "bracket", "port"])
@pytest.mark.parametrize("earlier", [b"", http_request(REQUEST)], ids=["alone", "after-a-request"])
def test_request_with_a_malformed_url_is_400(target, earlier):
    malformed = f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    with ServerThread(rerankers=rerankers()) as server, connect(server) as connection:
        connection.sendall(earlier + malformed)
        assert statuses(received_until_closed(connection)) == ([200, 400] if earlier else [400])


def test_malformed_body_is_400():
    with ServerThread(rerankers=rerankers()) as server, connect(server) as connection:
        connection.sendall(MALFORMED_BODY)
        assert statuses(received_until_closed(connection)) == [400]
        wait_until(lambda: server.state.admission.used_bytes == 0)


# Bodies and upgrades


@pytest.mark.parametrize("part_count", [1, 2, 7], ids=["one read", "two reads", "many reads"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_upgrade_of_request_with_body_is_ignored(framing, part_count):
    """Java's HttpClient sends such a request first on every connection. Its body must not be parsed as a request."""
    body = json.dumps(REQUEST).encode()
    upgrade = b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    upgrade += b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
    if framing == "length":
        request = http_request(REQUEST, headers=upgrade)
    else:
        head = b"POST /v2/rerank HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n" + upgrade
        request = head + b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    data = request * 2 + LAST_HEALTH
    part_size = math.ceil(len(data) / part_count)
    with ServerThread(rerankers=rerankers()) as server, connect(server) as connection:
        for start in range(0, len(data), part_size):
            connection.sendall(data[start : start + part_size])
            time.sleep(0.05)  # the server should read the parts separately
        replies = received_until_closed(connection)
    assert statuses(replies) == [200, 200, 200]
    assert replies.count(b'"results"') == 2


def test_body_of_single_byte_chunks_is_read():
    head = b"POST /v2/rerank HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nConnection: close\r\n"
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in json.dumps(REQUEST).encode()) + b"0\r\n\r\n"
    with ServerThread(rerankers=rerankers()) as server, connect(server) as connection:
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
        assert statuses(received_until_closed(connection)) == [200]


def test_path_with_line_break_is_404():
    with ServerThread(rerankers=rerankers()) as server:
        assert server.client.post("/rank%0A", json=REQUEST).status_code == 404


def test_small_writes_are_sent_without_delay():
    """A reply is two writes, head and body. With Nagle's algorithm the body would wait for an acknowledgement of the head."""
    with process_module.listening_socket(Settings(port=0)) as listener:
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
