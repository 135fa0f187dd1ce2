"""Haystack 2: a ranker component, for a pipeline."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from haystack import Document, component, default_from_dict, default_to_dict

from podium.load import load
from podium.ranking import Reranker
from podium.types import Ranking

__all__ = ["PodiumReranker"]


@component
class PodiumReranker:
    """Rerank documents; each comes back as a copy with the reranker's score, best first.

    `model` is a name as for podium.load; it is loaded when it is first needed, or by `warm_up`. `top_k` is how many come
    back (None: all), `score_threshold` what they must score at least, `rank_by` the fields to read, `content` and those
    of `meta`. A reranker that is set up otherwise goes in as `reranker`; a pipeline cannot be saved with one.
    """

    def __init__(
        self,
        model: str = "podium-mini",
        *,
        top_k: int | None = None,
        score_threshold: float | None = None,
        rank_by: list[str] | None = None,
        reranker: Reranker | None = None,
    ) -> None:
        self.model, self.top_k, self.score_threshold, self.rank_by = model, top_k, score_threshold, rank_by
        self._reranker = reranker

    def to_dict(self) -> dict[str, Any]:
        """Return what a saved pipeline needs; never a key, which is the environment's."""
        return default_to_dict(
            self, model=self.model, top_k=self.top_k, score_threshold=self.score_threshold, rank_by=self.rank_by
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> PodiumReranker:
        return default_from_dict(cls, data)

    def warm_up(self) -> None:
        if self._reranker is None:
            self._reranker = load(self.model)

    @component.output_types(documents=list[Document])
    def run(
        self, query: str, documents: list[Document], top_k: int | None = None, score_threshold: float | None = None
    ) -> dict[str, list[Document]]:
        ranking = self._loaded().rerank(query, _readable(documents), **self._cuts(top_k, score_threshold))
        return {"documents": _scored(documents, ranking)}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, documents: list[Document], top_k: int | None = None, score_threshold: float | None = None
    ) -> dict[str, list[Document]]:
        ranking = await self._loaded().arerank(query, _readable(documents), **self._cuts(top_k, score_threshold))
        return {"documents": _scored(documents, ranking)}

    def _loaded(self) -> Reranker:
        self.warm_up()
        assert self._reranker is not None  # noqa: S101  for the type checker
        return self._reranker

    def _cuts(self, top_k: int | None, score_threshold: float | None) -> dict[str, Any]:
        least = self.score_threshold if score_threshold is None else score_threshold
        return {"limit": self.top_k if top_k is None else top_k, "min_score": least, "rank_by": self.rank_by}


def _readable(documents: list[Document]) -> list[dict[str, Any]]:
    """Return a document's fields side by side; `meta` is where Haystack keeps the user's."""
    return [{**document.meta, "content": document.content} for document in documents]


def _scored(documents: list[Document], ranking: Ranking) -> list[Document]:
    return [replace(documents[result.index], score=result.score) for result in ranking]
