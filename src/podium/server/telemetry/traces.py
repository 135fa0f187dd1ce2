"""Traces for OpenTelemetry, if its package is installed: one span per request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from podium.inputs import without_none

__all__ = ["span"]

try:
    from opentelemetry import propagate, trace
except ImportError:
    trace = None  # type: ignore[assignment]


@contextmanager
def span(name: str, headers: Mapping[str, str], fields: Mapping[str, Any]) -> Iterator[None]:
    """Open a span in the trace that the headers of a request name.

    The span gets `fields` as attributes when the block ends, so the block can still change `fields`.
    """
    if trace is None:
        yield
        return
    tracer = trace.get_tracer("podium")
    kind = trace.SpanKind.SERVER
    with tracer.start_as_current_span(name, context=propagate.extract(dict(headers)), kind=kind) as request_span:
        try:
            yield
        finally:
            request_span.set_attributes({f"podium.{key}": value for key, value in without_none(fields).items()})
