"""LlamaIndex: a node postprocessor, for a query engine's `node_postprocessors`."""

from __future__ import annotations

from llama_index.core.bridge.pydantic import ConfigDict
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle

from podium.errors import InvalidInput
from podium.ranking import Reranker
from podium.types import Ranking

__all__ = ["PodiumReranker"]


class PodiumReranker(BaseNodePostprocessor):
    """Rerank nodes; each comes back with the reranker's score, best first, the node itself unchanged.

    `reranker` is what podium.load gives, `limit` how many come back (None: the reranker's own). A node is read as it is
    embedded: its text with the metadata that is meant for embedding.
    """

    reranker: Reranker
    limit: int | None = None
    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    @classmethod
    def class_name(cls) -> str:
        return "PodiumReranker"

    def _postprocess_nodes(self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None) -> list[NodeWithScore]:
        return _scored(nodes, self.reranker.rerank(_query(query_bundle), _texts(nodes), limit=self.limit))

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        return _scored(nodes, await self.reranker.arerank(_query(query_bundle), _texts(nodes), limit=self.limit))


def _query(bundle: QueryBundle | None) -> str:
    if bundle is None:
        raise InvalidInput("reranking needs the query: give postprocess_nodes query_str or query_bundle")
    return bundle.query_str


def _texts(nodes: list[NodeWithScore]) -> list[str]:
    return [each.node.get_content(metadata_mode=MetadataMode.EMBED) for each in nodes]


def _scored(nodes: list[NodeWithScore], ranking: Ranking) -> list[NodeWithScore]:
    return [NodeWithScore(node=nodes[result.index].node, score=result.score) for result in ranking]
