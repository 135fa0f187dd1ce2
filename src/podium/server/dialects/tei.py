"""Text Embeddings Inference's rerank: all texts come back, best first, as a bare list.

Contract: huggingface/text-embeddings-inference, router/src/http (its `top_n` does not exist and is ignored).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from podium.documents import as_json
from podium.server.dialects.call import Call, Dialect, Refusal, field, flag, question
from podium.server.dialects.scales import as_logit, as_sigmoid
from podium.types import Ranking

__all__ = ["DIALECT"]

ERROR_TYPES = {400: "Validation", 422: "Validation", 413: "Validation", 424: "Backend", 429: "Overloaded", 503: "Unhealthy"}


def read(body: Mapping[str, Any]) -> Call:
    asked = question(body, "texts")
    if not all(isinstance(text, str) for text in asked.documents):
        raise Refusal(422, "texts must be strings")
    return Call(
        questions=[asked],
        model=field(body, "model", str),  # none of TEI's, which serves one model; here it chooses among several
        truncate=flag(body, "truncate", default=True),
        raw=flag(body, "raw_scores", default=False),
        echo=flag(body, "return_text", default=False),
    )


def reply(call: Call, rankings: Sequence[Ranking], request: str) -> list[dict[str, Any]]:
    (ranking,) = rankings
    scale = as_logit if call.raw else as_sigmoid
    results = []
    for result in ranking:
        entry: dict[str, Any] = {"index": result.index, "score": scale(result.score, ranking.score_kind)}
        if call.echo:
            entry["text"] = as_json(result.document)
        results.append(entry)
    return results


def error(refusal: Refusal, request: str) -> dict[str, Any]:
    return {"error": refusal.message, "error_type": ERROR_TYPES.get(refusal.status, "Backend")}


REQUEST = {
    "type": "object",
    "required": ["query", "texts"],
    "properties": {
        "query": {"type": "string", "minLength": 1},
        "texts": {"type": "array", "minItems": 1, "items": {"type": "string"}},
        "model": {"type": ["string", "null"], "description": "A name from /v1/models; the server's first where absent."},
        "truncate": {"type": ["boolean", "null"], "default": True},
        "raw_scores": {
            "type": ["boolean", "null"],
            "default": False,
            "description": "Logits, not scores from 0 to 1.",
        },
        "return_text": {"type": ["boolean", "null"], "default": False},
    },
}
REPLY = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["index", "score"],
        "properties": {"index": {"type": "integer"}, "score": {"type": "number"}, "text": {"type": "string"}},
    },
}

DIALECT = Dialect(
    name="tei",
    title="Text Embeddings Inference",
    paths=("/rerank", "/reranking", "/v1/rerank", "/v1/reranking"),  # llama.cpp speaks it on all of these
    read=read,
    reply=reply,
    error=error,
    request_schema=REQUEST,
    reply_schema=REPLY,
    invalid_status=422,
    marker="texts",
)
