"""What each provider is sent and answers: one recorded pair a row, from its specification or its own client."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

QUERY, TEXTS = "red fruit", ["a sea", "an apple", "a cherry"]
SCORES = [0.1, 0.9, 0.6]


@dataclass(frozen=True)
class Contract:
    """`reply` gives TEXTS the SCORES, best first as the providers do. `base`: what to add to the server's address."""

    provider: str
    model: str
    path: str
    body: dict[str, Any]
    reply: Any
    header: tuple[str, str] = ("Authorization", "Bearer secret-key")
    tokens: int | None = None
    billed: dict[str, float] = field(default_factory=dict)


def ranked(score_key: str) -> list[dict[str, Any]]:
    return [{"index": at, score_key: SCORES[at]} for at in (1, 2, 0)]


COHERE = {"model": "rerank-v3.5", "query": QUERY, "documents": TEXTS, "top_n": 3}
COHERE_REPLY = {
    "id": "a1",
    "results": ranked("relevance_score"),
    "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
}
JINA_REPLY = {"model": "m", "usage": {"total_tokens": 12}, "results": ranked("relevance_score")}
PASSAGES = {"query": {"text": QUERY}, "passages": [{"text": text} for text in TEXTS], "truncate": "END"}

CONTRACTS = (
    Contract("cohere", "rerank-v3.5", "/v2/rerank", COHERE, COHERE_REPLY, billed={"search_units": 1}),
    Contract(
        "voyage",
        "rerank-2.5",
        "/v1/rerank",
        {"model": "rerank-2.5", "query": QUERY, "documents": TEXTS, "top_k": 3, "return_documents": False, "truncation": True},
        {"object": "list", "data": ranked("relevance_score"), "model": "rerank-2.5", "usage": {"total_tokens": 26}},
        tokens=26,
    ),
    Contract(
        "jina",
        "jina-reranker-v2-base-multilingual",
        "/v1/rerank",
        {
            "model": "jina-reranker-v2-base-multilingual",
            "query": QUERY,
            "documents": TEXTS,
            "top_n": 3,
            "return_documents": False,
        },
        JINA_REPLY,
        tokens=12,
    ),
    Contract(
        "mixedbread",
        "mixedbread-ai/mxbai-rerank-large-v2",
        "/v1/reranking",
        {"model": "mixedbread-ai/mxbai-rerank-large-v2", "query": QUERY, "input": TEXTS, "top_k": 3, "return_input": False},
        {
            "usage": {"prompt_tokens": 9, "total_tokens": 9},
            "model": "m",
            "data": ranked("score"),
            "top_k": 3,
            "return_input": False,
        },
        tokens=9,
    ),
    Contract(
        "together",
        "Salesforce/Llama-Rank-V1",
        "/v1/rerank",
        {"model": "Salesforce/Llama-Rank-V1", "query": QUERY, "documents": TEXTS, "top_n": 3, "return_documents": False},
        {"object": "rerank", "id": "x", "model": "m", "results": ranked("relevance_score"), "usage": {"total_tokens": 7}},
        tokens=7,
    ),
    Contract(
        "fireworks",
        "accounts/fireworks/models/qwen3-reranker-8b",
        "/inference/v1/rerank",
        {
            "model": "accounts/fireworks/models/qwen3-reranker-8b",
            "query": QUERY,
            "documents": TEXTS,
            "top_n": 3,
            "return_documents": False,
        },
        {"object": "list", "model": "m", "data": ranked("relevance_score"), "usage": {"prompt_tokens": 5, "total_tokens": 5}},
        tokens=5,
    ),
    Contract(
        "pinecone",
        "bge-reranker-v2-m3",
        "/rerank",
        {
            "model": "bge-reranker-v2-m3",
            "query": QUERY,
            "documents": [{"text": text} for text in TEXTS],
            "top_n": 3,
            "return_documents": False,
        },
        {"model": "bge-reranker-v2-m3", "data": ranked("score"), "usage": {"rerank_units": 1}},
        header=("Api-Key", "secret-key"),
        billed={"rerank_units": 1},
    ),
    Contract(
        "nvidia",
        "nvidia/llama-3.2-nv-rerankqa-1b-v2",
        "/v1/retrieval/nvidia/llama-3_2-nv-rerankqa-1b-v2/reranking",
        {"model": "nvidia/llama-3.2-nv-rerankqa-1b-v2", **PASSAGES},
        {"rankings": ranked("logit")},
    ),
    Contract(
        "nim",
        "nvidia/llama-3.2-nv-rerankqa-1b-v2",
        "/v1/ranking",
        {"model": "nvidia/llama-3.2-nv-rerankqa-1b-v2", **PASSAGES},
        {"rankings": ranked("logit")},
    ),
    Contract(
        "zeroentropy",
        "zerank-2",
        "/v1/models/rerank",
        {"model": "zerank-2", "query": QUERY, "documents": TEXTS, "top_n": 3},
        {"results": ranked("relevance_score"), "total_tokens": 11, "total_bytes": 470, "actual_latency_mode": "fast"},
        tokens=11,
        billed={"bytes": 470},
    ),
    Contract(
        "contextual",
        "ctxl-rerank-v2-instruct-multilingual",
        "/v1/rerank",
        {"model": "ctxl-rerank-v2-instruct-multilingual", "query": QUERY, "documents": TEXTS, "top_n": 3},
        {"results": ranked("relevance_score")},
    ),
    Contract(
        "isaacus",
        "kanon-universal-classifier",
        "/v1/rerankings",
        {"model": "kanon-universal-classifier", "query": QUERY, "texts": TEXTS, "top_n": 3},
        {"results": ranked("score"), "usage": {"input_tokens": 19}},
        tokens=19,
    ),
    Contract(
        "azure",
        "rerank-v3.5",
        "/providers/cohere/v2/rerank",
        COHERE,
        COHERE_REPLY,
        billed={"search_units": 1},
    ),
    Contract(
        "tei",
        "",
        "/rerank",
        {"query": QUERY, "texts": TEXTS, "raw_scores": False, "return_text": False, "truncate": True},
        ranked("score"),
    ),
    Contract(
        "vllm",
        "BAAI/bge-reranker-v2-m3",
        "/rerank",
        {"model": "BAAI/bge-reranker-v2-m3", "query": QUERY, "documents": TEXTS, "top_n": 3},
        {
            "id": "rerank-1",
            "model": "BAAI/bge-reranker-v2-m3",
            "usage": {"prompt_tokens": 8, "total_tokens": 8},
            "results": [
                {**each, "document": {"text": TEXTS[each["index"]], "multi_modal": None}} for each in ranked("relevance_score")
            ],
        },
        tokens=8,
    ),
    Contract(
        "infinity",
        "mixedbread-ai/mxbai-rerank-xsmall-v1",
        "/rerank",
        {
            "model": "mixedbread-ai/mxbai-rerank-xsmall-v1",
            "query": QUERY,
            "documents": TEXTS,
            "top_n": 3,
            "return_documents": False,
        },
        {
            "object": "rerank",
            "results": [{**each, "document": None} for each in ranked("relevance_score")],
            "model": "m",
            "usage": {"prompt_tokens": 6, "total_tokens": 6},
            "id": "infinity-1",
            "created": 1,
        },
        tokens=6,
    ),
    Contract(
        "llamacpp",
        "bge-reranker-v2-m3",
        "/v1/rerank",
        {"model": "bge-reranker-v2-m3", "query": QUERY, "documents": TEXTS, "top_n": 3},
        {
            "model": "m",
            "object": "list",
            "usage": {"prompt_tokens": 4, "total_tokens": 4},
            "results": ranked("relevance_score"),
        },
        tokens=4,
    ),
)


def reply_for(contract: Contract, scores: list[Any], indices: list[Any] | None = None) -> bytes:
    """Return the contract's reply with other scores, or other indices, in its own shape."""
    text = json.dumps(contract.reply)
    payload = json.loads(text)
    results = payload if isinstance(payload, list) else next(value for value in payload.values() if isinstance(value, list))
    key = next(name for name in results[0] if name in ("relevance_score", "score", "logit"))
    at = range(len(scores)) if indices is None else indices
    results[:] = [{"index": index, key: score} for index, score in zip(at, scores, strict=True)]
    return json.dumps(payload).encode()
