"""ELECTRA (Clark et al. 2020, arXiv 2003.10555): BERT with embeddings of another width, and another head."""

from __future__ import annotations

from dataclasses import dataclass

from podium.local.families.family import Architecture, Family
from podium.local.families.transformer import Transformer
from podium.local.files.config import Config
from podium.local.graph import Graph, Rows, Value

__all__ = ["FAMILY", "Electra"]


@dataclass(frozen=True, slots=True)
class Electra(Architecture):
    transformer: Transformer

    @classmethod
    def from_json(cls, config: Config) -> Electra:
        return cls(Transformer.from_json(config))

    def encode(self, graph: Graph, rows: Rows) -> Value:
        x = self.transformer.embed(graph, segments=graph.segment_ids(), positions=graph.positions("counted"))
        if "embeddings_project.weight" in graph.checkpoint:
            x = graph.linear(x, "embeddings_project")
        return self.transformer.encode(graph, x, rows)

    def head(self, graph: Graph, x: Value) -> Value:
        dense = graph.activation(graph.linear(x, "classifier.dense", exact=True), "gelu")
        return graph.linear(dense, "classifier.out_proj", exact=True)


FAMILY = Family(
    name="ELECTRA",
    model_types=("electra",),
    examples="`cross-encoder/ms-marco-electra-base`",
    has_segments=True,
    prefix="electra.",
    head_weights=("classifier.dense.weight", "classifier.out_proj.weight"),
    architecture=Electra,
)
