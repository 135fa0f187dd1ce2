"""A span per request for OpenTelemetry, where its package is installed; nothing where it is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

__all__ = ["span"]

try:
    from opentelemetry import propagate, trace
except ImportError:
    trace = None  # type: ignore[assignment]


@contextmanager
def span(name: str, headers: Mapping[str, str], fields: Mapping[str, Any]) -> Iterator[None]:
    """Hold a span as part of the trace that a request's headers name; `fields`, as they are at its end, go on it."""
    if trace is None:
        yield
        return
    tracer = trace.get_tracer("podium")
    kind = trace.SpanKind.SERVER
    with tracer.start_as_current_span(name, context=propagate.extract(dict(headers)), kind=kind) as held:
        try:
            yield
        finally:
            held.set_attributes({f"podium.{key}": value for key, value in fields.items() if value is not None})
