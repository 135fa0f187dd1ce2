"""Clients that misbehave, at the process that users start."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import time

import httpx
import pytest

from loopback import wait_until
from podium.server.http.keys import add_key
from serving import ASKED, Process

POST = b"POST /rank HTTP/1.1\r\nHost: a\r\n"


def is_closed(connection: socket.socket) -> bool:
    """Read until the server closes the connection; pytest's own limit ends a wait that never does."""
    try:
        while connection.recv(65_536):
            pass
    except ConnectionError:
        pass
    return True


def send_until_closed(connection: socket.socket, block: bytes, *, at_most: int) -> int:
    """Send a block again and again until the server hangs up. Return how many bytes it let through."""
    sent = 0
    try:
        while sent < at_most:
            sent += connection.send(block)
    except ConnectionError:
        pass
    return sent


def test_heads_that_are_too_large_are_hung_up_on():
    with Process() as server, socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nA: ")
        assert send_until_closed(connection, b"a" * 10_000, at_most=50_000_000) < 50_000_000


@pytest.mark.parametrize(
    "unfinished",
    [
        b"POST /rank HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        b"GET /health HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        b"POST /rank HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0;",
    ],
    ids=["trailers", "trailers of a reply that is out", "chunk extension"],
)
def test_what_follows_a_chunked_body_is_bounded_in_memory(unfinished, tmp_path):
    """Before any key is checked: the server asks for one and is not given it."""
    add_key(tmp_path / "keys.txt", "team")
    with Process("--api-keys-file", str(tmp_path / "keys.txt")) as server:
        before = server.resident_bytes()
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(unfinished)
            trailers = b"".join(b"a%d: %b\r\n" % (number, b"x" * 1000) for number in range(100))
            assert send_until_closed(connection, trailers, at_most=200_000_000) < 200_000_000
        assert server.resident_bytes() - before < 20_000_000


def test_all_requests_and_replies_together_are_bounded_in_memory():
    """Bodies, what is decoded of them, and replies that nobody reads: unbounded, these took more than 1.4 GB."""
    document = {"text": "a", "padding": "b" * 500_000}
    large = json.dumps({"query": "a", "documents": [document] * 20, "return_documents": True}).encode()
    many = b'{"query":"a","documents":[' + b"{}," * 300_000 + b"{}]}"
    limit = 100_000_000
    with Process("--max-memory", str(limit)) as server:
        for body in (many, large):  # loads and reserves what any such request needs
            server.client.post("/v2/rerank", content=body, headers={"Content-Type": "application/json"})
        before, most, connections = server.resident_bytes(), 0, []
        for body in [many] * 25 + [large] * 25:
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", server.port))
            connection.sendall(POST + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
            connections.append(connection)
            most = max(most, server.resident_bytes())
        answered = [connection.recv(12) for connection in connections]
        most = max(most, server.resident_bytes())
        for connection in connections:
            connection.close()
        accepted_and_refused = {b"HTTP/1.1 200", b"HTTP/1.1 429"}  # 400: too many documents, but they were decoded
        assert accepted_and_refused <= set(answered) <= accepted_and_refused | {b"HTTP/1.1 400"}
        assert most - before < 2 * limit  # what Python's own allocator keeps comes on top
        assert server.client.post("/v2/rerank", json=ASKED).status_code == 200


def test_idle_connections_do_not_use_up_the_open_files():
    """Three hundred silent connections against 128 open files: the oldest are closed, others are answered."""
    with Process(open_files=128) as server:
        silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(300)]
        assert httpx.get(f"{server.url}/health", timeout=60).status_code == 200
        wait_until(lambda: "connections_full connections=64" in server.log)
        assert server.log.count("\n") < 20
        assert is_closed(silent[0])
        for connection in silent:
            connection.close()
        assert server.client.post("/v2/rerank", json=ASKED).status_code == 200


def test_a_half_closed_socket_counts_as_gone_and_leaves_nothing():
    with Process() as server:
        body = json.dumps(ASKED).encode()
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(b"POST /v2/rerank HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(10)
                while connection.recv(10_000):
                    pass
        wait_until(lambda: "podium_requests_in_progress 0.0" in server.client.get("/metrics").text)
        assert server.client.post("/v2/rerank", json=ASKED).status_code == 200


def test_a_thousand_clients_that_are_killed_leave_nothing():
    """The system resets a killed client's connections, which is what a socket that does not linger does; some are killed."""
    asked = {"query": "sea", "documents": [f"{at} " + "a red fruit at sea " * 40 for at in range(100)]}
    script = "import httpx, json, sys; httpx.post(sys.argv[1], timeout=60, content=sys.stdin.read())"
    body = json.dumps(asked).encode()
    request = b"POST /v2/rerank HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    with Process() as server:
        for at in range(1000):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.sendall(request if at % 2 else request[: -at - 1])
                time.sleep(0.002 if at % 10 else 0.02)  # a few are under way by then
        clients = [
            subprocess.Popen([sys.executable, "-c", script, f"{server.url}/v2/rerank"], stdin=subprocess.PIPE) for _ in range(3)
        ]
        for client in clients:
            client.stdin.write(body)
            client.stdin.close()
        wait_until(lambda: "podium_requests_in_progress 0.0" not in server.client.get("/metrics").text)
        for client in clients:
            client.kill()
            client.wait()
        wait_until(lambda: "podium_requests_in_progress 0.0" in server.client.get("/metrics").text)
        assert server.client.post("/v2/rerank", json=ASKED).status_code == 200
        assert server.log.count("status=499") > 100
        assert "failure" not in server.log
