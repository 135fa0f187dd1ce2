"""vLLM's score: one text with many, or many with as many, and a score for each pair in the order of the request.

Contract: docs.vllm.ai, "Score API". Its rerank is Cohere's.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from podium.server.dialects.call import Call, Dialect, Question, Refusal, field, flag
from podium.types import Ranking

__all__ = ["DIALECT"]

FIRST, SECOND = ("text_1", "queries", "data_1"), ("text_2", "documents", "data_2")
ERROR_TYPES = {400: "BadRequestError", 401: "AuthenticationError", 404: "NotFoundError", 429: "RateLimitError"}


def read(body: Mapping[str, Any]) -> Call:
    first, second = _texts(body, FIRST), _texts(body, SECOND)
    if len(first) not in (1, len(second)):
        raise Refusal(
            400, f"{FIRST[0]} has {len(first)} texts and {SECOND[0]} has {len(second)}; give one, or as many as there are"
        )
    places: dict[str, list[int]] = {}
    for at in range(len(second)):
        places.setdefault(first[at % len(first)], []).append(at)
    return Call(
        questions=[Question(query, [second[at] for at in ats]) for query, ats in places.items()],
        model=field(body, "model", str),
        truncate=flag(body, "truncate", default=True),
        shape=list(places.values()),
    )


def reply(call: Call, rankings: Sequence[Ranking], request: str) -> dict[str, Any]:
    scores = [0.0] * call.documents
    for places, ranking in zip(call.shape, rankings, strict=True):
        for result in ranking:
            scores[places[result.index]] = result.score
    tokens = sum(ranking.usage.tokens or 0 for ranking in rankings)
    return {
        "id": request,
        "object": "list",
        "created": int(time.time()),
        "model": call.model or rankings[0].model,
        "data": [{"index": at, "object": "score", "score": score} for at, score in enumerate(scores)],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0},
    }


def error(refusal: Refusal, request: str) -> dict[str, Any]:
    kind = ERROR_TYPES.get(refusal.status, "BadRequestError" if refusal.status < 500 else "InternalServerError")
    return {"error": {"message": refusal.message, "type": kind, "param": None, "code": refusal.status}}


def _texts(body: Mapping[str, Any], names: tuple[str, ...]) -> list[str]:
    given = next((body[name] for name in names if body.get(name) is not None), None)
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise Refusal(400, f"{names[0]} must be a string, or a list of strings with at least one in it")
    return texts


_EITHER = {"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "minItems": 1, "items": {"type": "string"}}]}
REQUEST = {
    "type": "object",
    "required": ["text_1", "text_2"],
    "properties": {"model": {"type": ["string", "null"]}, "text_1": _EITHER, "text_2": _EITHER},
}
REPLY = {
    "type": "object",
    "required": ["id", "object", "model", "data", "usage"],
    "properties": {
        "data": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["index", "object", "score"],
                "properties": {"index": {"type": "integer"}, "object": {"const": "score"}, "score": {"type": "number"}},
            },
        }
    },
}

DIALECT = Dialect(
    name="vllm",
    title="vLLM",
    paths=("/v1/score", "/score"),
    read=read,
    reply=reply,
    error=error,
    request_schema=REQUEST,
    reply_schema=REPLY,
)
