"""ModernBERT (Warner et al. 2024, arXiv 2412.13663): rotary positions, gated feed-forward, mostly local attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from podium.errors import UnsupportedModel
from podium.local.graph import Graph

__all__ = ["encode", "head", "pooling"]

LOCAL, GLOBAL = "sliding_attention", "full_attention"
THETA = {GLOBAL: ("global_rope_theta", 160_000.0), LOCAL: ("local_rope_theta", 10_000.0)}


@dataclass(frozen=True, slots=True)
class _Kind:
    """What layers of one attention kind share: rotations, each (tokens, size), and a mask, (tokens, tokens), if local."""

    cos: str
    sin: str
    mask: str | None


def encode(graph: Graph, config: dict[str, Any], only_first: bool) -> str:
    ids = graph.input("input_ids")
    x = _norm(graph, graph.embedding("embeddings.tok_embeddings.weight", ids), "embeddings.norm", config)
    kinds = _layer_kinds(config)
    shared = {kind: _shared(graph, ids, config, kind) for kind in sorted(set(kinds))}
    for at, kind in enumerate(kinds):
        x = _layer(graph, x, config, f"layers.{at}.", shared[kind], only_first and at == len(kinds) - 1)
    return _norm(graph, x, "final_norm", config)


def pooling(config: dict[str, Any]) -> str:
    return str(config.get("classifier_pooling", "cls"))


def head(graph: Graph, config: dict[str, Any], row: str) -> str:
    dense = graph.linear(row, "head.dense", bias=bool(config.get("classifier_bias")), exact=True)
    dense = graph.activation(dense, config.get("classifier_activation", "gelu"))
    return graph.linear(_norm(graph, dense, "head.norm", config), "classifier", exact=True)


def _norm(graph: Graph, x: str, name: str, config: dict[str, Any]) -> str:
    return graph.norm(x, name, float(config.get("norm_eps", 1e-5)), bias=bool(config.get("norm_bias")))


def _layer_kinds(config: dict[str, Any]) -> list[str]:
    """Return each layer's attention; older configs say only that every n-th is global."""
    every = config.get("global_attn_every_n_layers", 3)
    listed = config.get("layer_types") or [LOCAL if at % every else GLOBAL for at in range(config["num_hidden_layers"])]
    return [str(kind) for kind in listed]


def _shared(graph: Graph, ids: str, config: dict[str, Any], kind: str) -> _Kind:
    length = graph.length(ids)
    cos, sin = _rotations(config, kind)
    return _Kind(
        cos=graph.first(graph.constant(cos, f"{kind}.cos"), length),
        sin=graph.first(graph.constant(sin, f"{kind}.sin"), length),
        mask=_window(graph, ids, config) if kind == LOCAL else None,
    )


def _rotations(config: dict[str, Any], kind: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    parameters = (config.get("rope_parameters") or {}).get(kind) or {}
    if (kind_of_rope := parameters.get("rope_type", "default")) != "default" or config.get("rope_scaling"):
        raise UnsupportedModel(f"its config.json asks for rotary positions of type {kind_of_rope!r}; only default is known")
    old_name, default = THETA[kind]
    theta = parameters.get("rope_theta", config.get(old_name, default))
    size = config["hidden_size"] // config["num_attention_heads"]
    frequencies = np.float32(1) / np.float32(theta) ** (np.arange(0, size, 2, dtype=np.float32) / np.float32(size))
    angles = np.arange(config["max_position_embeddings"], dtype=np.float32)[:, None] * frequencies
    angles = np.concatenate([angles, angles], axis=1)
    return np.cos(angles), np.sin(angles)


def _window(graph: Graph, ids: str, config: dict[str, Any]) -> str:
    """Return 0 where two tokens are at most half the window apart, a very negative number elsewhere."""
    scalar = graph.op("Squeeze", graph.length(ids))
    zero, one = (graph.constant(np.array(value, np.int64), f"scalar.{value}") for value in (0, 1))
    places = graph.op("Range", zero, scalar, one)
    across, down = (graph.op("Unsqueeze", places, graph.whole_numbers(axis)) for axis in (0, 1))
    apart = graph.op("Abs", graph.op("Sub", across, down))
    far = graph.op("Greater", apart, graph.whole_numbers(config.get("local_attention", 128) // 2))
    return graph.op("Where", far, graph.number(-3.4e38), graph.number(0.0))


def _layer(graph: Graph, x: str, config: dict[str, Any], prefix: str, kind: _Kind, only_first: bool) -> str:
    # The first layer of all has no norm of its own before its attention: the embeddings have just had one.
    normed = _norm(graph, x, f"{prefix}attn_norm", config) if f"{prefix}attn_norm.weight" in graph.checkpoint else x
    attended = _attended(graph, normed, config, prefix, kind, only_first)
    projected = graph.linear(attended, f"{prefix}attn.Wo", bias=bool(config.get("attention_bias")))
    x = graph.op("Add", projected, graph.first_row(x) if only_first else x)
    mlp_bias = bool(config.get("mlp_bias"))
    wide = graph.linear(_norm(graph, x, f"{prefix}mlp_norm", config), f"{prefix}mlp.Wi", bias=mlp_bias)
    value, gate = graph.ops("Split", wide, outputs=2, axis=-1, num_outputs=2)
    gated = graph.op("Mul", graph.activation(value, config.get("hidden_activation", "gelu")), gate)
    return graph.op("Add", x, graph.linear(gated, f"{prefix}mlp.Wo", bias=mlp_bias))


def _attended(graph: Graph, x: str, config: dict[str, Any], prefix: str, kind: _Kind, only_first: bool) -> str:
    count = config["num_attention_heads"]
    graph.expect_rows(f"{prefix}attn.Wqkv.weight", 3 * config["hidden_size"])
    heads = graph.heads(graph.linear(x, f"{prefix}attn.Wqkv", bias=bool(config.get("attention_bias"))), 3 * count)
    query, key, value = graph.ops("Split", heads, outputs=3, axis=0, num_outputs=3)
    key, mask = _rotated(graph, key, kind.cos, kind.sin), kind.mask
    if only_first:
        # Position 0 is not rotated, so the one query that is left needs nothing but its own row.
        query = graph.op("Slice", query, graph.whole_numbers(0), graph.whole_numbers(1), graph.whole_numbers(1))
        mask = mask and graph.first_row(mask)
    else:
        query = _rotated(graph, query, kind.cos, kind.sin)
    return graph.attention(query, key, value, scale=(config["hidden_size"] // count) ** -0.5, bias=mask)


def _rotated(graph: Graph, x: str, cos: str, sin: str) -> str:
    left, right = graph.ops("Split", x, outputs=2, axis=-1, num_outputs=2)
    turned = graph.op("Concat", graph.op("Neg", right), left, axis=-1)
    return graph.op("Add", graph.op("Mul", x, cos), graph.op("Mul", turned, sin))
