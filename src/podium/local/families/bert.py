"""BERT, and with it MiniLM and TinyBERT (Devlin et al. 2019, arXiv 1810.04805)."""

from __future__ import annotations

from dataclasses import dataclass

from podium.local.families.family import Architecture, Family
from podium.local.families.transformer import Transformer
from podium.local.files.config import Config
from podium.local.graph import Graph, Rows, Value

__all__ = ["FAMILY", "Bert"]


@dataclass(frozen=True, slots=True)
class Bert(Architecture):
    transformer: Transformer

    @classmethod
    def from_json(cls, config: Config) -> Bert:
        return cls(Transformer.from_json(config))

    def encode(self, graph: Graph, rows: Rows) -> Value:
        x = self.transformer.embed(graph, segments=graph.segment_ids(), positions=graph.positions("counted"))
        return self.transformer.encode(graph, x, rows)

    def head(self, graph: Graph, x: Value) -> Value:
        pooled = graph.activation(graph.linear(x, "pooler.dense", exact=True), "tanh")
        return graph.linear(pooled, "classifier", exact=True)


FAMILY = Family(
    name="BERT",
    model_types=("bert",),
    examples="MiniLM, TinyBERT: `cross-encoder/ms-marco-MiniLM-L6-v2`",
    has_segments=True,
    prefix="bert.",
    head_weights=("pooler.dense.weight", "classifier.weight"),
    architecture=Bert,
)
