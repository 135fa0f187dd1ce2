"""RoBERTa, XLM-RoBERTa, DistilRoBERTa, CamemBERT (arXiv 1907.11692, 1911.02116): positions start after the padding id."""

from __future__ import annotations

from typing import Any

from podium.local.families import bert
from podium.local.families.transformer import encoder
from podium.local.graph import Graph

__all__ = ["encode", "head", "reserved_positions"]


def encode(graph: Graph, config: dict[str, Any], only_first: bool) -> str:
    config = {"layer_norm_eps": 1e-5} | config
    padding = int(config.get("pad_token_id", 1))
    x = bert.embeddings(graph, config, segmented=False, positions="after_padding", padding=padding)
    return encoder(graph, x, bert.layers(config), only_first)


def reserved_positions(config: dict[str, Any]) -> int:
    return int(config.get("pad_token_id", 1)) + 1


def head(graph: Graph, config: dict[str, Any], row: str) -> str:
    dense = graph.activation(graph.linear(row, "classifier.dense", exact=True), "tanh")
    return graph.linear(dense, "classifier.out_proj", exact=True)
