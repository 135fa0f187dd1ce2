"""One connection: slow and pipelined requests, upgrades, replies that are not read."""

from __future__ import annotations

import json
import socket
import time

import pytest

from loopback import wait_until
from podium.server import process as process_module
from podium.server.http.protocol import Protocol
from podium.server.settings import Settings
from serving import ASKED, Serving, hung_up, words


class Impatient(Protocol):
    """The server's protocol, with limits that tests can wait for."""

    head_seconds = rest_seconds = 0.2


class ImpatientToSend(Protocol):
    reply_seconds = 0.2


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


def test_a_reply_is_not_held_back():
    """A head and a body are two writes; without this the second waits for the first to be acknowledged."""
    with process_module._listening(Settings(port=0)) as listening:
        assert listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        with socket.create_connection(listening.getsockname()), listening.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
