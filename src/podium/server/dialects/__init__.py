"""The dialects: the APIs that clients use, one per module. A request's dialect is recognized by its path and its fields."""

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
    """Return the dialect of a request. `path` must be a path of at least one dialect.

    Of the dialects with this path, it is the first whose marker is a field of the body, or else the dialect without a marker.
    """
    on_path = [dialect for dialect in dialects if path in dialect.paths]
    with_marker = (dialect for dialect in on_path if dialect.marker is not None and dialect.marker in body)
    return next(with_marker, None) or next(dialect for dialect in on_path if dialect.marker is None)


def early_error(dialects: Sequence[Dialect], path: str, refusal: Refusal, request_id: str) -> dict[str, Any]:
    """Return an error body for a request whose dialect is unknown, because its body could not be read.

    The body has the error fields of every dialect on the path, or those of Cohere's API if no dialect has the path. If several
    dialects have the same field, the value is that of the dialect without a marker.
    """
    on_path = [dialect for dialect in dialects if path in dialect.paths] or [cohere.DIALECT]
    body: dict[str, Any] = {}
    for dialect in sorted(on_path, key=lambda dialect: dialect.marker is None):  # the dialect without a marker is last
        body |= dialect.error(refusal, request_id)
    return body
