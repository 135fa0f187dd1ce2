"""DistilBERT (Sanh et al. 2019, arXiv 1910.01108): BERT's layers under other names, without segments."""

from __future__ import annotations

from typing import Any

from podium.local.families.layers import Layers, Names, encoder
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
    graph.expect_rows("embeddings.position_embeddings.weight", config["max_position_embeddings"])
    ids = graph.input("input_ids")
    x = graph.embedding("embeddings.word_embeddings.weight", ids)
    x = graph.op("Add", x, graph.first(graph.weight("embeddings.position_embeddings.weight"), graph.length(ids)))
    x = graph.norm(x, "embeddings.LayerNorm", EPSILON)
    shape = Layers(config["n_layers"], config["n_heads"], config["dim"], config.get("activation", "gelu"), EPSILON, NAMES)
    return encoder(graph, x, shape, only_first)


def head(graph: Graph, config: dict[str, Any], row: str) -> str:
    dense = graph.op("Relu", graph.linear(row, "pre_classifier", exact=True))
    return graph.linear(dense, "classifier", exact=True)
