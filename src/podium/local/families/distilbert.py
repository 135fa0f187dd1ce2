"""DistilBERT (Sanh et al. 2019, arXiv 1910.01108): BERT's layers under other names, without segments."""

from __future__ import annotations

from dataclasses import dataclass

from podium.local.families.family import Architecture, Family
from podium.local.families.transformer import PartNames, Transformer
from podium.local.files.config import Config
from podium.local.graph import Graph, Rows, Value

__all__ = ["FAMILY", "DistilBert"]

NAMES = PartNames(
    layer="transformer.layer.{}.",
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    attention_output="attention.out_lin",
    attention_norm="sa_layer_norm",
    intermediate="ffn.lin1",
    output="ffn.lin2",
    output_norm="output_layer_norm",
)


@dataclass(frozen=True, slots=True)
class DistilBert(Architecture):
    transformer: Transformer

    @classmethod
    def from_json(cls, config: Config) -> DistilBert:
        transformer = Transformer(
            layers=config.integer("n_layers"),
            heads=config.integer("n_heads"),
            width=config.integer("dim"),
            max_positions=config.integer("max_position_embeddings"),
            activation=config.string("activation", "gelu"),
            epsilon=1e-12,
            names=NAMES,
        )
        return cls(transformer)

    def encode(self, graph: Graph, rows: Rows) -> Value:
        x = self.transformer.embed(graph, segments=None, positions=graph.positions("counted"))
        return self.transformer.encode(graph, x, rows)

    def head(self, graph: Graph, x: Value) -> Value:
        dense = graph.activation(graph.linear(x, "pre_classifier", exact=True), "relu")
        return graph.linear(dense, "classifier", exact=True)


FAMILY = Family(
    name="DistilBERT",
    model_types=("distilbert",),
    examples="distilled BERTs",
    has_segments=False,
    prefix="distilbert.",
    head_weights=("pre_classifier.weight", "classifier.weight"),
    architecture=DistilBert,
)
