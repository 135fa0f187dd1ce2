"""The API of Weaviate's reranker-transformers container: a score for each document, in the order of the request.

Contract: weaviate/weaviate, modules/reranker-transformers.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from podium.documents import as_json
from podium.server.dialects.call import Call, Refusal
from podium.server.dialects.dialect import Dialect, call_for_question
from podium.server.dialects.fields import QUERY, STRING, STRINGS, Field, object_schema
from podium.types import Ranking

__all__ = ["DIALECT"]

FIELDS = (
    QUERY,
    Field("documents", STRINGS, argument="documents", required=True),
    Field("property", STRING, description="Name of the property of Weaviate objects from which the documents come. Not used."),
)


def reply(call: Call, rankings: Sequence[Ranking], request_id: str) -> dict[str, Any]:
    (ranking,) = rankings  # a request has one query
    in_request_order = sorted(ranking, key=lambda result: result.index)
    return {"scores": [{"document": as_json(result.document), "score": result.score} for result in in_request_order]}


def error(refusal: Refusal, request_id: str) -> dict[str, Any]:
    return {"error": refusal.message}


DIALECT = Dialect(
    name="weaviate",
    title="Weaviate",
    paths=("/rerank",),
    fields=FIELDS,
    make_call=functools.partial(call_for_question, return_documents=True),
    reply=reply,
    error=error,
    reply_schema=object_schema(
        {"scores": {"type": "array", "items": object_schema({"document": {"type": "string"}, "score": {"type": "number"}})}}
    ),
    marker="property",
)
