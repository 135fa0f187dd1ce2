"""ELECTRA (Clark et al. 2020, arXiv 2003.10555): BERT with embeddings of another width, and another head."""

from __future__ import annotations

from dataclasses import dataclass

from podium.local.families.bert import Bert
from podium.local.families.family import Family
from podium.local.graph import Graph, Value

__all__ = ["FAMILY", "Electra"]


@dataclass(frozen=True, kw_only=True)
class Electra(Bert):
    def embed(self, graph: Graph) -> Value:
        x = super().embed(graph)
        has_projection = "embeddings_project.weight" in graph.checkpoint
        return graph.linear(x, "embeddings_project") if has_projection else x

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
