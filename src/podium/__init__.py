"""Podium puts search results in order of relevance: a query and documents in, the same documents out, best first.

    >>> import podium
    >>> documents = ["the sea at night", "a ripe red apple"]
    >>> for result in podium.load("podium-mini").rerank("a red fruit", documents):
    ...     print(result.rank, result.document)
    1 a ripe red apple
    2 the sea at night

`podium.load(name)` gives a Reranker for a model on this machine or for a hosted API; the guide's three classes are the
same machinery under the guide's names. Importing podium loads no third-party module.
"""

from podium.errors import (
    BadResponse,
    DeadlineExceeded,
    InvalidInput,
    KeyRejected,
    MissingKey,
    ModelError,
    ModelNotFound,
    PodiumError,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    RequestRejected,
    UnsupportedModel,
)
from podium.guide import CohereReranker, HFCrossEncoderReranker, VoyageAIReranker
from podium.load import load
from podium.ranking import Reranker
from podium.types import Ranking, Result, ScoreKind, Scorer, Scores, Usage

__version__ = "0.1.0"

__all__ = [
    "BadResponse",
    "CohereReranker",
    "DeadlineExceeded",
    "HFCrossEncoderReranker",
    "InvalidInput",
    "KeyRejected",
    "MissingKey",
    "ModelError",
    "ModelNotFound",
    "PodiumError",
    "ProviderError",
    "ProviderUnavailable",
    "Ranking",
    "RateLimited",
    "RequestRejected",
    "Reranker",
    "Result",
    "ScoreKind",
    "Scorer",
    "Scores",
    "UnsupportedModel",
    "Usage",
    "VoyageAIReranker",
    "__version__",
    "load",
]
