"""Weaviate's reranker-transformers container: a score for each document, in the order of the request.

Contract: weaviate/weaviate, modules/reranker-transformers. Its requests have `property`, the name of the property ranked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from podium.documents import as_json
from podium.server.dialects.call import Call, Dialect, Refusal, field, question
from podium.types import Ranking

__all__ = ["DIALECT"]


def read(body: Mapping[str, Any]) -> Call:
    field(body, "property", str)
    ranked = question(body, "documents")
    if not all(isinstance(document, str) for document in ranked.documents):
        raise Refusal(400, "documents must be strings")
    return Call(questions=[ranked], echo=True)


def reply(call: Call, rankings: Sequence[Ranking], request: str) -> dict[str, Any]:
    in_request_order = sorted(rankings[0], key=lambda result: result.index)
    return {"scores": [{"document": as_json(result.document), "score": result.score} for result in in_request_order]}


def error(refusal: Refusal, request: str) -> dict[str, Any]:
    return {"error": refusal.message}


REQUEST = {
    "type": "object",
    "required": ["query", "documents", "property"],
    "properties": {
        "query": {"type": "string", "minLength": 1},
        "documents": {"type": "array", "minItems": 1, "items": {"type": "string"}},
        "property": {"type": ["string", "null"], "description": "The name of the ranked property; ignored."},
    },
}
REPLY = {
    "type": "object",
    "required": ["scores"],
    "properties": {
        "scores": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["document", "score"],
                "properties": {"score": {"type": "number"}},
            },
        }
    },
}

DIALECT = Dialect(
    name="weaviate",
    title="Weaviate",
    paths=("/rerank",),
    read=read,
    reply=reply,
    error=error,
    request_schema=REQUEST,
    reply_schema=REPLY,
    marker="property",
)
