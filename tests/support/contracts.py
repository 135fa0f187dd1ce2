"""A request and its reply for each provider, from the provider's specification or from its own client."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import podium
from podium.hosted.providers import find_provider

QUERY = "red fruit"
TEXTS = ["a sea", "an apple", "a cherry"]
SCORES = [0.1, 0.9, 0.6]
KEY = "secret-key"
OWN_SERVER = "http://your-server"  # for providers that users run themselves


@dataclass(frozen=True)
class Contract:
    """The request that ranks TEXTS for QUERY with the key KEY, and a reply with the SCORES of TEXTS, best first.

    - `url`: the documented URL of the request.
    - `header`: the name and value of the header with the key.
    - `tokens`, `billed`: the usage that the reply contains.
    """

    provider: str
    model: str
    url: str
    body: dict[str, Any]
    reply: Any
    header: tuple[str, str] = ("Authorization", f"Bearer {KEY}")
    tokens: int | None = None
    billed: dict[str, float] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    def load(self, base_url: str, **options: Any) -> podium.Reranker:
        """Return a reranker for a server at `base_url`."""
        options = {"api_key": KEY, "timeout": 20.0, "retries": 0} | options
        return podium.load(f"{self.provider}:{self.model}", base_url=base_url, **options)

    def reply_with(self, scores: list[Any], indices: list[Any] | None = None) -> bytes:
        """Return the reply's body with these scores, in this order. By default their indices are 0, 1, 2 …"""
        payload = copy.deepcopy(self.reply)
        lists = [payload] if isinstance(payload, list) else [value for value in payload.values() if isinstance(value, list)]
        results = lists[0]
        score_key = find_provider(self.provider).score_key
        if indices is None:
            indices = list(range(len(scores)))
        results[:] = [{"index": index, score_key: score} for index, score in zip(indices, scores, strict=True)]
        return json.dumps(payload).encode()


def best_first(score_key: str) -> list[dict[str, Any]]:
    return [{"index": index, score_key: SCORES[index]} for index in (1, 2, 0)]


COHERE_BODY = {"model": "rerank-v3.5", "query": QUERY, "documents": TEXTS, "top_n": 3}
COHERE_REPLY = {
    "id": "a1",
    "results": best_first("relevance_score"),
    "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
}
NVIDIA_BODY = {
    "model": "nvidia/llama-3.2-nv-rerankqa-1b-v2",
    "query": {"text": QUERY},
    "passages": [{"text": text} for text in TEXTS],
    "truncate": "END",
}

CONTRACTS = (
    Contract(
        provider="cohere",
        model="rerank-v3.5",
        url="https://api.cohere.com/v2/rerank",
        body=COHERE_BODY,
        reply=COHERE_REPLY,
        billed={"search_units": 1},
    ),
    Contract(
        provider="voyage",
        model="rerank-2.5",
        url="https://api.voyageai.com/v1/rerank",
        body={
            "model": "rerank-2.5",
            "query": QUERY,
            "documents": TEXTS,
            "top_k": 3,
            "return_documents": False,
            "truncation": True,
        },
        reply={"object": "list", "data": best_first("relevance_score"), "model": "rerank-2.5", "usage": {"total_tokens": 26}},
        tokens=26,
    ),
    Contract(
        provider="jina",
        model="jina-reranker-v2-base-multilingual",
        url="https://api.jina.ai/v1/rerank",
        body={
            "model": "jina-reranker-v2-base-multilingual",
            "query": QUERY,
            "documents": TEXTS,
            "top_n": 3,
            "return_documents": False,
        },
        reply={"model": "m", "usage": {"total_tokens": 12}, "results": best_first("relevance_score")},
        tokens=12,
    ),
    Contract(
        provider="mixedbread",
        model="mixedbread-ai/mxbai-rerank-large-v2",
        url="https://api.mixedbread.com/v1/reranking",
        body={
            "model": "mixedbread-ai/mxbai-rerank-large-v2",
            "query": QUERY,
            "input": TEXTS,
            "top_k": 3,
            "return_input": False,
        },
        reply={
            "usage": {"prompt_tokens": 9, "total_tokens": 9},
            "model": "m",
            "data": best_first("score"),
            "top_k": 3,
            "return_input": False,
        },
        tokens=9,
    ),
    Contract(
        provider="together",
        model="Salesforce/Llama-Rank-V1",
        url="https://api.together.ai/v1/rerank",
        body={"model": "Salesforce/Llama-Rank-V1", "query": QUERY, "documents": TEXTS, "top_n": 3, "return_documents": False},
        reply={
            "object": "rerank",
            "id": "x",
            "model": "m",
            "results": best_first("relevance_score"),
            "usage": {"total_tokens": 7},
        },
        tokens=7,
    ),
    Contract(
        provider="fireworks",
        model="accounts/fireworks/models/qwen3-reranker-8b",
        url="https://api.fireworks.ai/inference/v1/rerank",
        body={
            "model": "accounts/fireworks/models/qwen3-reranker-8b",
            "query": QUERY,
            "documents": TEXTS,
            "top_n": 3,
            "return_documents": False,
        },
        reply={
            "object": "list",
            "model": "m",
            "data": best_first("relevance_score"),
            "usage": {"prompt_tokens": 5, "total_tokens": 5},
        },
        tokens=5,
    ),
    Contract(
        provider="pinecone",
        model="bge-reranker-v2-m3",
        url="https://api.pinecone.io/rerank",
        body={
            "model": "bge-reranker-v2-m3",
            "query": QUERY,
            "documents": [{"text": text} for text in TEXTS],
            "top_n": 3,
            "return_documents": False,
        },
        reply={"model": "bge-reranker-v2-m3", "data": best_first("score"), "usage": {"rerank_units": 1}},
        header=("Api-Key", KEY),
        billed={"rerank_units": 1},
    ),
    Contract(
        provider="nvidia",
        model="nvidia/llama-3.2-nv-rerankqa-1b-v2",
        url="https://ai.api.nvidia.com/v1/retrieval/nvidia/llama-3_2-nv-rerankqa-1b-v2/reranking",
        body=NVIDIA_BODY,
        reply={"rankings": best_first("logit")},
    ),
    Contract(
        provider="nim",
        model="nvidia/llama-3.2-nv-rerankqa-1b-v2",
        url=f"{OWN_SERVER}/v1/ranking",
        body=NVIDIA_BODY,
        reply={"rankings": best_first("logit")},
    ),
    Contract(
        provider="zeroentropy",
        model="zerank-2",
        url="https://api.zeroentropy.dev/v1/models/rerank",
        body={"model": "zerank-2", "query": QUERY, "documents": TEXTS, "top_n": 3},
        reply={"results": best_first("relevance_score"), "total_tokens": 11, "total_bytes": 470, "actual_latency_mode": "fast"},
        tokens=11,
        billed={"bytes": 470},
    ),
    Contract(
        provider="contextual",
        model="ctxl-rerank-v2-instruct-multilingual",
        url="https://api.contextual.ai/v1/rerank",
        body={"model": "ctxl-rerank-v2-instruct-multilingual", "query": QUERY, "documents": TEXTS, "top_n": 3},
        reply={"results": best_first("relevance_score")},
    ),
    Contract(
        provider="isaacus",
        model="kanon-universal-classifier",
        url="https://api.isaacus.com/v1/rerankings",
        body={"model": "kanon-universal-classifier", "query": QUERY, "texts": TEXTS, "top_n": 3},
        reply={"results": best_first("score"), "usage": {"input_tokens": 19}},
        tokens=19,
    ),
    Contract(
        provider="azure",
        model="rerank-v3.5",
        url=f"{OWN_SERVER}/providers/cohere/v2/rerank",
        body=COHERE_BODY,
        reply=COHERE_REPLY,
        billed={"search_units": 1},
    ),
    Contract(
        provider="tei",
        model="",
        url=f"{OWN_SERVER}/rerank",
        body={"query": QUERY, "texts": TEXTS, "raw_scores": False, "return_text": False, "truncate": True},
        reply=best_first("score"),
    ),
    Contract(
        provider="vllm",
        model="BAAI/bge-reranker-v2-m3",
        url=f"{OWN_SERVER}/rerank",
        body={"model": "BAAI/bge-reranker-v2-m3", "query": QUERY, "documents": TEXTS, "top_n": 3},
        reply={
            "id": "rerank-1",
            "model": "BAAI/bge-reranker-v2-m3",
            "usage": {"prompt_tokens": 8, "total_tokens": 8},
            "results": [
                {**result, "document": {"text": TEXTS[result["index"]], "multi_modal": None}}
                for result in best_first("relevance_score")
            ],
        },
        tokens=8,
    ),
    Contract(
        provider="infinity",
        model="mixedbread-ai/mxbai-rerank-xsmall-v1",
        url=f"{OWN_SERVER}/rerank",
        body={
            "model": "mixedbread-ai/mxbai-rerank-xsmall-v1",
            "query": QUERY,
            "documents": TEXTS,
            "top_n": 3,
            "return_documents": False,
        },
        reply={
            "object": "rerank",
            "results": [{**result, "document": None} for result in best_first("relevance_score")],
            "model": "m",
            "usage": {"prompt_tokens": 6, "total_tokens": 6},
            "id": "infinity-1",
            "created": 1,
        },
        tokens=6,
    ),
    Contract(
        provider="llamacpp",
        model="bge-reranker-v2-m3",
        url=f"{OWN_SERVER}/v1/rerank",
        body={"model": "bge-reranker-v2-m3", "query": QUERY, "documents": TEXTS, "top_n": 3},
        reply={
            "model": "m",
            "object": "list",
            "usage": {"prompt_tokens": 4, "total_tokens": 4},
            "results": best_first("relevance_score"),
        },
        tokens=4,
    ),
)
COHERE = next(contract for contract in CONTRACTS if contract.provider == "cohere")
