"""The rerank APIs of Cohere (v1 and v2), Jina, Voyage, Together, Pinecone and llama.cpp: one reply with all their fields.

Contracts: docs.cohere.com/reference/rerank, docs.voyageai.com/reference/reranker-api, api.jina.ai/redoc,
docs.together.ai/reference/rerank, docs.pinecone.io/reference/api/inference/rerank. Unknown fields are ignored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from podium.server.dialects.call import Call, Dialect, Refusal, count, echo, field, flag, question
from podium.types import Ranking, Result

__all__ = ["DIALECT"]

PAIRS_PER_SEARCH_UNIT = 100


def read(body: Mapping[str, Any]) -> Call:
    fields = field(body, "rank_fields", list)
    return Call(
        questions=[question(body, "documents")],
        model=field(body, "model", str),
        limit=count(body, "top_n", "top_k"),
        rank_by=fields or None,
        truncate=flag(body, "truncation", default=True),
        echo=flag(body, "return_documents", default=False),
        shape=count(body, "max_tokens_per_doc"),
    )


def reply(call: Call, rankings: Sequence[Ranking], request: str) -> dict[str, Any]:
    (ranking,) = rankings
    results = [_result(call, result) for result in ranking]
    tokens = ranking.usage.tokens or 0
    units = -(-call.documents // PAIRS_PER_SEARCH_UNIT)
    meta: dict[str, Any] = {"api_version": {"version": "2"}, "billed_units": {"search_units": units}}
    if warnings := list(_warnings(call, ranking)):
        meta["warnings"] = warnings
    return {
        "id": request,
        "object": "list",
        "model": call.model or ranking.model,
        "results": results,
        "data": results,
        # Together's clients require completion_tokens, Pinecone's read rerank_units.
        "usage": {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens, "rerank_units": units},
        "meta": meta,
    }


def error(refusal: Refusal, request: str) -> dict[str, Any]:
    """Cohere's SDK reads `message`, Voyage's `detail`."""
    return {"id": request, "message": refusal.message, "detail": refusal.message}


def _result(call: Call, result: Result) -> dict[str, Any]:
    # Pinecone's clients read `score`, all others `relevance_score`.
    fields: dict[str, Any] = {"index": result.index, "relevance_score": result.score, "score": result.score}
    if call.echo:
        fields["document"] = echo(result.document)  # never null, which breaks clients that expect an object
    if result.dropped_tokens:
        fields["dropped_tokens"] = result.dropped_tokens
    return fields


def _warnings(call: Call, ranking: Ranking) -> Iterator[str]:
    yield from ranking.notes
    if call.shape and (over := sum(1 for result in ranking if (result.tokens or 0) > call.shape)):
        yield f"max_tokens_per_doc is not applied: {over} documents were read further than {call.shape} tokens"


REQUEST = {
    "type": "object",
    "required": ["query", "documents"],
    "properties": {
        "model": {"type": ["string", "null"], "description": "A name from /v1/models; the server's first where absent."},
        "query": {"type": "string", "minLength": 1},
        "documents": {
            "type": "array",
            "minItems": 1,
            "items": {"type": ["string", "object"]},
            "description": "Strings, or objects with a field text or content, or with those that rank_fields names.",
        },
        "top_n": {"type": ["integer", "null"], "minimum": 0, "description": "How many results; all where 0, null or absent."},
        "top_k": {"type": ["integer", "null"], "minimum": 0, "description": "The same in Voyage's words."},
        "return_documents": {"type": ["boolean", "null"], "default": False},
        "rank_fields": {"type": ["array", "null"], "items": {"type": "string"}, "description": "The fields that are read."},
        "truncation": {
            "type": ["boolean", "null"],
            "default": True,
            "description": "False: refuse documents longer than is read.",
        },
        "max_tokens_per_doc": {"type": ["integer", "null"], "description": "Accepted; a warning says where it mattered."},
    },
}
_RESULTS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["index", "relevance_score", "score"],
        "properties": {
            "index": {"type": "integer", "description": "The document's place in the request."},
            "relevance_score": {"type": "number"},
            "score": {"type": "number", "description": "The same number, for clients of Pinecone."},
            "document": {"type": "object", "description": "Only where return_documents is true."},
            "dropped_tokens": {"type": "integer", "description": "Only where the model could not read all of the document."},
        },
    },
}
REPLY = {
    "type": "object",
    "required": ["id", "object", "model", "results", "data", "usage", "meta"],
    "properties": {
        "id": {"type": "string"},
        "object": {"const": "list"},
        "model": {"type": "string"},
        "results": {**_RESULTS, "description": "Best first, for clients of Cohere, Jina and Together."},
        "data": {**_RESULTS, "description": "The same, for clients of Voyage and Pinecone."},
        "usage": {"type": "object", "properties": {"total_tokens": {"type": "integer"}}},
        "meta": {"type": "object", "description": "`warnings` says what one should know before trusting the order."},
    },
}

DIALECT = Dialect(
    name="cohere",
    title="Cohere, Jina, Voyage, Together, Pinecone, llama.cpp",
    paths=("/v2/rerank", "/v1/rerank", "/rerank", "/v1/reranking", "/reranking"),
    read=read,
    reply=reply,
    error=error,
    request_schema=REQUEST,
    reply_schema=REPLY,
)
