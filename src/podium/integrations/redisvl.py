"""Adapters for redisvl: a Reranker as a redisvl reranker, and an Embedder as a redisvl vectorizer."""

from __future__ import annotations

from typing import Any

from podium.integrations import required_package
from podium.local.embedder import Embedder
from podium.ranking import Reranker

with required_package("redisvl"):
    from pydantic import PrivateAttr
    from redisvl.utils.rerank import BaseReranker
    from redisvl.utils.vectorize import BaseVectorizer

__all__ = ["PodiumReranker", "Vectorizer"]


class PodiumReranker(BaseReranker):  # type: ignore[misc]  # redisvl has no types
    """A reranker for redisvl: `rank` and `arank` have the arguments and return values of redisvl's rerankers.

    `reranker` is a Reranker, as podium.load returns. `limit`, `rank_by` and `return_score` are defaults that each call can
    override.
    """

    _reranker: Reranker = PrivateAttr()

    def __init__(
        self, reranker: Reranker, *, limit: int = 3, rank_by: list[str] | None = None, return_score: bool = True
    ) -> None:
        super().__init__(model=reranker.model, limit=limit, rank_by=rank_by, return_score=return_score)
        self._reranker = reranker

    def rank(self, query: str, docs: list[dict[str, Any]] | list[str], **kwargs: Any) -> Any:
        return self._reranker.rank(query, docs, **self._options(**kwargs))

    async def arank(self, query: str, docs: list[dict[str, Any]] | list[str], **kwargs: Any) -> Any:
        return await self._reranker.arank(query, docs, **self._options(**kwargs))

    def _options(
        self, *, limit: int | None = None, rank_by: list[str] | None = None, return_score: bool | None = None
    ) -> dict[str, Any]:
        return {
            "limit": self.limit if limit is None else limit,
            "rank_by": self.rank_by if rank_by is None else rank_by,
            "return_score": self.return_score if return_score is None else return_score,
        }


class Vectorizer(BaseVectorizer):  # type: ignore[misc]  # redisvl has no types
    """A vectorizer for redisvl's semantic caches, routers and message histories, backed by an Embedder."""

    _embedder: Embedder = PrivateAttr()

    def __init__(self, embedder: Embedder, *, dtype: str = "float32", cache: Any = None) -> None:
        super().__init__(model=embedder.model, dtype=dtype, dims=embedder.dimensions, cache=cache)
        self._embedder = embedder

    @property
    def type(self) -> str:
        return "podium"

    def _embed(self, content: Any, **kwargs: Any) -> list[float]:
        return self._embed_many([content])[0]

    def _embed_many(self, contents: list[Any], batch_size: int = 10, **kwargs: Any) -> list[list[float]]:
        return self._embedder.embed(contents).tolist()  # type: ignore[no-any-return]  # tolist returns Any

    async def _aembed(self, content: Any, **kwargs: Any) -> list[float]:
        return (await self._aembed_many([content]))[0]

    async def _aembed_many(self, contents: list[Any], batch_size: int = 10, **kwargs: Any) -> list[list[float]]:
        return (await self._embedder.aembed(contents)).tolist()  # type: ignore[no-any-return]  # tolist returns Any
