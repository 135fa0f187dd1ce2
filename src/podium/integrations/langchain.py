"""LangChain: a document compressor, for a ContextualCompressionRetriever or on its own."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.callbacks import Callbacks
from langchain_core.documents import Document
from langchain_core.documents.compressor import BaseDocumentCompressor
from pydantic import ConfigDict

from podium.ranking import Reranker
from podium.types import Ranking

__all__ = ["PodiumReranker"]


class PodiumReranker(BaseDocumentCompressor):
    """Rerank documents; each comes back as a copy with `relevance_score` in its metadata, best first.

    `reranker` is what podium.load gives, `limit` how many come back (None: the reranker's own), `rank_by` the fields to read,
    `page_content` and those of the metadata.
    """

    reranker: Reranker
    limit: int | None = None
    rank_by: list[str] | None = None
    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        return _copies(self.reranker.rerank(query, documents, limit=self.limit, rank_by=self.rank_by))

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        return _copies(await self.reranker.arerank(query, documents, limit=self.limit, rank_by=self.rank_by))


def _copies(ranking: Ranking) -> list[Document]:
    return [
        result.document.model_copy(update={"metadata": {**result.document.metadata, "relevance_score": result.score}})
        for result in ranking
    ]
