"""podium's own API, which the web page uses: a complete ranking, with tokens, notes and the text that was read."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, get_args

from podium.documents import texts_of, valid_unicode
from podium.inputs import checked_fields
from podium.server.dialects.call import Call, Refusal
from podium.server.dialects.dialect import Dialect, one_question
from podium.server.dialects.fields import COUNT, DOCUMENTS, MODEL, QUERY, Field, Kind, is_strings, object_schema
from podium.types import Ranking, ScoreKind

__all__ = ["DIALECT"]


def _one_or_more_names(value: Any) -> list[str] | None:
    names = [value] if isinstance(value, str) else value
    if not is_strings(names):
        raise ValueError
    return names or None


ONE_OR_MORE_NAMES = Kind(
    "a string or a list of strings",
    {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
    _one_or_more_names,
)

FIELDS = (
    MODEL,
    QUERY,
    Field("documents", DOCUMENTS, "documents", "Strings, or objects.", required=True),
    Field("limit", COUNT, "limit", "Number of results. All if 0, null or absent."),
    Field("rank_fields", ONE_OR_MORE_NAMES, "rank_by", "The fields of the documents that are read."),
    Field("rank_by", ONE_OR_MORE_NAMES, "rank_by", "The same as rank_fields."),
)


def reply(call: Call, rankings: Sequence[Ranking], request_id: str) -> dict[str, Any]:
    """Return the ranking, and each document's text as the model read it."""
    (ranking,) = rankings
    body = ranking.to_dict()
    texts = texts_of(call.questions[0].documents, checked_fields(call.rank_by))
    for result in body["results"]:
        text = texts[result["index"]]
        result["text"] = None if text is None else valid_unicode(text)
    return {"id": request_id, **body}


def error(refusal: Refusal, request_id: str) -> dict[str, Any]:
    return {"id": request_id, "message": refusal.message}


RESULT = object_schema(
    {
        "rank": {"type": "integer", "description": "Position in the ranking, from 1."},
        "index": {"type": "integer", "description": "Position in the request, from 0."},
        "score": {"type": "number"},
        "tokens": {"type": ["integer", "null"], "description": "Number of tokens that the model read."},
        "dropped_tokens": {"type": ["integer", "null"], "description": "Number of tokens that it did not read."},
        "no_text": {"type": "boolean"},
        "document": {},
        "text": {"type": ["string", "null"], "description": "The text that was ranked."},
    }
)

DIALECT = Dialect(
    name="podium",
    title="podium",
    paths=("/rank",),
    fields=FIELDS,
    call=functools.partial(one_question, echo=True),
    reply=reply,
    error=error,
    reply_schema=object_schema(
        {
            "id": {"type": "string"},
            "model": {"type": "string"},
            "revision": {"type": ["string", "null"]},
            "score_kind": {"enum": list(get_args(ScoreKind))},
            "usage": {"type": "object"},
            "notes": {"type": "array", "items": {"type": "string"}},
            "results": {"type": "array", "items": RESULT},
        }
    ),
)
