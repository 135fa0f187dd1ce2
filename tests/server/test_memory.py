"""The `podium serve` process with clients that send too much, read nothing, or disappear: memory and files stay bounded."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

import podium
from loopback import wait_until
from podium.server.http.keys import add_key
from podium.server.http.protocol import Protocol
from serving import REQUEST, ServerProcess, connect, http_request, received_until_closed


def bytes_accepted(connection, block, *, limit):
    """Send a block repeatedly, until the server closes the connection or `limit` bytes are sent. Return the number of bytes."""
    byte_count = 0
    try:
        while byte_count < limit:
            byte_count += connection.send(block)
    except ConnectionError:
        pass
    return byte_count


def is_idle(server):
    return "podium_requests_in_progress 0.0" in server.client.get("/metrics").text


def test_connection_with_a_large_head_is_closed():
    with ServerProcess() as server, connect(server) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nA: ")
        assert bytes_accepted(connection, b"a" * 10_000, limit=50_000_000) < 50_000_000


@pytest.mark.parametrize(
    "field_count", [Protocol.head_fields - 2, 12_000], ids=["as many fields as allowed", "as many fields as fit in a head"]
)
def test_heads_of_idle_connections_take_no_memory(field_count):
    """400 heads would take 30 MB, or 540 MB as Python objects."""
    value_length = 60_000 // field_count - len(b"a: \r\n")
    fields = (b"a: %b\r\n" % (b"x" * value_length)) * field_count
    with ServerProcess() as server, contextlib.ExitStack() as stack:

        def send_heads(head_count):
            for _ in range(head_count):
                connection = stack.enter_context(connect(server))
                connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + fields + b"\r\n")
                assert connection.recv(12) in (b"HTTP/1.1 200", b"HTTP/1.1 431")

        send_heads(50)
        before = server.resident_bytes()
        send_heads(400)
        assert server.resident_bytes() - before < 15_000_000


@pytest.mark.parametrize(
    "unfinished",
    [
        b"POST /rank HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        b"GET /health HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        b"POST /rank HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0;",
    ],
    ids=["trailers", "trailers after the reply", "chunk extension"],
)
def test_trailers_take_no_memory(unfinished, tmp_path):
    """Trailers are read before the key of their request is checked."""
    add_key(tmp_path / "keys.txt", "team")
    with ServerProcess("--api-keys-file", str(tmp_path / "keys.txt")) as server:
        before = server.resident_bytes()
        with connect(server) as connection:
            connection.sendall(unfinished)
            trailers = b"".join(b"a%d: %b\r\n" % (number, b"x" * 1000) for number in range(100))
            assert bytes_accepted(connection, trailers, limit=200_000_000) < 200_000_000
        assert server.resident_bytes() - before < 20_000_000


def test_memory_of_all_requests_and_replies_is_bounded():
    """Bodies, decoded requests and unread replies are counted. Without a bound these requests took more than 1.4 GB."""
    document = {"text": "a", "padding": "b" * 500_000}
    large = json.dumps({"query": "a", "documents": [document] * 20, "return_documents": True}).encode()
    many_values = b'{"query":"a","documents":[' + b"{}," * 300_000 + b"{}]}"
    limit = 100_000_000
    with ServerProcess("--max-memory", str(limit)) as server, contextlib.ExitStack() as stack:
        for body in (many_values, large):  # only the first requests import modules and create caches
            server.client.post("/v2/rerank", content=body, headers={"Content-Type": "application/json"})
        before = server.resident_bytes()
        peak = 0
        connections = []
        for body in [many_values] * 25 + [large] * 25:
            connection = stack.enter_context(connect(server, receive_buffer=4096))
            connection.sendall(http_request(body))
            connections.append(connection)
            peak = max(peak, server.resident_bytes())
        replies = {connection.recv(12) for connection in connections}
        peak = max(peak, server.resident_bytes())
        stack.close()
        expected = {b"HTTP/1.1 200", b"HTTP/1.1 429"}
        assert expected <= replies <= expected | {b"HTTP/1.1 400"}  # 400: the request was decoded, and has too many documents
        assert peak - before < 2 * limit  # Python's own allocator keeps some memory, too
        assert server.client.post("/v2/rerank", json=REQUEST).status_code == 200


def test_memory_of_searches_is_bounded(tmp_path):
    """Documents are counted while they are loaded. Without that, these searches took more than 2 GB."""
    index = podium.EmbeddedIndex.create(tmp_path / "index")
    index.add([{"text": "apple", "padding": "b" * 1_000_000}] * 100)
    limit = 100_000_000
    with ServerProcess("--index", str(tmp_path / "index"), "--max-memory", str(limit), "--max-body", "1000000") as server:
        small = {"query": "apple", "candidates": 4}
        server.client.post("/search", json=small)
        server.client.post("/search", json={"query": "apple", "candidates": 100})  # fills the cache of the index
        before = server.resident_bytes()
        with ThreadPoolExecutor(12) as pool:
            request = {"query": "apple", "candidates": 100}
            futures = [pool.submit(httpx.post, f"{server.url}/search", json=request, timeout=60) for _ in range(24)]
            peak = before
            while not all(future.done() for future in futures):
                peak = max(peak, server.resident_bytes())
        assert {future.result().status_code for future in futures} <= {413, 429}
        assert peak - before < 2 * limit
        wait_until(lambda: server.client.post("/search", json=small).status_code == 200)


def test_idle_connections_do_not_use_up_the_open_files():
    """The server may open 128 files, and has 300 silent connections. It closes the oldest of them and accepts others."""
    with ServerProcess(open_files=128) as server, contextlib.ExitStack() as stack:
        silent = [stack.enter_context(connect(server)) for _ in range(300)]
        assert httpx.get(f"{server.url}/health", timeout=60).status_code == 200
        wait_until(lambda: "connections_full connections=64" in server.log)
        assert server.log.count("\n") < 20
        received_until_closed(silent[0])
        stack.close()
        assert server.client.post("/v2/rerank", json=REQUEST).status_code == 200


def test_half_closed_connection_counts_as_disconnected():
    with ServerProcess() as server:
        for _ in range(20):
            with connect(server) as connection:
                connection.sendall(http_request(REQUEST))
                connection.shutdown(socket.SHUT_WR)
                received_until_closed(connection)
        wait_until(lambda: is_idle(server))
        assert server.client.post("/v2/rerank", json=REQUEST).status_code == 200


def test_a_thousand_killed_clients_leave_no_requests():
    """The system resets the connections of a killed client. SO_LINGER does the same; only three clients are really killed."""
    documents = [f"{number} " + "a red fruit at sea " * 40 for number in range(100)]
    body = json.dumps({"query": "sea", "documents": documents}).encode()
    request = http_request(body)
    script = "import httpx, json, sys; httpx.post(sys.argv[1], timeout=60, content=sys.stdin.read())"
    with ServerProcess() as server:
        for number in range(1000):
            with connect(server) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                is_complete = number % 2 == 1
                connection.sendall(request if is_complete else request[: -number - 1])
                time.sleep(0.002 if number % 10 else 0.02)  # so that some requests have begun when their client disconnects
        command = [sys.executable, "-c", script, f"{server.url}/v2/rerank"]
        clients = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(3)]
        for client in clients:
            client.stdin.write(body)
            client.stdin.close()
        wait_until(lambda: not is_idle(server))
        for client in clients:
            client.kill()
            client.wait()
        wait_until(lambda: is_idle(server))
        assert server.client.post("/v2/rerank", json=REQUEST).status_code == 200
        assert server.log.count("status=499") > 100
        assert "failure" not in server.log
