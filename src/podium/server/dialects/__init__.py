"""The dialects: the APIs that clients use, one per module. The path of a request and its fields tell its dialect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def dialect_of(dialects: Sequence[Dialect], path: str, body: Mapping[str, Any]) -> Dialect:
    """Return the dialect of a request: on its path, the one whose marker is in the body, else the one without a marker."""
    on_path = [dialect for dialect in dialects if path in dialect.paths]
    with_marker = (dialect for dialect in on_path if dialect.marker is not None and dialect.marker in body)
    return next(with_marker, None) or next(dialect for dialect in on_path if dialect.marker is None)


def early_error(dialects: Sequence[Dialect], path: str, refusal: Refusal, request_id: str) -> dict[str, Any]:
    """Return an error body for a request whose dialect is unknown, because its body could not be read.

    It has the error fields of every dialect on the path. If two have the same field, the dialect without a marker defines it.
    On an unknown path it is an error of Cohere's API.
    """
    on_path = [dialect for dialect in dialects if path in dialect.paths] or [cohere.DIALECT]
    default_last = sorted(on_path, key=lambda dialect: dialect.marker is None)
    return {key: value for dialect in default_last for key, value in dialect.error(refusal, request_id).items()}
