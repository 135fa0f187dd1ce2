"""Logs, request ids, metrics and traces."""

from __future__ import annotations

import logging

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from serving import REQUEST, Serving, rerankers


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
    with Serving(rerankers=rerankers()) as server:
        reply = server.post("/v2/rerank", REQUEST, x_request_id="trace-1234.A")
        assert reply.headers["x-request-id"] == reply.json()["id"] == "trace-1234.A"
        for odd in ("a b", "x" * 129, "<script>", ""):
            made = server.post("/v2/rerank", REQUEST, x_request_id=odd).headers["x-request-id"]
            assert len(made) == 32


def test_what_leads_nowhere_has_an_id_and_a_line_too(caplog):
    with caplog.at_level(logging.INFO, "podium"), Serving(rerankers=rerankers()) as server:
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


def test_metrics_count_what_was_done():
    with Serving(rerankers=rerankers()) as server:
        server.post("/v2/rerank", REQUEST)
        server.post("/rerank", {"query": "a", "texts": ["b"] * 3})
        server.post("/v2/rerank", REQUEST | {"model": "x" * 50})
        written = server.client.get("/metrics").text
    assert 'podium_requests_total{dialect="cohere",model="words",status="200"} 1.0' in written
    assert 'podium_requests_total{dialect="cohere",model="none",status="404"} 1.0' in written  # no label of a client's choosing
    assert 'podium_documents_total{model="words"} 5.0' in written
    assert 'podium_request_seconds_count{model="words"} 2.0' in written
    assert "podium_requests_in_progress 0.0" in written


def test_a_request_is_a_span_of_the_trace_it_belongs_to():
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with Serving(rerankers=rerankers()) as server:
        server.post("/v2/rerank", REQUEST, traceparent=parent)
    (span,) = exporter.get_finished_spans()
    assert span.name == "POST /v2/rerank"
    assert f"{span.context.trace_id:032x}" in parent
    assert span.attributes["podium.documents"] == 2
    assert span.attributes["podium.model"] == "words"
    assert span.attributes["podium.status"] == 200
    assert "fruit" not in str(span.attributes)
