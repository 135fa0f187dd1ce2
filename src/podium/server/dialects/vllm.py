"""vLLM's score API: one text with many, or many with as many, and a score for each pair in the order of the request.

Contract: docs.vllm.ai, "Score API". vLLM's rerank API is Cohere's.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from podium.server.dialects.call import Call, Question, Refusal
from podium.server.dialects.dialect import Dialect, token_usage
from podium.server.dialects.fields import FLAG, MODEL, Field, Kind, is_strings, list_schema, object_schema
from podium.types import Ranking

__all__ = ["DIALECT"]

ERROR_TYPES = {400: "BadRequestError", 401: "AuthenticationError", 404: "NotFoundError", 429: "RateLimitError"}


def _one_or_more_texts(value: Any) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not texts or not is_strings(texts):
        raise ValueError
    return list(texts)


ONE_OR_MORE_TEXTS = Kind(
    "a string, or a list with at least one string, and only strings",
    {"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "minItems": 1, "items": {"type": "string"}}]},
    _one_or_more_texts,
)

FIELDS = (
    MODEL,
    Field(
        "text_1",
        ONE_OR_MORE_TEXTS,
        "first",
        "Also accepted as queries or data_1.",
        required=True,
        aliases=("queries", "data_1"),
    ),
    Field(
        "text_2",
        ONE_OR_MORE_TEXTS,
        "second",
        "Also accepted as documents or data_2.",
        required=True,
        aliases=("documents", "data_2"),
    ),
    Field("truncate", FLAG, "truncate", "If false, texts longer than the model reads are refused.", default=True),
)


def pairs(first: list[str], second: list[str], **options: Any) -> Call:
    """Return the Call, with one question for each distinct first text. `extra` holds the positions of its second texts."""
    if len(first) not in (1, len(second)):
        raise Refusal(400, f"text_1 has {len(first)} texts and text_2 has {len(second)}; text_1 must have one, or as many")
    positions: dict[str, list[int]] = {}
    for position in range(len(second)):
        positions.setdefault(first[position % len(first)], []).append(position)
    questions = [Question(query, [second[position] for position in group]) for query, group in positions.items()]
    return Call(questions=questions, extra=list(positions.values()), **options)


def reply(call: Call, rankings: Sequence[Ranking], request_id: str) -> dict[str, Any]:
    scores = [0.0] * call.documents
    for positions, ranking in zip(call.extra, rankings, strict=True):
        for result in ranking:
            scores[positions[result.index]] = result.score
    return {
        "id": request_id,
        "object": "list",
        "created": int(time.time()),
        "model": call.model or rankings[0].model,
        "data": [{"index": position, "object": "score", "score": score} for position, score in enumerate(scores)],
        "usage": token_usage(rankings),
    }


def error(refusal: Refusal, request_id: str) -> dict[str, Any]:
    kind = ERROR_TYPES.get(refusal.status, "BadRequestError" if refusal.status < 500 else "InternalServerError")
    return {"error": {"message": refusal.message, "type": kind, "param": None, "code": refusal.status}}


RESULT = object_schema({"index": {"type": "integer"}, "object": {"const": "score"}, "score": {"type": "number"}})

DIALECT = Dialect(
    name="vllm",
    title="vLLM",
    paths=("/v1/score", "/score"),
    fields=FIELDS,
    call=pairs,
    reply=reply,
    error=error,
    reply_schema=list_schema(RESULT, created={"type": "integer"}),
)
