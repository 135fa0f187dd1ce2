"""The rerank APIs of Cohere (v1 and v2), Jina, Voyage, Together, Pinecone and llama.cpp: one reply with all their fields.

Contracts: docs.cohere.com/reference/rerank, docs.voyageai.com/reference/reranker-api, api.jina.ai/redoc,
docs.together.ai/reference/rerank, docs.pinecone.io/reference/api/inference/rerank. Unknown fields are ignored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from podium.documents import as_json
from podium.server.dialects.call import Call, Refusal
from podium.server.dialects.dialect import Dialect, token_usage
from podium.server.dialects.fields import COUNT, DOCUMENTS, FLAG, MODEL, NAMES, QUERY, Field, list_schema, object_schema
from podium.types import Ranking, Result

__all__ = ["DIALECT"]

PAIRS_PER_SEARCH_UNIT = 100

FIELDS = (
    MODEL,
    QUERY,
    Field(
        "documents",
        DOCUMENTS,
        "documents",
        "Strings, or objects with a field text or content, or with the fields that rank_fields names.",
        required=True,
    ),
    Field("top_n", COUNT, "limit", "Number of results. All if 0, null or absent."),
    Field("top_k", COUNT, "limit", "The same, for clients of Voyage."),
    Field("return_documents", FLAG, "echo", "Whether results contain their documents.", default=False),
    Field("rank_fields", NAMES, "rank_by", "The fields of the documents that are read."),
    Field("truncation", FLAG, "truncate", "If false, documents longer than the model reads are refused.", default=True),
    Field("max_tokens_per_doc", COUNT, "extra", "Not applied. A warning says if it would have changed the scores."),
)


def reply(call: Call, rankings: Sequence[Ranking], request_id: str) -> dict[str, Any]:
    (ranking,) = rankings
    results = [_result(call, result) for result in ranking]
    units = -(-call.documents // PAIRS_PER_SEARCH_UNIT)
    meta: dict[str, Any] = {"api_version": {"version": "2"}, "billed_units": {"search_units": units}}
    if warnings := list(_warnings(call, ranking)):
        meta["warnings"] = warnings
    return {
        "id": request_id,
        "object": "list",
        "model": call.model or ranking.model,
        "results": results,
        "data": results,
        "usage": {**token_usage(rankings), "rerank_units": units},  # Pinecone's clients read rerank_units
        "meta": meta,
    }


def error(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """Return the error's body. Cohere's SDK reads `message`, Voyage's `detail`."""
    return {"id": request_id, "message": refusal.message, "detail": refusal.message}


def _result(call: Call, result: Result) -> dict[str, Any]:
    # Pinecone's clients read `score`, all others `relevance_score`.
    fields: dict[str, Any] = {"index": result.index, "relevance_score": result.score, "score": result.score}
    if call.echo:  # an object, because null breaks clients that expect one
        document = as_json(result.document)
        fields["document"] = document if isinstance(document, dict) else {"text": document}
    if result.dropped_tokens:
        fields["dropped_tokens"] = result.dropped_tokens
    return fields


def _warnings(call: Call, ranking: Ranking) -> Iterator[str]:
    yield from ranking.notes
    max_tokens = call.extra
    if max_tokens and (longer := sum(1 for result in ranking if (result.tokens or 0) > max_tokens)):
        yield f"max_tokens_per_doc is not applied: more than {max_tokens} tokens were read of {longer} documents"


RESULT = object_schema(
    {
        "index": {"type": "integer", "description": "The document's position in the request, from 0."},
        "relevance_score": {"type": "number"},
        "score": {"type": "number", "description": "The same number, for clients of Pinecone."},
        "document": {"type": "object", "description": "Present if return_documents is true."},
        "dropped_tokens": {"type": "integer", "description": "Present if the model could not read all of the document."},
    },
    required=["index", "relevance_score", "score"],
)

DIALECT = Dialect(
    name="cohere",
    title="Cohere, Jina, Voyage, Together, Pinecone, llama.cpp",
    paths=("/v2/rerank", "/v1/rerank", "/rerank", "/v1/reranking", "/reranking"),
    fields=FIELDS,
    reply=reply,
    error=error,
    reply_schema=list_schema(
        RESULT,  # in data, for clients of Voyage and Pinecone
        results={
            "type": "array",
            "items": RESULT,
            "description": "The same as data, for clients of Cohere, Jina and Together.",
        },
        meta={"type": "object", "description": "`warnings` should be read before relying on the order."},
    ),
)
