"""podium's own API, which the web page uses. A reply has all fields of a Ranking, and the texts of its documents."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, get_args

from podium.server.dialects.call import Call, Refusal
from podium.server.dialects.dialect import Dialect, call_for_question
from podium.server.dialects.fields import (
    COUNT,
    DOCUMENTS,
    FLAG,
    INSTRUCTION,
    MODEL,
    QUERY,
    STRING,
    Field,
    Kind,
    is_string_list,
    object_schema,
)
from podium.types import Ranking, ScoreKind

__all__ = ["DIALECT"]

MAX_AMOUNT = 10**9  # the maximum of budget_ms, about twelve days, and of max_cost


def _name_list(value: Any) -> list[str] | None:
    """Return the names as a list. `value` is one name or a list of names.

    Returns None for an empty list, which means the same as an absent field.
    """
    names = [value] if isinstance(value, str) else value
    if not is_string_list(names):
        raise ValueError
    return names or None


NAME_OR_NAMES = Kind(
    "a string or a list of strings",
    {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
    _name_list,
)


def _amount(value: Any) -> float:
    """Return a number above 0, at most MAX_AMOUNT."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_AMOUNT:
        raise ValueError
    return float(value)


def _positive_count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError
    return value


AMOUNT = Kind(
    f"a number above 0, at most {MAX_AMOUNT:,}",
    {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_AMOUNT},
    _amount,
)
POSITIVE_COUNT = Kind("a whole number from 1", {"type": "integer", "minimum": 1}, _positive_count)

FIELDS = (
    MODEL,
    QUERY,
    Field("documents", DOCUMENTS, "Strings, or objects.", argument="documents", required=True),
    Field("limit", COUNT, "Number of results. All if 0, null or absent.", argument="limit"),
    Field(
        "instruction",
        INSTRUCTION,
        "Description of relevant documents. Refused if the model does not read instructions.",
        argument="instruction",
    ),
    Field(
        "passages",
        FLAG,
        "Whether long documents are read completely, in passages. Then results have the passage that decided the score.",
        argument="passages",
        default=False,
    ),
    Field(
        "explain",
        FLAG,
        "Whether the reply has the contribution of each sentence to the score. The request must have one document.",
        argument="explain",
        default=False,
    ),
    Field(
        "rank_fields", NAME_OR_NAMES, "Names of the document fields that the model reads, in this order.", argument="rank_by"
    ),
    Field(
        "budget_ms",
        AMOUNT,
        "Documents are scored in their order for so many milliseconds. The others are not scored, and are below.",
        argument="budget_ms",
    ),
    Field(
        "max_tokens",
        POSITIVE_COUNT,
        "Documents are scored in their order until the model has read so many tokens.",
        argument="max_tokens",
    ),
    Field(
        "max_cost",
        AMOUNT,
        "Documents are scored in their order until the hosted model has cost so many US dollars. The cost is an estimate.",
        argument="max_cost",
    ),
    Field("price", STRING, "Price of the model for that estimate, such as 0.05/Mtokens, if podium has none.", argument="price"),
    Field(
        "rank_by", NAME_OR_NAMES, "The name of rank_fields in Python. Ignored if rank_fields is present.", argument="rank_by"
    ),
)


def reply(call: Call, rankings: Sequence[Ranking], request_id: str) -> dict[str, Any]:
    """Return the ranking as JSON. In each result, `text` is the complete text of the document, null if it has none."""
    (ranking,) = rankings  # a request has one query
    body = ranking.to_dict()
    for result, text in zip(body["results"], call.result_texts, strict=True):
        result["text"] = text
        result["explanation"] = None if call.explanation is None else call.explanation.to_dict()
    return {"id": request_id, **body}


def error(refusal: Refusal, request_id: str) -> dict[str, Any]:
    return {"id": request_id, "message": refusal.message}


PASSAGE = object_schema(
    {
        "start": {"type": "integer", "description": "Position of its first character in `text`, from 0."},
        "end": {"type": "integer", "description": "Position after its last character."},
        "score": {"type": "number"},
        "text": {"type": "string"},
    }
)

SENTENCE = object_schema(
    {
        "start": {"type": "integer", "description": "Position of its first character in `text`, from 0."},
        "end": {"type": "integer", "description": "Position after its last character."},
        "text": {"type": "string"},
        "contribution": {
            "type": ["number", "null"],
            "description": "By how much the raw score drops without the sentence. Null if it is the only one.",
        },
    }
)

EXPLANATION = object_schema(
    {
        "score": {"type": "number"},
        "score_kind": {"type": "string"},
        "model": {"type": "string"},
        "notes": {"type": "array", "items": {"type": "string"}},
        "sentences": {"type": "array", "items": SENTENCE},
    }
)

RESULT = object_schema(
    {
        "rank": {"type": "integer", "description": "Position in the ranking, from 1."},
        "index": {"type": "integer", "description": "The document's position in the request, from 0."},
        "score": {
            "type": ["number", "null"],
            "description": "Higher for more relevant documents. score_kind says what it means. Null if the document was not "
            "scored.",
        },
        "scored_by": {
            "type": ["string", "null"],
            "description": "The model of the score. Scores of different models cannot be compared. Null without a score.",
        },
        "passage": {
            "anyOf": [PASSAGE, {"type": "null"}],
            "description": "The part of the text that decided the score. Null if that is the whole text.",
        },
        "explanation": {
            "anyOf": [EXPLANATION, {"type": "null"}],
            "description": "What each sentence contributes to the score. Null unless the request has `explain`.",
        },
        "tokens": {"type": ["integer", "null"], "description": "Number of tokens that the model read, null if unknown."},
        "dropped_tokens": {
            "type": ["integer", "null"],
            "description": "Number of tokens that the model did not read, null if unknown.",
        },
        "no_text": {
            "type": "boolean",
            "description": "If true, the document has no text. It was not scored, and is at the bottom.",
        },
        "document": {"description": "The document as in the request."},
        "text": {
            "type": ["string", "null"],
            "description": "The document's complete text, made of the fields in rank_fields. Null if it has no text.",
        },
    }
)

DIALECT = Dialect(
    name="podium",
    title="podium",
    paths=("/rank",),
    fields=FIELDS,
    make_call=functools.partial(call_for_question, return_documents=True),
    reply=reply,
    refuses_unknown_fields=True,
    has_missing_scores=True,
    returns_texts=True,
    error=error,
    reply_schema=object_schema(
        {
            "id": {"type": "string"},
            "model": {"type": "string"},
            "revision": {"type": ["string", "null"]},
            "score_kind": {"enum": list(get_args(ScoreKind))},
            "usage": {"type": "object"},
            "degraded": {"type": "boolean", "description": "Whether there are reasons."},
            "reasons": {
                "type": "array",
                "items": {"type": "string"},
                "description": "Why the order is not what the model usually returns.",
            },
            "notes": {"type": "array", "items": {"type": "string"}},
            "results": {"type": "array", "items": RESULT},
        }
    ),
)
