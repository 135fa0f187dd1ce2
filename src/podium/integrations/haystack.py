"""Haystack 2: a ranker component for a pipeline."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from podium.integrations import required_package
from podium.load import load
from podium.ranking import Reranker
from podium.types import Ranking

with required_package("haystack-ai"):
    from haystack import Document, component, default_from_dict, default_to_dict

__all__ = ["PodiumReranker"]


@component
class PodiumReranker:
    """A component that returns copies of the documents with the reranker's scores, best first.

    - `model`: a name as for podium.load. The model is loaded by `warm_up`, or on first use.
    - `top_k`: the number of documents returned, None for all (or for the limit of `reranker`).
    - `score_threshold`: documents with a lower score are left out. If it is None, no document is left out.
    - `rank_by`: the fields that are read: `content`, or names of fields in `meta`. None means `content`.
    - `reranker`: a Reranker to use instead of `model`. A saved pipeline contains `model`, but not this reranker.
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
        self.model = model
        self.top_k = top_k
        self.score_threshold = score_threshold
        self.rank_by = rank_by
        self._reranker = reranker

    def to_dict(self) -> dict[str, Any]:
        """Return the arguments for a saved pipeline. API keys are not among them: they are read from the environment."""
        return default_to_dict(
            self, model=self.model, top_k=self.top_k, score_threshold=self.score_threshold, rank_by=self.rank_by
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> PodiumReranker:
        return default_from_dict(cls, data)

    def warm_up(self) -> None:
        self._loaded_reranker()

    @component.output_types(documents=list[Document])
    def run(
        self, query: str, documents: list[Document], top_k: int | None = None, score_threshold: float | None = None
    ) -> dict[str, list[Document]]:
        ranking = self._loaded_reranker().rerank(query, _records(documents), **self._options(top_k, score_threshold))
        return {"documents": _with_scores(documents, ranking)}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, documents: list[Document], top_k: int | None = None, score_threshold: float | None = None
    ) -> dict[str, list[Document]]:
        ranking = await self._loaded_reranker().arerank(query, _records(documents), **self._options(top_k, score_threshold))
        return {"documents": _with_scores(documents, ranking)}

    def _loaded_reranker(self) -> Reranker:
        if self._reranker is None:
            self._reranker = load(self.model)
        return self._reranker

    def _options(self, top_k: int | None, score_threshold: float | None) -> dict[str, Any]:
        return {
            "limit": self.top_k if top_k is None else top_k,
            "min_score": self.score_threshold if score_threshold is None else score_threshold,
            "rank_by": self.rank_by,
        }


def _records(documents: list[Document]) -> list[dict[str, Any]]:
    """Return each document as one dict of its content and its `meta`."""
    return [{**document.meta, "content": document.content} for document in documents]


def _with_scores(documents: list[Document], ranking: Ranking) -> list[Document]:
    return [replace(documents[result.index], score=result.score_or_none) for result in ranking]
