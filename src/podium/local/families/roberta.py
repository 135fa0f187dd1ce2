"""RoBERTa, XLM-RoBERTa, DistilRoBERTa, CamemBERT (arXiv 1907.11692, 1911.02116): positions start after the padding id."""

from __future__ import annotations

from dataclasses import dataclass

from podium.local.families.bert import Bert
from podium.local.families.family import Family
from podium.local.graph import Graph, Value

__all__ = ["FAMILY", "Roberta"]


@dataclass(frozen=True, kw_only=True)
class Roberta(Bert):
    layer_norm_eps: float = 1e-5
    pad_token_id: int = 1

    @property
    def reserved_positions(self) -> int:
        return self.pad_token_id + 1

    def segments(self, graph: Graph) -> Value:
        return graph.zeros()

    def positions(self, graph: Graph) -> Value:
        return graph.positions("after_padding", padding_id=self.pad_token_id)

    def head(self, graph: Graph, x: Value) -> Value:
        dense = graph.activation(graph.linear(x, "classifier.dense", exact=True), "tanh")
        return graph.linear(dense, "classifier.out_proj", exact=True)


FAMILY = Family(
    name="RoBERTa",
    model_types=("roberta", "xlm-roberta", "camembert"),
    examples="XLM-RoBERTa, DistilRoBERTa, CamemBERT: `BAAI/bge-reranker-base`, `BAAI/bge-reranker-v2-m3`",
    has_segments=False,
    prefix="roberta.",
    head_weights=("classifier.dense.weight", "classifier.out_proj.weight"),
    architecture=Roberta,
)
