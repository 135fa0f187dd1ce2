"""Mixedbread's reranking API: documents are in `input`, results in `data`.

Contract: the types of its SDK (package mixedbread). `rewrite_query` is ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from podium.documents import as_json
from podium.server.dialects.call import Call
from podium.server.dialects.cohere import error
from podium.server.dialects.dialect import Dialect, token_usage
from podium.server.dialects.fields import COUNT, DOCUMENTS, FIELD_NAMES, FLAG, MODEL, QUERY, Field, list_schema, object_schema
from podium.types import Ranking, Result

__all__ = ["DIALECT"]

FIELDS = (
    MODEL,
    QUERY,
    Field("input", DOCUMENTS, "Strings, or objects.", argument="documents", required=True),
    Field("top_k", COUNT, "Number of results. All if 0, null or absent.", argument="limit"),
    Field("rank_fields", FIELD_NAMES, "Names of the document fields that the model reads, in this order.", argument="rank_by"),
    Field("return_input", FLAG, "Whether results contain their documents.", argument="return_documents", default=False),
)


def reply(call: Call, rankings: Sequence[Ranking], request_id: str) -> dict[str, Any]:
    (ranking,) = rankings  # a request has one query
    return {
        "id": request_id,
        "object": "list",
        "model": call.model or ranking.model,
        "data": [_result(call, result) for result in ranking],
        "usage": token_usage(rankings),
        "top_k": len(ranking),
        "return_input": call.return_documents,
    }


def _result(call: Call, result: Result) -> dict[str, Any]:
    fields: dict[str, Any] = {"index": result.index, "score": result.score, "object": "rank_result"}
    if call.return_documents:
        fields["input"] = as_json(result.document)
    return fields


DIALECT = Dialect(
    name="mixedbread",
    title="Mixedbread",
    paths=("/v1/reranking", "/reranking"),
    fields=FIELDS,
    reply=reply,
    error=error,
    reply_schema=list_schema(
        object_schema({"index": {"type": "integer"}, "score": {"type": "number"}}),
        top_k={"type": "integer"},
        return_input={"type": "boolean"},
    ),
    marker="input",
)
