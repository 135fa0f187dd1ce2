"""vLLM's score API: a score for each pair of a first text and a second text.

If there is only one first text, it is paired with every second text.

Contract: docs.vllm.ai, "Score API". vLLM's rerank API is Cohere's.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from podium.server.dialects.call import Call, Question, Refusal
from podium.server.dialects.dialect import Dialect, token_usage
from podium.server.dialects.fields import FLAG, INSTRUCTION, MODEL, Field, Kind, is_string_list, list_schema, object_schema
from podium.types import Ranking

__all__ = ["DIALECT"]

ERROR_TYPES = {400: "BadRequestError", 401: "AuthenticationError", 404: "NotFoundError", 429: "RateLimitError"}


def _text_list(value: Any) -> list[str]:
    """Return the texts as a list. `value` is one text or a list of texts."""
    texts = [value] if isinstance(value, str) else value
    if not texts or not is_string_list(texts):
        raise ValueError
    return list(texts)


TEXT_OR_TEXTS = Kind(
    "a string, or a list with at least one string, and only strings",
    {"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "minItems": 1, "items": {"type": "string"}}]},
    _text_list,
)

FIELDS = (
    MODEL,
    Field(
        "text_1",
        TEXT_OR_TEXTS,
        "Also accepted as queries or data_1.",
        argument="first_texts",
        required=True,
        aliases=("queries", "data_1"),
    ),
    Field(
        "text_2",
        TEXT_OR_TEXTS,
        "Also accepted as documents or data_2.",
        argument="second_texts",
        required=True,
        aliases=("documents", "data_2"),
    ),
    Field(
        "instruction",
        INSTRUCTION,
        "Description of relevant second texts. Refused if the model does not read instructions.",
        argument="instruction",
    ),
    Field("truncate", FLAG, "If false, texts longer than the model reads are refused.", argument="truncate", default=True),
)


def call_for_pairs(first_texts: list[str], second_texts: list[str], **options: Any) -> Call:
    """Return the Call for pairs of texts. Each distinct first text is the query of one question.

    The call's `extra` has, for each question, the positions of its pairs in the request. Raises Refusal if there are several
    first texts, but not as many as second texts.
    """
    if len(first_texts) not in (1, len(second_texts)):
        numbers = f"text_1 has {len(first_texts)} texts and text_2 has {len(second_texts)}"
        raise Refusal(400, f"{numbers}; text_1 must have one text, or as many as text_2")
    positions_by_query: dict[str, list[int]] = {}
    for position in range(len(second_texts)):
        query = first_texts[position % len(first_texts)]  # a single first text is in all pairs
        positions_by_query.setdefault(query, []).append(position)
    questions = [
        Question(query, [second_texts[position] for position in positions]) for query, positions in positions_by_query.items()
    ]
    return Call(questions=questions, extra=list(positions_by_query.values()), **options)


def reply(call: Call, rankings: Sequence[Ranking], request_id: str) -> dict[str, Any]:
    scores = [0.0] * call.document_count  # in the order of the pairs in the request
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
    error_type = ERROR_TYPES.get(refusal.status, "BadRequestError" if refusal.status < 500 else "InternalServerError")
    return {"error": {"message": refusal.message, "type": error_type, "param": None, "code": refusal.status}}


RESULT = object_schema({"index": {"type": "integer"}, "object": {"const": "score"}, "score": {"type": "number"}})

DIALECT = Dialect(
    name="vllm",
    title="vLLM",
    paths=("/v1/score", "/score"),
    fields=FIELDS,
    make_call=call_for_pairs,
    reply=reply,
    error=error,
    reply_schema=list_schema(RESULT, created={"type": "integer"}),
)
