"""ELECTRA (Clark et al. 2020, arXiv 2003.10555): BERT with embeddings of a width of their own and another head."""

from __future__ import annotations

from typing import Any

from podium.local.families import bert
from podium.local.families.transformer import encoder
from podium.local.graph import Graph

__all__ = ["encode", "head"]


def encode(graph: Graph, config: dict[str, Any], only_first: bool) -> str:
    x = bert.embeddings(graph, config)
    if "embeddings_project.weight" in graph.checkpoint:
        x = graph.linear(x, "embeddings_project")
    return encoder(graph, x, bert.layers(config), only_first)


def head(graph: Graph, config: dict[str, Any], row: str) -> str:
    dense = graph.activation(graph.linear(row, "classifier.dense", exact=True), "gelu")
    return graph.linear(dense, "classifier.out_proj", exact=True)
