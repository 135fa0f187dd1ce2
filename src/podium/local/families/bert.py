"""BERT, and with it MiniLM and TinyBERT (Devlin et al. 2019, arXiv 1810.04805)."""

from __future__ import annotations

from typing import Any

from podium.local.families.transformer import Layers, encoder
from podium.local.graph import Graph, Positions

__all__ = ["WORDS", "embeddings", "encode", "head", "layers"]

WORDS, SEGMENTS, PLACES = (f"embeddings.{kind}_embeddings.weight" for kind in ("word", "token_type", "position"))


def encode(graph: Graph, config: dict[str, Any], only_first: bool) -> str:
    return encoder(graph, embeddings(graph, config), layers(config), only_first)


def embeddings(
    graph: Graph,
    config: dict[str, Any],
    *,
    segments: str | None = SEGMENTS,
    segmented: bool = True,
    positions: Positions = "counted",
    padding: int = 0,
) -> str:
    """Add words, segments and positions, in that order: float32 sums depend on it in the last bit."""
    graph.expect_rows(PLACES, config["max_position_embeddings"])
    x = graph.embedded(WORDS, segments=segments, segmented=segmented, places=PLACES, positions=positions, padding=padding)
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
    pooled = graph.activation(graph.linear(row, "pooler.dense", exact=True), "tanh")
    return graph.linear(pooled, "classifier", exact=True)
