"""The rerank APIs of Cohere (v1 and v2), Jina, Voyage, Together, Pinecone and llama.cpp. A reply has the fields of all of them.

Contracts: docs.cohere.com/reference/rerank, docs.voyageai.com/reference/reranker-api, api.jina.ai/redoc,
docs.together.ai/reference/rerank, docs.pinecone.io/reference/api/inference/rerank. The rerank API of vLLM and Contextual AI is
Cohere's with the field `instruction`. Unknown fields are ignored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from podium.documents import as_json
from podium.server.dialects.call import Call, Refusal
from podium.server.dialects.dialect import Dialect, token_usage
from podium.server.dialects.fields import (
    COUNT,
    DOCUMENTS,
    FIELD_NAMES,
    FLAG,
    INSTRUCTION,
    MODEL,
    QUERY,
    Field,
    list_schema,
    object_schema,
)
from podium.types import Ranking, Result

__all__ = ["DIALECT"]

DOCUMENTS_PER_SEARCH_UNIT = 100  # Cohere bills a request by units of 100 documents

FIELDS = (
    MODEL,
    QUERY,
    Field(
        "documents",
        DOCUMENTS,
        "Strings, or objects with a field text or content, or with the fields that rank_fields names.",
        argument="documents",
        required=True,
    ),
    Field("top_n", COUNT, "Number of results. All if 0, null or absent.", argument="limit"),
    Field("top_k", COUNT, "Number of results, for clients of Voyage. Ignored if top_n is present.", argument="limit"),
    Field("return_documents", FLAG, "Whether results contain their documents.", argument="return_documents", default=False),
    Field("rank_fields", FIELD_NAMES, "Names of the document fields that the model reads, in this order.", argument="rank_by"),
    Field(
        "instruction",
        INSTRUCTION,
        "Description of relevant documents, for clients of vLLM and Contextual AI. Refused if the model reads none.",
        argument="instruction",
    ),
    Field(
        "truncation", FLAG, "If false, documents longer than the model reads are refused.", argument="truncate", default=True
    ),
    Field(
        "max_tokens_per_doc",
        COUNT,
        "Not applied. The reply has a warning if the model read more tokens of a document in the results.",
        argument="extra",
    ),
)


def reply(call: Call, rankings: Sequence[Ranking], request_id: str) -> dict[str, Any]:
    """Return the body of the reply to a call. A call of this API has one query, so there is one ranking."""
    (ranking,) = rankings
    results = [_result(result, call.return_documents) for result in ranking]
    search_units = math.ceil(call.document_count / DOCUMENTS_PER_SEARCH_UNIT)
    meta: dict[str, Any] = {"api_version": {"version": "2"}, "billed_units": {"search_units": search_units}}
    if warnings := _warnings(ranking, max_tokens_per_doc=call.extra):
        meta["warnings"] = warnings
    return {
        "id": request_id,
        "object": "list",
        "model": call.model or ranking.model,
        "results": results,
        "data": results,
        "usage": {**token_usage(rankings), "rerank_units": search_units},  # Pinecone's clients read rerank_units
        "meta": meta,
    }


def error(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """Return the body of an error. Cohere's SDK reads `message`, Voyage's SDK reads `detail`."""
    return {"id": request_id, "message": refusal.message, "detail": refusal.message}


def _result(result: Result, return_document: bool) -> dict[str, Any]:
    # Pinecone's clients read `score`, all others `relevance_score`.
    fields: dict[str, Any] = {"index": result.index, "relevance_score": result.score, "score": result.score}
    if return_document:
        document = as_json(result.document)
        # Clients fail if `document` is a string.
        fields["document"] = document if isinstance(document, dict) else {"text": document}
    if result.dropped_tokens:
        fields["dropped_tokens"] = result.dropped_tokens
    return fields


def _warnings(ranking: Ranking, max_tokens_per_doc: int | None) -> list[str]:
    """Return the notes of a ranking, and a warning if the model read more tokens of a document than the request allows."""
    warnings = list(ranking.notes)
    if max_tokens_per_doc is not None:
        longer_count = sum(1 for result in ranking if (result.tokens or 0) > max_tokens_per_doc)  # tokens is None if unknown
        if longer_count:
            problem = f"the model read more than {max_tokens_per_doc} tokens of each of {longer_count} documents"
            warnings.append(f"max_tokens_per_doc is not applied: {problem}")
    return warnings


RESULT = object_schema(
    {
        "index": {"type": "integer", "description": "The document's position in the request, from 0."},
        "relevance_score": {"type": "number"},
        "score": {"type": "number", "description": "Equal to relevance_score, for clients of Pinecone."},
        "document": {"type": "object", "description": "Present if return_documents is true."},
        "dropped_tokens": {
            "type": "integer",
            "description": "Number of the document's tokens that the model did not read. Absent if that is 0 or unknown.",
        },
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
        RESULT,
        results={
            "type": "array",
            "items": RESULT,
            "description": "Equal to data, for clients of Cohere, Jina and Together. Clients of Voyage and Pinecone read data.",
        },
        meta={"type": "object", "description": "The search units, and warnings, for example about truncated documents."},
    ),
)
