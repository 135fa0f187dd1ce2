"""DistilBERT (Sanh et al. 2019, arXiv 1910.01108): BERT's layers under other names, without segments."""

from __future__ import annotations

from typing import Any

from podium.local.families import bert
from podium.local.families.transformer import Layers, Names, encoder
from podium.local.graph import Graph

__all__ = ["encode", "head"]

EPSILON = 1e-12
NAMES = Names(
    layer="transformer.layer.{}.",
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    attended="attention.out_lin",
    attended_norm="sa_layer_norm",
    wide="ffn.lin1",
    narrow="ffn.lin2",
    norm="output_layer_norm",
)


def encode(graph: Graph, config: dict[str, Any], only_first: bool) -> str:
    x = bert.embeddings(graph, config | {"layer_norm_eps": EPSILON}, segments=None)
    shape = Layers(config["n_layers"], config["n_heads"], config["dim"], config.get("activation", "gelu"), EPSILON, NAMES)
    return encoder(graph, x, shape, only_first)


def head(graph: Graph, config: dict[str, Any], row: str) -> str:
    dense = graph.activation(graph.linear(row, "pre_classifier", exact=True), "relu")
    return graph.linear(dense, "classifier", exact=True)
