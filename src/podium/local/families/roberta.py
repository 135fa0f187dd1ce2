"""RoBERTa, XLM-RoBERTa, DistilRoBERTa, CamemBERT (arXiv 1907.11692, 1911.02116): positions start after the padding id."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from podium.local.families import bert
from podium.local.families.layers import encoder
from podium.local.graph import Graph

__all__ = ["encode", "head", "reserved_positions"]


def encode(graph: Graph, config: dict[str, Any], only_first: bool) -> str:
    graph.expect_rows("embeddings.position_embeddings.weight", config["max_position_embeddings"])
    ids = graph.input("input_ids")
    x = graph.embedding("embeddings.word_embeddings.weight", ids)
    segment = np.ascontiguousarray(graph.checkpoint["embeddings.token_type_embeddings.weight"][:1])
    x = graph.op("Add", x, graph.constant(segment, "embeddings.segment"))
    x = graph.op("Add", x, graph.embedding("embeddings.position_embeddings.weight", _positions(graph, ids, config)))
    x = graph.norm(x, "embeddings.LayerNorm", config.get("layer_norm_eps", 1e-5))
    return encoder(graph, x, bert.layers({"layer_norm_eps": 1e-5} | config), only_first)


def _positions(graph: Graph, ids: str, config: dict[str, Any]) -> str:
    """Count the tokens that are not padding from one after its id; a padding token typed in a text stays at its id."""
    padding = graph.whole_numbers(config.get("pad_token_id", 1))
    real = graph.op("Cast", graph.op("Not", graph.op("Equal", ids, padding)), to=TensorProto.INT64)
    counted = graph.op("Mul", graph.op("CumSum", real, graph.constant(np.array(0, np.int64), "axis.0")), real)
    return graph.op("Add", counted, padding)


def reserved_positions(config: dict[str, Any]) -> int:
    return int(config.get("pad_token_id", 1)) + 1


def head(graph: Graph, config: dict[str, Any], row: str) -> str:
    dense = graph.op("Tanh", graph.linear(row, "classifier.dense", exact=True))
    return graph.linear(dense, "classifier.out_proj", exact=True)
