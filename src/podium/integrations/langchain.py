"""LangChain: a document compressor, to use in a ContextualCompressionRetriever or alone."""

from __future__ import annotations

from collections.abc import Sequence

from podium.integrations import required_package
from podium.ranking import Reranker
from podium.types import Ranking

with required_package("langchain-core"):
    from langchain_core.callbacks import Callbacks
    from langchain_core.documents import Document
    from langchain_core.documents.compressor import BaseDocumentCompressor
    from pydantic import ConfigDict

__all__ = ["PodiumReranker"]


class PodiumReranker(BaseDocumentCompressor):
    """A compressor that returns copies of the documents with `relevance_score` in their metadata, best first.

    - `reranker`: a Reranker, as podium.load returns.
    - `limit`: the number of documents returned, None for the reranker's default.
    - `rank_by`: the fields that are read: `page_content`, or names of fields in the metadata.
    """

    reranker: Reranker
    limit: int | None = None
    rank_by: list[str] | None = None
    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        return _with_scores(self.reranker.rerank(query, documents, limit=self.limit, rank_by=self.rank_by))

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        return _with_scores(await self.reranker.arerank(query, documents, limit=self.limit, rank_by=self.rank_by))


def _with_scores(ranking: Ranking) -> list[Document]:
    return [
        result.document.model_copy(update={"metadata": {**result.document.metadata, "relevance_score": result.score_or_none}})
        for result in ranking
    ]
