"""The rerank APIs, one declarative row each. What differs between them is here and nowhere else.

Checked against the providers' own specifications and clients in November 2026. Model names are never checked against a
list: they change every few months, and the provider knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from podium.types import ScoreKind

__all__ = ["PROVIDERS", "Provider", "provider"]


@dataclass(frozen=True, slots=True)
class Provider:
    """One API. Keys are the names of fields in its JSON; a dotted key is a path into the reply.

    `url` is None where there is no public server (base_url is needed). `path` may hold {model}, where some spell dots
    as underscores. `limit_key`: sent as the number of documents, since some return fewer unless asked. `wrap`: each
    document is {wrap: text}; `wrap_query` likewise. `results_key` is "" where the reply is a bare list. `always` is
    sent with every request. `usage` maps names in the reply to names in Usage.billed, `tokens_key` is its token count.
    `max_documents` and `max_characters` (query and documents together, as many times as the provider counts the query)
    are the provider's limits per request; models in `listwise` score documents against each other, so their
    requests are never split.
    """

    name: str
    title: str
    key_variable: str | None
    url: str | None
    path: str
    documents_key: str = "documents"
    limit_key: str | None = "top_n"
    wrap: str | None = None
    wrap_query: str | None = None
    results_key: str = "results"
    score_key: str = "relevance_score"
    score_kind: ScoreKind = "sigmoid"
    always: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    key_header: str = "Authorization"
    key_format: str = "Bearer {}"
    model_key: str | None = "model"
    model_in_path: Literal["as is", "dots as underscores"] = "as is"
    tokens_key: str | None = "usage.total_tokens"
    billed: Mapping[str, str] = field(default_factory=dict)
    max_documents: int | None = None
    max_characters: int | None = None
    query_counts_per_document: bool = False
    listwise: tuple[str, ...] = ()

    def is_listwise(self, model: str) -> bool:
        """Say whether a model scores documents against each other."""
        return any(model.startswith(each) for each in self.listwise)


PROVIDERS = (
    Provider(
        name="cohere",
        title="Cohere",
        key_variable="COHERE_API_KEY",
        url="https://api.cohere.com",
        path="/v2/rerank",
        tokens_key="meta.tokens.input_tokens",
        billed={"meta.billed_units.search_units": "search_units"},
        max_documents=1000,
    ),
    Provider(
        name="voyage",
        title="Voyage AI",
        key_variable="VOYAGE_API_KEY",
        url="https://api.voyageai.com",
        path="/v1/rerank",
        limit_key="top_k",
        results_key="data",
        always={"return_documents": False, "truncation": True},
        max_documents=1000,
        # 600,000 tokens in all; a character is at most about one token
        max_characters=600_000,
        query_counts_per_document=True,
    ),
    Provider(
        name="jina",
        title="Jina AI",
        key_variable="JINA_API_KEY",
        url="https://api.jina.ai",
        path="/v1/rerank",
        always={"return_documents": False},
        listwise=("jina-reranker-v3",),
    ),
    Provider(
        name="mixedbread",
        title="Mixedbread",
        key_variable="MXBAI_API_KEY",
        url="https://api.mixedbread.com",
        path="/v1/reranking",
        documents_key="input",
        limit_key="top_k",
        results_key="data",
        score_key="score",
        always={"return_input": False},
    ),
    Provider(
        name="together",
        title="Together AI",
        key_variable="TOGETHER_API_KEY",
        url="https://api.together.ai",
        path="/v1/rerank",
        always={"return_documents": False},
    ),
    Provider(
        name="fireworks",
        title="Fireworks AI",
        key_variable="FIREWORKS_API_KEY",
        url="https://api.fireworks.ai",
        path="/inference/v1/rerank",
        results_key="data",
        always={"return_documents": False},
    ),
    Provider(
        name="pinecone",
        title="Pinecone",
        key_variable="PINECONE_API_KEY",
        url="https://api.pinecone.io",
        path="/rerank",
        wrap="text",
        results_key="data",
        score_key="score",
        always={"return_documents": False},
        headers={"X-Pinecone-Api-Version": "2026-07"},
        key_header="Api-Key",
        key_format="{}",
        tokens_key=None,
        billed={"usage.rerank_units": "rerank_units"},
        max_documents=200,
    ),
    Provider(
        name="nvidia",
        title="NVIDIA (hosted)",
        key_variable="NVIDIA_API_KEY",
        url="https://ai.api.nvidia.com",
        path="/v1/retrieval/{model}/reranking",
        documents_key="passages",
        limit_key=None,
        wrap="text",
        wrap_query="text",
        results_key="rankings",
        score_key="logit",
        score_kind="logit",
        always={"truncate": "END"},
        model_in_path="dots as underscores",
        max_documents=512,
    ),
    Provider(
        name="nim",
        title="NVIDIA NIM (your own)",
        key_variable="NVIDIA_API_KEY",
        url=None,
        path="/v1/ranking",
        documents_key="passages",
        limit_key=None,
        wrap="text",
        wrap_query="text",
        results_key="rankings",
        score_key="logit",
        score_kind="logit",
        always={"truncate": "END"},
        max_documents=512,
    ),
    Provider(
        name="zeroentropy",
        title="ZeroEntropy",
        key_variable="ZEROENTROPY_API_KEY",
        url="https://api.zeroentropy.dev",
        path="/v1/models/rerank",
        tokens_key="total_tokens",
        billed={"total_bytes": "bytes"},
        # 5,000,000 bytes, counted as 150 and the query for each document; a character is at most four bytes
        max_characters=1_200_000,
        query_counts_per_document=True,
    ),
    Provider(
        name="contextual",
        title="Contextual AI",
        key_variable="CONTEXTUAL_API_KEY",
        url="https://api.contextual.ai",
        path="/v1/rerank",
    ),
    Provider(
        name="isaacus",
        title="Isaacus",
        key_variable="ISAACUS_API_KEY",
        url="https://api.isaacus.com",
        path="/v1/rerankings",
        documents_key="texts",
        score_key="score",
        tokens_key="usage.input_tokens",
    ),
    Provider(
        name="azure",
        title="Azure AI (Cohere models)",
        key_variable="AZURE_AI_API_KEY",
        url=None,
        path="/providers/cohere/v2/rerank",
        tokens_key="meta.tokens.input_tokens",
        billed={"meta.billed_units.search_units": "search_units"},
        max_documents=1000,
    ),
    Provider(
        name="tei",
        title="text-embeddings-inference (your own)",
        key_variable=None,
        url=None,
        path="/rerank",
        documents_key="texts",
        limit_key=None,
        results_key="",
        score_key="score",
        always={"raw_scores": False, "return_text": False, "truncate": True},
        model_key=None,
        tokens_key=None,
        max_documents=32,
    ),
    Provider(
        name="vllm",
        title="vLLM (your own)",
        key_variable=None,
        url=None,
        path="/rerank",
    ),
    Provider(
        name="infinity",
        title="Infinity (your own)",
        key_variable=None,
        url=None,
        path="/rerank",
        always={"return_documents": False},
    ),
    Provider(
        name="llamacpp",
        title="llama.cpp server (your own)",
        key_variable=None,
        url=None,
        path="/v1/rerank",
        score_kind="logit",
    ),
)


def provider(name: str) -> Provider:
    """Return the row of a provider that is known to be there."""
    return next(row for row in PROVIDERS if row.name == name)
