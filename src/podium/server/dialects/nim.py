"""NVIDIA NIM's ranking API. Query and passages are objects with a field `text`, scores are logits, all passages are returned.

Contract: docs.nvidia.com/nim, "Text Reranking".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from podium.server.dialects.call import Call, Refusal
from podium.server.dialects.dialect import Dialect, token_usage
from podium.server.dialects.fields import MODEL, Field, Kind, object_schema
from podium.server.dialects.scales import as_logit
from podium.types import Ranking

__all__ = ["DIALECT"]


def _text(value: Any) -> str:
    """Return the text of an object such as {"text": "..."}."""
    if not isinstance(value, dict) or not isinstance(text := value.get("text"), str):
        raise ValueError
    return text


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not value:
        raise ValueError
    return [_text(item) for item in value]


def _may_truncate(value: Any) -> bool:
    """Whether the value of `truncate` lets the model read only the beginning of a text that is too long."""
    if value not in ("NONE", "END"):
        raise ValueError
    return bool(value == "END")


TEXT_SCHEMA = object_schema({"text": {"type": "string"}})
TEXT = Kind('an object such as {"text": "..."}', TEXT_SCHEMA, _text)
TEXTS = Kind(
    'a list with at least one object such as {"text": "..."}',
    {"type": "array", "minItems": 1, "items": TEXT_SCHEMA},
    _texts,
)
TRUNCATE = Kind('"NONE" or "END"', {"type": "string", "enum": ["NONE", "END"]}, _may_truncate)

FIELDS = (
    MODEL,
    Field("query", TEXT, argument="query", required=True),
    Field("passages", TEXTS, argument="documents", required=True),
    Field("truncate", TRUNCATE, 'If "NONE", passages longer than the model reads are refused.', argument="truncate"),
)


def reply(call: Call, rankings: Sequence[Ranking], request_id: str) -> dict[str, Any]:
    (ranking,) = rankings  # a request has one query
    return {
        "rankings": [{"index": result.index, "logit": as_logit(result.score, ranking.score_kind)} for result in ranking],
        "usage": token_usage(rankings),
    }


def error(refusal: Refusal, request_id: str) -> dict[str, Any]:
    return {"object": "error", "id": request_id, "message": refusal.message, "detail": refusal.message}


DIALECT = Dialect(
    name="nim",
    title="NVIDIA NIM",
    paths=("/v1/ranking",),
    fields=FIELDS,
    reply=reply,
    error=error,
    reply_schema=object_schema(
        {
            "rankings": {"type": "array", "items": object_schema({"index": {"type": "integer"}, "logit": {"type": "number"}})},
            "usage": {"type": "object"},
        }
    ),
)
