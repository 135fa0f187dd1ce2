"""Which web pages may use a server."""

from __future__ import annotations

import json
import socket

import pytest

from podium.server.settings import Settings
from serving import REQUEST, Serving, rerankers


@pytest.mark.parametrize("host", ["a b", "[", "x:y:z", "", "[::1", "\\"])
def test_an_odd_host_is_no_failure(host):
    with Serving(rerankers=rerankers()) as server, socket.create_connection(("127.0.0.1", server.port)) as s:
        s.sendall(f"GET /v1/models HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: s.recv(10_000), b""))
        assert answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 400 ")), answer


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
    with Serving(rerankers=rerankers()) as server:
        reply = server.client.post("/rank", content=json.dumps(REQUEST), headers={"content-type": "application/json"} | headers)
        assert reply.status_code == status, reply.text
        assert "access-control-allow-origin" not in reply.headers
        if status == 403 and "host" in headers:
            assert server.client.get("/info", headers=headers).status_code == 403


def test_names_and_origins_of_the_server_can_be_given():
    settings = Settings(allowed_hosts=("rerank.example.com",), cors_origins=("http://friend",))
    with Serving(settings, rerankers=rerankers()) as server:
        assert server.post("/v2/rerank", REQUEST, host="rerank.example.com").status_code == 200
        assert server.post("/v2/rerank", REQUEST, host="evil.example").status_code == 403
        friend = server.post("/v2/rerank", REQUEST, origin="http://friend")
        assert (friend.status_code, friend.headers["access-control-allow-origin"]) == (200, "http://friend")
        assert server.post("/v2/rerank", REQUEST, origin="http://elsewhere").status_code == 403
    with Serving(Settings(allowed_hosts=("*",), cors_origins=("*",)), rerankers=rerankers()) as server:
        reply = server.post("/v2/rerank", REQUEST, host="any.example", origin="http://elsewhere")
        assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (200, "*")


def test_with_keys_any_host_and_origin_may_ask(keyed):
    server, _, key = keyed
    headers = {"authorization": f"Bearer {key}", "host": "rerank.example.com", "origin": "http://elsewhere"}
    reply = server.client.post("/v2/rerank", json=REQUEST, headers=headers)
    assert reply.status_code == 200
    assert "access-control-allow-origin" not in reply.headers
