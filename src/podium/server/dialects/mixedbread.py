"""Mixedbread's reranking API: documents are in `input`, results in `data`.

Contract: the types of its SDK (package mixedbread). `rewrite_query` is ignored.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from podium.documents import as_json
from podium.server.dialects.call import Call, Dialect
from podium.server.dialects.cohere import error
from podium.server.dialects.fields import (
    COUNT,
    DOCUMENTS,
    FLAG,
    MODEL,
    NAMES,
    QUERY,
    Field,
    object_schema,
    read_call,
    request_schema,
)
from podium.types import Ranking, Result

__all__ = ["DIALECT"]

FIELDS = (
    MODEL,
    QUERY,
    Field("input", DOCUMENTS, "documents", "Strings, or objects.", required=True),
    Field("top_k", COUNT, "limit", "Number of results. All if 0, null or absent."),
    Field("rank_fields", NAMES, "rank_by", "The fields of the documents that are read."),
    Field("return_input", FLAG, "echo", "Whether results contain their documents.", default=False),
)


def reply(call: Call, rankings: Sequence[Ranking], request_id: str) -> dict[str, Any]:
    (ranking,) = rankings
    tokens = ranking.usage.tokens or 0
    return {
        "id": request_id,
        "object": "list",
        "model": call.model or ranking.model,
        "data": [_result(call, result) for result in ranking],
        "usage": {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens},
        "top_k": len(ranking),
        "return_input": call.echo,
    }


def _result(call: Call, result: Result) -> dict[str, Any]:
    fields: dict[str, Any] = {"index": result.index, "score": result.score, "object": "rank_result"}
    if call.echo:
        fields["input"] = as_json(result.document)
    return fields


DIALECT = Dialect(
    name="mixedbread",
    title="Mixedbread",
    paths=("/v1/reranking", "/reranking"),
    read=functools.partial(read_call, FIELDS),
    reply=reply,
    error=error,
    request_schema=request_schema(FIELDS),
    reply_schema=object_schema(
        {
            "id": {"type": "string"},
            "object": {"const": "list"},
            "model": {"type": "string"},
            "data": {"type": "array", "items": object_schema({"index": {"type": "integer"}, "score": {"type": "number"}})},
            "usage": {"type": "object"},
            "top_k": {"type": "integer"},
            "return_input": {"type": "boolean"},
        }
    ),
    marker="input",
)
