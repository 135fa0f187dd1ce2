"""RoBERTa, XLM-RoBERTa, DistilRoBERTa, CamemBERT (arXiv 1907.11692, 1911.02116): positions start after the padding id."""

from __future__ import annotations

from dataclasses import dataclass

from podium.local.families.family import Architecture, Family
from podium.local.families.transformer import Transformer
from podium.local.files.config import Config
from podium.local.graph import Graph, Rows, Value

__all__ = ["FAMILY", "Roberta"]


@dataclass(frozen=True, slots=True)
class Roberta(Architecture):
    transformer: Transformer
    padding_id: int

    @classmethod
    def from_json(cls, config: Config) -> Roberta:
        return cls(Transformer.from_json(config, epsilon=1e-5), config.integer("pad_token_id", 1))

    @property
    def reserved_positions(self) -> int:
        return self.padding_id + 1

    def encode(self, graph: Graph, rows: Rows) -> Value:
        positions = graph.positions("after_padding", padding_id=self.padding_id)
        x = self.transformer.embed(graph, segments=graph.zeros(), positions=positions)
        return self.transformer.encode(graph, x, rows)

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
