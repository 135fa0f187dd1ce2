"""The rerank API of Text Embeddings Inference: all texts are ranked, and the reply is a list, best first.

Contract: huggingface/text-embeddings-inference, router/src/http. TEI has no `top_n`. It ignores unknown fields, and so
does this dialect.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from podium.documents import as_json
from podium.server.dialects.call import Call, Refusal
from podium.server.dialects.dialect import Dialect
from podium.server.dialects.fields import FLAG, MODEL, QUERY, STRINGS, Field, object_schema
from podium.server.dialects.scales import as_logit, as_sigmoid
from podium.types import Ranking

__all__ = ["DIALECT"]

ERROR_TYPES = {400: "Validation", 422: "Validation", 413: "Validation", 424: "Backend", 429: "Overloaded", 503: "Unhealthy"}

FIELDS = (
    MODEL,  # TEI itself does not have this field, because it serves one model
    QUERY,
    Field("texts", STRINGS, argument="documents", required=True),
    Field("truncate", FLAG, "If false, texts longer than the model reads are refused.", argument="truncate", default=True),
    Field("raw_scores", FLAG, "Whether scores are logits, not numbers from 0 to 1.", argument="as_logits", default=False),
    Field("return_text", FLAG, "Whether results contain their texts.", argument="return_documents", default=False),
)


def reply(call: Call, rankings: Sequence[Ranking], request_id: str) -> list[dict[str, Any]]:
    (ranking,) = rankings  # a request has one query
    convert_score = as_logit if call.as_logits else as_sigmoid
    results = []
    for result in ranking:
        entry: dict[str, Any] = {"index": result.index, "score": convert_score(result.score, ranking.score_kind)}
        if call.return_documents:
            entry["text"] = as_json(result.document)
        results.append(entry)
    return results


def error(refusal: Refusal, request_id: str) -> dict[str, Any]:
    return {"error": refusal.message, "error_type": ERROR_TYPES.get(refusal.status, "Backend")}


RESULT = object_schema(
    {"index": {"type": "integer"}, "score": {"type": "number"}, "text": {"type": "string"}}, required=["index", "score"]
)

DIALECT = Dialect(
    name="tei",
    title="Text Embeddings Inference",
    paths=("/rerank", "/reranking", "/v1/rerank", "/v1/reranking"),  # TEI has only the first path; llama.cpp has all
    fields=FIELDS,
    reply=reply,
    error=error,
    reply_schema={"type": "array", "items": RESULT},
    invalid_status=422,
    marker="texts",
)
