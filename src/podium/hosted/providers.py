"""The rerank APIs that podium supports, with one row per provider. All differences between the APIs are in their rows.

The rows were checked against the providers' specifications and clients in November 2026. Model names are not checked
against a list, because providers change their models every few months.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from podium.types import ScoreKind

__all__ = ["PROVIDERS", "Provider", "find_provider"]


@dataclass(frozen=True, slots=True)
class Provider:
    """One API. Attributes ending in `_key` are names of JSON fields. In a reply, they can be paths: "usage.total_tokens"."""

    name: str  # prefix of a model's name, as in "cohere:rerank-v3.5"
    title: str  # the provider's name in messages
    key_variable: str | None  # the environment variable with the API key, None if the server needs no key
    url: str | None  # the public server; if it is None, users must pass base_url
    path: str  # appended to the server's URL; {model} is replaced by the model's name, see `model_in_path`
    documents_key: str = "documents"
    limit_key: str | None = "top_n"  # the number of results; always all of them, because some APIs return fewer by default
    text_key: str | None = None  # if set, a document is sent as {text_key: text}
    query_text_key: str | None = None  # if set, the query is sent as {query_text_key: query}
    results_key: str = "results"  # the list of results; "" if the reply itself is that list
    score_key: str = "relevance_score"  # the score in a result
    score_kind: ScoreKind = "sigmoid"
    fixed_fields: Mapping[str, Any] = field(default_factory=dict)  # JSON fields sent with every request
    headers: Mapping[str, str] = field(default_factory=dict)  # HTTP headers sent with every request
    key_header: str = "Authorization"  # the HTTP header with the API key
    key_format: str = "Bearer {}"  # the value of that header; {} is replaced by the API key
    model_key: str | None = "model"  # the model's name, None if the request does not contain it
    model_in_path: Literal["as is", "dots as underscores"] = "as is"  # how `path` contains the model's name
    tokens_key: str | None = "usage.total_tokens"  # the number of tokens, None if the reply does not contain it
    billed: Mapping[str, str] = field(default_factory=dict)  # path of another count in the reply → its name in Usage.billed
    max_documents: int | None = None  # maximum number of documents per request
    max_characters: int | None = None  # maximum number of characters per request, query and documents together
    query_counts_per_document: bool = False  # whether `max_characters` counts the query once per document
    listwise_models: tuple[str, ...] = ()  # prefixes of models whose documents must all be in one request, see is_listwise

    def is_listwise(self, model: str) -> bool:
        """Whether a model compares documents with each other, so that its scores in different requests cannot be compared."""
        return model.startswith(self.listwise_models)


NVIDIA = Provider(
    name="nvidia",
    title="NVIDIA (hosted)",
    key_variable="NVIDIA_API_KEY",
    url="https://ai.api.nvidia.com",
    path="/v1/retrieval/{model}/reranking",
    documents_key="passages",
    limit_key=None,
    text_key="text",
    query_text_key="text",
    results_key="rankings",
    score_key="logit",
    score_kind="logit",
    fixed_fields={"truncate": "END"},
    model_in_path="dots as underscores",
    max_documents=512,
)

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
        fixed_fields={"return_documents": False, "truncation": True},
        max_documents=1000,
        # The limit is 600,000 tokens. A character is at most about one token.
        max_characters=600_000,
        query_counts_per_document=True,
    ),
    Provider(
        name="jina",
        title="Jina AI",
        key_variable="JINA_API_KEY",
        url="https://api.jina.ai",
        path="/v1/rerank",
        fixed_fields={"return_documents": False},
        listwise_models=("jina-reranker-v3",),
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
        fixed_fields={"return_input": False},
    ),
    Provider(
        name="together",
        title="Together AI",
        key_variable="TOGETHER_API_KEY",
        url="https://api.together.ai",
        path="/v1/rerank",
        fixed_fields={"return_documents": False},
    ),
    Provider(
        name="fireworks",
        title="Fireworks AI",
        key_variable="FIREWORKS_API_KEY",
        url="https://api.fireworks.ai",
        path="/inference/v1/rerank",
        results_key="data",
        fixed_fields={"return_documents": False},
    ),
    Provider(
        name="pinecone",
        title="Pinecone",
        key_variable="PINECONE_API_KEY",
        url="https://api.pinecone.io",
        path="/rerank",
        text_key="text",
        results_key="data",
        score_key="score",
        fixed_fields={"return_documents": False},
        headers={"X-Pinecone-Api-Version": "2026-07"},
        key_header="Api-Key",
        key_format="{}",
        tokens_key=None,
        billed={"usage.rerank_units": "rerank_units"},
        max_documents=200,
    ),
    NVIDIA,
    replace(NVIDIA, name="nim", title="NVIDIA NIM (your own)", url=None, path="/v1/ranking", model_in_path="as is"),
    Provider(
        name="zeroentropy",
        title="ZeroEntropy",
        key_variable="ZEROENTROPY_API_KEY",
        url="https://api.zeroentropy.dev",
        path="/v1/models/rerank",
        tokens_key="total_tokens",
        billed={"total_bytes": "bytes"},
        # The limit is 5,000,000 bytes. A character has at most four bytes. For each document, the API adds 150 bytes and the
        # bytes of the query.
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
        fixed_fields={"raw_scores": False, "return_text": False, "truncate": True},
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
        fixed_fields={"return_documents": False},
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


def find_provider(name: str) -> Provider:
    """Return the provider of this name, which must be in PROVIDERS."""
    return next(provider for provider in PROVIDERS if provider.name == name)
