"""Podium orders search results by relevance: it takes a query and documents and returns the documents, best first.

    >>> import podium
    >>> documents = ["the sea at night", "a ripe red apple"]
    >>> for result in podium.load("podium-mini").rerank("a red fruit", documents):
    ...     print(result.rank, result.document)
    1 a ripe red apple
    2 the sea at night

`podium.load(name)` returns a Reranker for a model on this machine or for a hosted API. Importing podium imports no
third-party package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from podium.batch import BatchResult, Plan, Verification, batch, plan_batch, verify_batch
from podium.errors import (
    BadResponse,
    DeadlineExceeded,
    InvalidInput,
    KeyRejected,
    MissingKey,
    MissingPackage,
    ModelError,
    ModelNotFound,
    PodiumError,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    RequestRejected,
    SourceError,
    UnsupportedModel,
    WrongType,
)
from podium.guide import CohereReranker, HFCrossEncoderReranker, VoyageAIReranker
from podium.load import load
from podium.ranking import Reranker
from podium.search import Search
from podium.truncation import TruncationWarning
from podium.types import Passage, Ranking, Result, ScoreKind, Scorer, Scores, Source, Usage

if TYPE_CHECKING:
    from podium.compose.budget import Budget
    from podium.compose.cascade import Cascade
    from podium.compose.fallback import Fallback
    from podium.compose.fused import Fused, rrf
    from podium.compose.neighbours import Neighbours
    from podium.compose.passages import Passages
    from podium.explanations import Explanation
    from podium.local.embedder import Embedder
    from podium.sources.embedded.index import EmbeddedIndex
    from podium.sources.redis.source import RedisSource

__version__ = "0.1.0"

__all__ = [
    "BadResponse",
    "BatchResult",
    "Budget",
    "Cascade",
    "CohereReranker",
    "DeadlineExceeded",
    "EmbeddedIndex",
    "Embedder",
    "Explanation",
    "Fallback",
    "Fused",
    "HFCrossEncoderReranker",
    "InvalidInput",
    "KeyRejected",
    "MissingKey",
    "MissingPackage",
    "ModelError",
    "ModelNotFound",
    "Neighbours",
    "Passage",
    "Passages",
    "Plan",
    "PodiumError",
    "ProviderError",
    "ProviderUnavailable",
    "Ranking",
    "RateLimited",
    "RedisSource",
    "RequestRejected",
    "Reranker",
    "Result",
    "ScoreKind",
    "Scorer",
    "Scores",
    "Search",
    "Source",
    "SourceError",
    "TruncationWarning",
    "UnsupportedModel",
    "Usage",
    "Verification",
    "VoyageAIReranker",
    "WrongType",
    "__version__",
    "batch",
    "load",
    "plan_batch",
    "rrf",
    "verify_batch",
]

# Name → its module, which is imported on first use, because it imports third-party packages or is rarely used.
_LAZY_MODULES = {
    "Budget": "podium.compose.budget",
    "Cascade": "podium.compose.cascade",
    "EmbeddedIndex": "podium.sources.embedded.index",
    "Embedder": "podium.local.embedder",
    "Explanation": "podium.explanations",
    "Fallback": "podium.compose.fallback",
    "Fused": "podium.compose.fused",
    "Neighbours": "podium.compose.neighbours",
    "Passages": "podium.compose.passages",
    "rrf": "podium.compose.fused",
    "RedisSource": "podium.sources.redis.source",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY_MODULES:
        raise AttributeError(f"module 'podium' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
