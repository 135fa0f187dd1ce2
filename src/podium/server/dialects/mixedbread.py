"""Mixedbread's reranking API: documents are in `input`, results in `data`.

Contract: the types of its SDK (package mixedbread). `rewrite_query` is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from podium.documents import as_json
from podium.server.dialects.call import Call, Dialect, Refusal, count, field, flag, question
from podium.types import Ranking

__all__ = ["DIALECT"]


def read(body: Mapping[str, Any]) -> Call:
    return Call(
        questions=[question(body, "input")],
        model=field(body, "model", str),
        limit=count(body, "top_k"),
        rank_by=field(body, "rank_fields", list) or None,
        echo=flag(body, "return_input", default=False),
    )


def reply(call: Call, rankings: Sequence[Ranking], request: str) -> dict[str, Any]:
    (ranking,) = rankings
    tokens = ranking.usage.tokens or 0
    return {
        "id": request,
        "object": "list",
        "model": call.model or ranking.model,
        "data": [
            {
                "index": result.index,
                "score": result.score,
                "object": "rank_result",
                **({"input": as_json(result.document)} if call.echo else {}),
            }
            for result in ranking
        ],
        "usage": {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens},
        "top_k": len(ranking),
        "return_input": call.echo,
    }


def error(refusal: Refusal, request: str) -> dict[str, Any]:
    return {"id": request, "message": refusal.message, "detail": refusal.message}


REQUEST = {
    "type": "object",
    "required": ["query", "input"],
    "properties": {
        "model": {"type": ["string", "null"]},
        "query": {"type": "string", "minLength": 1},
        "input": {"type": "array", "minItems": 1, "items": {"type": ["string", "object"]}},
        "top_k": {"type": ["integer", "null"], "minimum": 0},
        "rank_fields": {"type": ["array", "null"], "items": {"type": "string"}},
        "return_input": {"type": ["boolean", "null"], "default": False},
    },
}
REPLY = {
    "type": "object",
    "required": ["id", "object", "model", "data", "usage", "top_k", "return_input"],
    "properties": {
        "data": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["index", "score"],
                "properties": {"index": {"type": "integer"}, "score": {"type": "number"}},
            },
        }
    },
}

DIALECT = Dialect(
    name="mixedbread",
    title="Mixedbread",
    paths=("/v1/reranking", "/reranking"),
    read=read,
    reply=reply,
    error=error,
    request_schema=REQUEST,
    reply_schema=REPLY,
    marker="input",
)
