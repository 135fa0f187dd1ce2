"""LlamaIndex: a node postprocessor, for a query engine's `node_postprocessors`."""

from __future__ import annotations

from podium.errors import InvalidInput
from podium.integrations import required_package
from podium.ranking import Reranker
from podium.types import Ranking

with required_package("llama-index-core"):
    from llama_index.core.bridge.pydantic import ConfigDict
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle

__all__ = ["PodiumReranker"]


class PodiumReranker(BaseNodePostprocessor):
    """A postprocessor that returns the nodes with the reranker's scores, best first.

    The reranker reads the same text of a node that LlamaIndex embeds, which includes metadata.

    - `reranker`: a Reranker, as podium.load returns.
    - `limit`: the number of nodes returned, None for the reranker's default.
    """

    reranker: Reranker
    limit: int | None = None
    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    @classmethod
    def class_name(cls) -> str:
        return "PodiumReranker"

    def _postprocess_nodes(self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None) -> list[NodeWithScore]:
        return _with_scores(nodes, self.reranker.rerank(_query(query_bundle), _texts(nodes), limit=self.limit))

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        return _with_scores(nodes, await self.reranker.arerank(_query(query_bundle), _texts(nodes), limit=self.limit))


def _query(bundle: QueryBundle | None) -> str:
    if bundle is None:
        raise InvalidInput("reranking needs the query; pass query_str or query_bundle to postprocess_nodes")
    return bundle.query_str


def _texts(nodes: list[NodeWithScore]) -> list[str]:
    return [scored.node.get_content(metadata_mode=MetadataMode.EMBED) for scored in nodes]


def _with_scores(nodes: list[NodeWithScore], ranking: Ranking) -> list[NodeWithScore]:
    return [NodeWithScore(node=nodes[result.index].node, score=result.score_or_none) for result in ranking]
