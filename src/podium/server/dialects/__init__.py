"""The APIs of clients, one module each, and which of them a request uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podium.server.dialects import cohere, mixedbread, nim, podium, tei, vllm, weaviate
from podium.server.dialects.call import Refusal
from podium.server.dialects.dialect import Dialect

__all__ = ["DIALECTS", "dialect_of", "early_error"]

DIALECTS: tuple[Dialect, ...] = (
    cohere.DIALECT,
    tei.DIALECT,
    vllm.DIALECT,
    mixedbread.DIALECT,
    nim.DIALECT,
    weaviate.DIALECT,
    podium.DIALECT,
)


def dialect_of(path: str, body: Mapping[str, Any]) -> Dialect:
    """Return the dialect of a request: the one on its path whose marker is in the body, else the path's default."""
    on_path = [dialect for dialect in DIALECTS if path in dialect.paths]
    marked = (dialect for dialect in on_path if dialect.marker is not None and dialect.marker in body)
    return next(marked, None) or next(dialect for dialect in on_path if dialect.marker is None)


def early_error(path: str, refusal: Refusal, request_id: str) -> dict[str, Any]:
    """Return an error body for a request that is not read yet: it has the fields of every dialect on the path."""
    on_path = [dialect for dialect in DIALECTS if path in dialect.paths] or [cohere.DIALECT]
    default_last = sorted(on_path, key=lambda dialect: dialect.marker is None)
    return {key: value for dialect in default_last for key, value in dialect.error(refusal, request_id).items()}
