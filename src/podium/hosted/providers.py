"""The rerank APIs that podium supports, one declarative row per provider. Everything in which they differ is in their rows.

Checked against the providers' specifications and clients in November 2026. Model names are not checked against a list,
because providers change their models every few months.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from podium.types import ScoreKind

__all__ = ["PROVIDERS", "Provider", "find_provider"]


@dataclass(frozen=True, slots=True)
class Provider:
    """One API. A `…_key` is the name of a field in its JSON; those of a reply can be dotted paths."""

    name: str  # prefix of a model's name, as in "cohere:rerank-v3.5"
    title: str  # the name in messages
    key_variable: str | None  # environment variable of the API key, None if the API has no keys
    url: str | None  # the public server, None if there is none: base_url is required then
    path: str  # appended to the server's URL; {model} is replaced by the model's name, spelled as `model_in_path` says
    documents_key: str = "documents"
    limit_key: str | None = "top_n"  # the number of results, always set to all: some APIs return fewer by default
    text_key: str | None = None  # if set, a document is sent as {text_key: text}
    query_text_key: str | None = None  # if set, the query is sent as {query_text_key: query}
    results_key: str = "results"  # the list of results; "" if the reply is that list
    score_key: str = "relevance_score"  # the score in a result
    score_kind: ScoreKind = "sigmoid"
    fixed_fields: Mapping[str, Any] = field(default_factory=dict)  # sent with every request
    headers: Mapping[str, str] = field(default_factory=dict)  # sent with every request
    key_header: str = "Authorization"
    key_format: str = "Bearer {}"
    model_key: str | None = "model"  # None if the model is not sent
    model_in_path: Literal["as is", "dots as underscores"] = "as is"
    tokens_key: str | None = "usage.total_tokens"  # the number of tokens, None if it is not reported
    billed: Mapping[str, str] = field(default_factory=dict)  # other counts in the reply → their names in Usage.billed
    max_documents: int | None = None  # limit per request
    max_characters: int | None = None  # limit per request of the query and the documents together
    query_counts_per_document: bool = False  # whether that limit counts the query once per document
    listwise_models: tuple[str, ...] = ()  # prefixes of models that compare documents with each other: never split

    def is_listwise(self, model: str) -> bool:
        """Whether a model compares documents with each other."""
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
        # the limit is 600,000 tokens; a character is at most about one token
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
        # the limit is 5,000,000 bytes, with 150 and the query's added per document; a character is at most four bytes
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
    """Return the provider of this name, which must exist."""
    return next(provider for provider in PROVIDERS if provider.name == name)
