"""podium's own words: a ranking with everything it says. What the page uses, and whoever wants tokens and notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from podium.documents import texts_of, valid_unicode
from podium.inputs import checked_fields
from podium.server.dialects.call import Call, Dialect, Refusal, count, field, question
from podium.types import Ranking, ScoreKind

__all__ = ["DIALECT"]


def read(body: Mapping[str, Any]) -> Call:
    name = "rank_fields" if body.get("rank_fields") is not None else "rank_by"  # Cohere's name for it, or podium's
    fields = body.get(name)
    return Call(
        questions=[question(body, "documents")],
        model=field(body, "model", str),
        limit=count(body, "limit"),
        echo=True,
        rank_by=[fields] if isinstance(fields, str) else field(body, name, list) or None,
    )


def reply(call: Call, rankings: Sequence[Ranking], request: str) -> dict[str, Any]:
    """Return the ranking, each result with its text as it was read, which with several fields is not the document's own."""
    (ranking,) = rankings
    said = ranking.to_dict()
    texts = texts_of(call.questions[0].documents, checked_fields(call.rank_by))
    for result in said["results"]:
        result["text"] = None if (text := texts[result["index"]]) is None else valid_unicode(text)
    return {"id": request, **said}


def error(refusal: Refusal, request: str) -> dict[str, Any]:
    return {"id": request, "message": refusal.message}


_FIELDS: dict[str, Any] = {"anyOf": [{"type": ["string", "null"]}, {"type": "array", "items": {"type": "string"}}]}
REQUEST = {
    "type": "object",
    "required": ["query", "documents"],
    "properties": {
        "model": {"type": ["string", "null"]},
        "query": {"type": "string", "minLength": 1},
        "documents": {"type": "array", "minItems": 1, "items": {"type": ["string", "object"]}},
        "limit": {"type": ["integer", "null"], "minimum": 0},
        "rank_by": _FIELDS,
        "rank_fields": {**_FIELDS, "description": "The same as rank_by."},
    },
}
_RESULT = {
    "type": "object",
    "required": ["rank", "index", "score", "tokens", "dropped_tokens", "no_text", "document", "text"],
    "properties": {
        "rank": {"type": "integer"},
        "index": {"type": "integer"},
        "score": {"type": "number"},
        "tokens": {"type": ["integer", "null"]},
        "dropped_tokens": {"type": ["integer", "null"]},
        "no_text": {"type": "boolean"},
        "text": {"type": ["string", "null"], "description": "What was read of the document."},
    },
}
REPLY = {
    "type": "object",
    "required": ["id", "model", "revision", "score_kind", "usage", "notes", "results"],
    "properties": {
        "id": {"type": "string"},
        "model": {"type": "string"},
        "score_kind": {"enum": list(get_args(ScoreKind))},
        "usage": {"type": "object"},
        "notes": {"type": "array", "items": {"type": "string"}},
        "results": {"type": "array", "items": _RESULT},
    },
}

DIALECT = Dialect(
    name="podium",
    title="podium",
    paths=("/rank",),
    read=read,
    reply=reply,
    error=error,
    request_schema=REQUEST,
    reply_schema=REPLY,
)
