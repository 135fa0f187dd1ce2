"""Text Embeddings Inference's rerank: all texts come back, best first, as a bare list.

Contract: huggingface/text-embeddings-inference, router/src/http (its `top_n` does not exist and is ignored).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from podium.documents import as_json
from podium.server.calls import Call, Refusal, field, flag, question
from podium.types import Ranking

__all__ = ["REPLY", "REQUEST", "error", "read", "reply"]

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
    scaled = _scale(ranking.score_kind, call.raw)
    return [
        {"index": result.index, "score": scaled(result.score), **({"text": as_json(result.document)} if call.echo else {})}
        for result in ranking
    ]


def error(refusal: Refusal, request: str) -> dict[str, Any]:
    return {"error": refusal.message, "error_type": ERROR_TYPES.get(refusal.status, "Backend")}


def _scale(kind: str, raw: bool) -> Any:
    """Return the function that gives TEI's scores: between 0 and 1, or logits for `raw_scores`.

    Similarities and fused scores are neither and stay as they are.
    """
    if kind == "logit" and not raw:
        return _sigmoid
    if kind in ("sigmoid", "probability") and raw:
        return _logit
    return float


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(max(logit, -700)) / (1 + math.exp(max(logit, -700)))


def _logit(score: float) -> float:
    inside = min(max(score, 1e-300), 1 - 2**-53)  # 0 and 1 stand for what a double can no longer tell from them
    return math.log(inside) - math.log1p(-inside)


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
