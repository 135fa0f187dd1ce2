"""DistilBERT (Sanh et al. 2019, arXiv 1910.01108): BERT's layers under other names, without segments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from podium.local.families.bert import Bert, PartNames
from podium.local.families.family import Architecture, Family
from podium.local.graph import Graph, Value

__all__ = ["FAMILY", "DistilBert"]

BERT_KEYS = {
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "dim": "hidden_size",
    "activation": "hidden_act",
    "max_position_embeddings": "max_position_embeddings",
}


@dataclass(frozen=True, kw_only=True)
class DistilBert(Bert):
    names = PartNames(
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

    @classmethod
    def from_json(cls, config: Mapping[str, Any]) -> Architecture:
        return super().from_json({BERT_KEYS[key]: value for key, value in config.items() if key in BERT_KEYS})

    def segments(self, graph: Graph) -> None:
        return None

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
