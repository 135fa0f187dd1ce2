"""BERT, and with it MiniLM and TinyBERT (Devlin et al. 2019, arXiv 1810.04805)."""

from __future__ import annotations

from typing import Any

from podium.local.families.layers import Layers, encoder
from podium.local.graph import Graph

__all__ = ["embedded", "embeddings", "encode", "head", "layers", "positions"]


def encode(graph: Graph, config: dict[str, Any], only_first: bool) -> str:
    return encoder(graph, embeddings(graph, config), layers(config), only_first)


def embeddings(graph: Graph, config: dict[str, Any]) -> str:
    ids, segments = graph.input("input_ids"), graph.input("token_type_ids")
    return embedded(graph, config, ids, segments, positions(graph, config, graph.length(ids)))


def positions(graph: Graph, config: dict[str, Any], count: str) -> str:
    """Return the rows of the first positions; `count` has shape (1,)."""
    graph.expect_rows("embeddings.position_embeddings.weight", config["max_position_embeddings"])
    return graph.first(graph.weight("embeddings.position_embeddings.weight"), count)


def embedded(graph: Graph, config: dict[str, Any], ids: str, segments: str, places: str) -> str:
    """Add words, segments and positions, in that order: float32 sums depend on it in the last bit."""
    x = graph.embedding("embeddings.word_embeddings.weight", ids)
    x = graph.op("Add", x, graph.embedding("embeddings.token_type_embeddings.weight", segments))
    return graph.norm(graph.op("Add", x, places), "embeddings.LayerNorm", config.get("layer_norm_eps", 1e-12))


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
