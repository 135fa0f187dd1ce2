"""NVIDIA NIM's ranking API: query and passages are objects with `text`, scores are logits, and all passages come back.

Contract: docs.nvidia.com/nim, "Text Reranking". `truncate` is "NONE" (refuse a passage that is too long) or "END".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from podium.server.dialects.call import Call, Dialect, Question, Refusal, field
from podium.server.dialects.scales import as_logit
from podium.types import Ranking

__all__ = ["DIALECT"]


def read(body: Mapping[str, Any]) -> Call:
    passages = field(body, "passages", list)
    if not passages:
        raise Refusal(400, "passages must be a list with at least one object in it")
    if (truncate := field(body, "truncate", str)) not in (None, "NONE", "END"):
        raise Refusal(400, 'truncate must be "NONE" or "END"')
    return Call(
        questions=[Question(_text(body.get("query"), "query"), [_text(passage, "each passage") for passage in passages])],
        model=field(body, "model", str),
        truncate=truncate != "NONE",
    )


def reply(call: Call, rankings: Sequence[Ranking], request: str) -> dict[str, Any]:
    (ranking,) = rankings
    tokens = ranking.usage.tokens or 0
    return {
        "rankings": [{"index": result.index, "logit": as_logit(result.score, ranking.score_kind)} for result in ranking],
        "usage": {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens},
    }


def error(refusal: Refusal, request: str) -> dict[str, Any]:
    return {"object": "error", "id": request, "message": refusal.message, "detail": refusal.message}


def _text(value: Any, name: str) -> str:
    if not isinstance(value, dict) or not isinstance(text := value.get("text"), str):
        raise Refusal(400, f'{name} must be an object with a string: {{"text": "..."}}')
    return text


_TEXT = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}
REQUEST = {
    "type": "object",
    "required": ["query", "passages"],
    "properties": {
        "model": {"type": ["string", "null"]},
        "query": _TEXT,
        "passages": {"type": "array", "minItems": 1, "items": _TEXT},
        "truncate": {"type": ["string", "null"], "enum": ["NONE", "END", None]},
    },
}
REPLY = {
    "type": "object",
    "required": ["rankings"],
    "properties": {
        "rankings": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["index", "logit"],
                "properties": {"index": {"type": "integer"}, "logit": {"type": "number"}},
            },
        }
    },
}

DIALECT = Dialect(
    name="nim",
    title="NVIDIA NIM",
    paths=("/v1/ranking",),
    read=read,
    reply=reply,
    error=error,
    request_schema=REQUEST,
    reply_schema=REPLY,
)
