"""Requests of web pages: the checks of Host, Origin and Content-Type."""

from __future__ import annotations

import json

import pytest

from podium.server.settings import Settings
from serving import REQUEST, ServerThread, connect, received_until_closed, rerankers


@pytest.mark.parametrize("host", ["a b", "[", "x:y:z", "", "[::1", "\\"])
def test_invalid_host_is_not_a_server_error(host):
    with ServerThread(rerankers=rerankers()) as server, connect(server) as connection:
        connection.sendall(f"GET /v1/models HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        reply = received_until_closed(connection)
        assert reply.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 400 ")), reply


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({}, 200, id="own address"),
        pytest.param({"host": "localhost:8080"}, 200, id="localhost"),
        pytest.param({"host": "[::1]:8080"}, 200, id="IPv6 address"),
        pytest.param({"host": "podium"}, 200, id="name without a dot, which no stranger can register"),
        pytest.param({"host": "evil.example"}, 403, id="DNS rebinding"),
        pytest.param({"host": "127.0.0.1.evil.example:8080"}, 403, id="name that begins like an address"),
        pytest.param({"origin": "http://evil.example"}, 403, id="foreign origin"),
        pytest.param({"origin": "null"}, 403, id="sandboxed frame or local file"),
        pytest.param({"origin": "http://127.0.0.1:9999"}, 403, id="another server on this machine"),
        pytest.param({"origin": "http://localhost:8080", "host": "localhost:8080"}, 200, id="own origin"),
        pytest.param(
            {"origin": "https://rerank.example.com", "host": "podium", "sec-fetch-site": "same-origin"},
            200,
            id="own origin behind a proxy",
        ),
        pytest.param(
            {"origin": "https://evil.example", "host": "podium", "sec-fetch-site": "cross-site"},
            403,
            id="foreign origin behind a proxy",
        ),
        pytest.param({"content-type": "text/plain"}, 415, id="plain text"),
        pytest.param({"content-type": "application/x-www-form-urlencoded"}, 415, id="form"),
        pytest.param({"content-type": "multipart/form-data; boundary=x"}, 415, id="multipart form"),
        pytest.param({"content-type": "application/json; charset=utf-8"}, 200, id="JSON"),
    ],
)
def test_server_without_keys_refuses_foreign_pages(headers, status):
    headers = {"content-type": "application/json"} | headers
    with ServerThread(rerankers=rerankers()) as server:
        reply = server.client.post("/rank", content=json.dumps(REQUEST), headers=headers)
        assert reply.status_code == status, reply.text
        assert "access-control-allow-origin" not in reply.headers
        if status == 403 and "host" in headers:
            assert server.client.get("/info", headers=headers).status_code == 403


def test_settings_allow_hosts_and_origins():
    settings = Settings(allowed_hosts=("rerank.example.com",), cors_origins=("http://friend",))
    with ServerThread(settings, rerankers=rerankers()) as server:
        assert server.post("/v2/rerank", REQUEST, host="rerank.example.com").status_code == 200
        assert server.post("/v2/rerank", REQUEST, host="evil.example").status_code == 403
        friend = server.post("/v2/rerank", REQUEST, origin="http://friend")
        assert (friend.status_code, friend.headers["access-control-allow-origin"]) == (200, "http://friend")
        assert server.post("/v2/rerank", REQUEST, origin="http://elsewhere").status_code == 403


def test_settings_allow_all_hosts_and_origins():
    with ServerThread(Settings(allowed_hosts=("*",), cors_origins=("*",)), rerankers=rerankers()) as server:
        reply = server.post("/v2/rerank", REQUEST, host="any.example", origin="http://elsewhere")
        assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (200, "*")


def test_server_with_keys_accepts_any_host_and_origin(server_with_key):
    server, _, key = server_with_key
    headers = {"authorization": f"Bearer {key}", "host": "rerank.example.com", "origin": "http://elsewhere"}
    reply = server.client.post("/v2/rerank", json=REQUEST, headers=headers)
    assert reply.status_code == 200
    assert "access-control-allow-origin" not in reply.headers
