"""BERT, and with it MiniLM and TinyBERT (Devlin et al. 2019, arXiv 1810.04805)."""

from __future__ import annotations

from typing import Any

from podium.local.families.layers import Layers, encoder
from podium.local.graph import Graph

__all__ = ["embedded", "embeddings", "encode", "head", "layers"]


def encode(graph: Graph, config: dict[str, Any], only_first: bool) -> str:
    return encoder(graph, embeddings(graph, config), layers(config), only_first)


def embeddings(graph: Graph, config: dict[str, Any]) -> str:
    return embedded(graph, config, graph.input("input_ids"), graph.input("token_type_ids"))


def embedded(graph: Graph, config: dict[str, Any], ids: str, segments: str | None = None) -> str:
    """Add words, segments and positions, in that order: float32 sums depend on it in the last bit. None: all segment 0."""
    graph.expect_rows("embeddings.position_embeddings.weight", config["max_position_embeddings"])
    table = "embeddings.token_type_embeddings.weight"
    kind = graph.embedding(table, graph.whole_numbers(0) if segments is None else segments)
    x = graph.op("Add", graph.embedding("embeddings.word_embeddings.weight", ids), kind)
    x = graph.op("Add", x, graph.first(graph.weight("embeddings.position_embeddings.weight"), graph.length(ids)))
    return graph.norm(x, "embeddings.LayerNorm", config.get("layer_norm_eps", 1e-12))


def layers(config: dict[str, Any]) -> Layers:
    return Layers(
        count=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        width=config["hidden_size"],
        activation=config.get("hidden_act", "gelu"),
        epsilon=config.get("layer_norm_eps", 1e-12),
    )


def head(graph: Graph, config: dict[str, Any], row: str) -> str:
    pooled = graph.op("Tanh", graph.linear(row, "pooler.dense", exact=True))
    return graph.linear(pooled, "classifier", exact=True)
