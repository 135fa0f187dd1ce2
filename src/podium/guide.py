"""The classes of Redis's user guide on rerankers: HFCrossEncoderReranker, CohereReranker and VoyageAIReranker.

Each is a Reranker with the name, the defaults and the return values that it has in that guide (docs/guide.ipynb).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from podium.errors import InvalidInput
from podium.load import hosted_scorer, local_scorer
from podium.ranking import Reranker

if TYPE_CHECKING:
    import httpx

__all__ = ["CohereReranker", "HFCrossEncoderReranker", "VoyageAIReranker"]

API_CONFIG_NAMES = ("api_key", "base_url")


class HFCrossEncoderReranker(Reranker):
    """A reranker with a cross-encoder on this machine. Strings are returned as `{"content": text}`.

    `model` is a name on the Hugging Face hub, a folder, or "podium-mini"; the other arguments are those of
    `podium.load`. Raises ModelError and InvalidInput.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = "cross-encoder/ms-marco-MiniLM-L-6-v2",
        *,
        limit: int | None = 3,
        return_score: bool = True,
        rank_by: str | list[str] | None = None,
        precision: Literal["float32", "int8", "auto"] | None = None,
        threads: int | None = None,
        max_length: int | None = None,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        token: str | bool | None = None,
    ) -> None:
        model_options: dict[str, Any] = {
            "precision": precision,
            "threads": threads,
            "max_length": max_length,
            "revision": revision,
            "cache_dir": cache_dir,
            "token": token,
        }
        defaults: dict[str, Any] = {"limit": limit, "return_score": return_score, "rank_by": rank_by}
        super().__init__(local_scorer(model, **model_options), **defaults)
        self._load_again = functools.partial(type(self), model, **defaults, **model_options)

    def _returned_document(self, document: Any) -> Any:
        return {"content": document} if isinstance(document, str) else document


class _HostedReranker(Reranker):
    """Base class of the hosted rerankers. A subclass defines `provider` and `default_model`.

    `api_config` may contain "api_key" (default: the provider's environment variable) and "base_url". The other arguments
    are those of `podium.load`. Strings are returned as strings. The constructor raises MissingKey or InvalidInput; `rank`
    and the other methods raise ProviderError.
    """

    provider: ClassVar[str]
    default_model: ClassVar[str]

    def __init__(
        self,
        model: str | None = None,
        *,
        limit: int | None = 5,
        rank_by: str | list[str] | None = None,
        return_score: bool = True,
        api_config: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        retries: int = 3,
        client: httpx.Client | None = None,
        async_client: httpx.AsyncClient | None = None,
    ) -> None:
        http_options: dict[str, Any] = {"timeout": timeout, "retries": retries, "client": client, "async_client": async_client}
        defaults: dict[str, Any] = {"limit": limit, "rank_by": rank_by, "return_score": return_score}
        model_name = self.default_model if model is None else model
        scorer = hosted_scorer(self.provider, model_name, **_checked_api_config(api_config), **http_options)
        super().__init__(scorer, **defaults)
        self._load_again = functools.partial(type(self), model, api_config=api_config, **defaults, **http_options)


class CohereReranker(_HostedReranker):
    """A reranker that calls Cohere, by default rerank-v3.5 with the key in COHERE_API_KEY.

    `CohereReranker(model="rerank-v3.5", *, limit=5, rank_by=None, return_score=True, api_config=None, …)`.
    A key in `api_config={"api_key": …}` takes precedence over the environment. The constructor raises MissingKey or
    InvalidInput; ranking raises ProviderError.
    """

    provider = "cohere"
    default_model = "rerank-v3.5"


class VoyageAIReranker(_HostedReranker):
    """A reranker that calls Voyage AI, by default rerank-2.5 with the key in VOYAGE_API_KEY.

    `VoyageAIReranker(model="rerank-2.5", *, limit=5, rank_by=None, return_score=True, api_config=None, …)`.
    A key in `api_config={"api_key": …}` takes precedence over the environment. The constructor raises MissingKey or
    InvalidInput; ranking raises ProviderError.
    """

    provider = "voyage"
    default_model = "rerank-2.5"


def _checked_api_config(api_config: Any) -> dict[str, str]:
    if api_config is None:
        return {}
    if not isinstance(api_config, Mapping):
        raise InvalidInput(f"api_config must be a dict such as {{'api_key': …}}, not a {type(api_config).__name__}")
    if unknown := sorted(map(str, set(api_config) - {*API_CONFIG_NAMES})):
        raise InvalidInput(f"api_config has {', '.join(unknown)}; it may contain only {' and '.join(API_CONFIG_NAMES)}")
    return dict(api_config)
