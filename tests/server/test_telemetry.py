"""Logs, request ids, metrics and traces."""

from __future__ import annotations

import json
import logging
import socket
import struct

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from loopback import wait_until
from serving import REQUEST, ServerProcess, ServerThread, connect, http_request, rerankers


def test_content_of_requests_is_not_logged(mini, caplog):
    request = {"query": "my secret question", "documents": ["my secret text", {"text": "secret too"}], "user": "secret me"}
    with caplog.at_level(logging.DEBUG), ServerThread(rerankers={"podium-mini": mini}) as server:
        for path in ("/v2/rerank", "/rank"):
            server.post(path, request, authorization="Bearer secret-key")
        server.client.post("/v2/rerank?key=secret", content=b'{"query": "secret')
        server.post("/v2/rerank", request | {"documents": [{"no": "secret"}]})
    records = [record for record in caplog.records if record.name.startswith(("podium", "uvicorn", "starlette"))]
    assert len(records) >= 4
    assert "secret" not in str([vars(record) for record in records])
    fields = next(record.fields for record in records if record.message == "request")
    assert {"id", "path", "bytes", "documents", "tokens", "dialect", "model", "status", "milliseconds"} <= set(fields)


def test_log_of_disconnected_clients_is_json():
    """asyncio would log a warning for every write to a connection that the client reset."""
    request = http_request({"query": "q", "documents": ["a" * 1_000_000], "return_documents": True})
    with ServerProcess("--log-format", "json") as server:
        for _ in range(30):
            with connect(server) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close sends a reset
                connection.sendall(request)
                connection.recv(1)
        wait_until(lambda: server.log.count('"event": "request"') >= 30)
        lines = server.log.splitlines()
    for line in lines:
        json.loads(line)


def test_request_id_of_the_client_is_used():
    with ServerThread(rerankers=rerankers()) as server:
        reply = server.post("/v2/rerank", REQUEST, x_request_id="trace-1234.A")
        assert reply.headers["x-request-id"] == reply.json()["id"] == "trace-1234.A"


@pytest.mark.parametrize(
    "request_id", ["a b", "x" * 129, "<script>", ""], ids=["two words", "too long", "unsafe characters", "empty"]
)
def test_unsafe_request_id_is_replaced(request_id):
    with ServerThread(rerankers=rerankers()) as server:
        assert len(server.post("/v2/rerank", REQUEST, x_request_id=request_id).headers["x-request-id"]) == 32


@pytest.mark.parametrize(
    ("method", "path", "status", "logged_path"),
    [
        ("GET", "/nope%0Aa line", 404, "/nope%0Aa%20line"),
        ("GET", "/v2/rerank", 405, "/v2/rerank"),
        ("POST", "/health", 405, "/health"),
        ("GET", f"/page/{'a' * 5000}.js", 404, f"/page/{'a' * 94}"),
        ("GET", "/page/a%00.js", 404, "/page/a%00.js"),
        ("GET", "/page/.%2e%2fapp.py", 404, "/page/../app.py"),
        ("GET", "/page/playground.html", 404, "/page/playground.html"),
    ],
    ids=["line break", "GET to a POST path", "POST to a GET path", "long path", "null byte", "parent folder", "not an asset"],
)
def test_request_without_endpoint_has_an_id_and_a_log_line(caplog, method, path, status, logged_path):
    with caplog.at_level(logging.INFO, "podium"), ServerThread(rerankers=rerankers()) as server:
        reply = server.client.request(method, path)
        assert reply.status_code == status
        assert reply.json()["id"] == reply.headers["x-request-id"] != ""
    assert [record.fields["path"] for record in caplog.records if record.message == "request"] == [logged_path]


def test_metrics_count_requests_and_documents():
    with ServerThread(rerankers=rerankers()) as server:
        server.post("/v2/rerank", REQUEST)
        server.post("/rerank", {"query": "a", "texts": ["b"] * 3})
        server.post("/v2/rerank", REQUEST | {"model": "x" * 50})
        metrics = server.client.get("/metrics").text
    assert 'podium_requests_total{dialect="cohere",model="words",status="200"} 1.0' in metrics
    assert 'podium_requests_total{dialect="cohere",model="none",status="404"} 1.0' in metrics  # clients cannot choose labels
    assert 'podium_documents_total{model="words"} 5.0' in metrics
    assert 'podium_request_seconds_count{model="words"} 2.0' in metrics
    assert "podium_requests_in_progress 0.0" in metrics


def test_request_is_a_span_of_the_clients_trace():
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with ServerThread(rerankers=rerankers()) as server:
        server.post("/v2/rerank", REQUEST, traceparent=parent)
    (span,) = exporter.get_finished_spans()
    assert span.name == "POST /v2/rerank"
    assert f"{span.context.trace_id:032x}" in parent
    assert span.attributes["podium.documents"] == 2
    assert span.attributes["podium.model"] == "words"
    assert span.attributes["podium.status"] == 200
    assert "fruit" not in str(span.attributes)
