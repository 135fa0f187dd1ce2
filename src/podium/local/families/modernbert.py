"""ModernBERT (Warner et al. 2024, arXiv 2412.13663): rotary positions, gated feed-forward, mostly local attention."""

from __future__ import annotations

from typing import Any

from podium.errors import UnsupportedModel
from podium.local.graph import Attention, Graph, Rotary

__all__ = ["encode", "head", "pooling"]

LOCAL, GLOBAL = "sliding_attention", "full_attention"
THETA = {GLOBAL: ("global_rope_theta", 160_000.0), LOCAL: ("local_rope_theta", 10_000.0)}


def encode(graph: Graph, config: dict[str, Any], only_first: bool) -> str:
    words = "embeddings.tok_embeddings.weight"
    x = graph.embedded(words, segments=None, segmented=False, places=None, positions="counted", padding=0)
    x = _norm(graph, x, "embeddings.norm", config)
    kinds = _layer_kinds(config)
    for at, kind in enumerate(kinds):
        shape = _attention(config, kind, only_first and at == len(kinds) - 1)
        x = _layer(graph, x, config, f"layers.{at}.", shape)
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


def _attention(config: dict[str, Any], kind: str, only_first: bool) -> Attention:
    return Attention(
        heads=config["num_attention_heads"],
        width=config["hidden_size"],
        only_first=only_first,
        window=config.get("local_attention", 128) // 2 if kind == LOCAL else None,
        rotary=Rotary(_theta(config, kind), config["max_position_embeddings"]),
    )


def _theta(config: dict[str, Any], kind: str) -> float:
    parameters = (config.get("rope_parameters") or {}).get(kind) or {}
    if (kind_of_rope := parameters.get("rope_type", "default")) != "default" or config.get("rope_scaling"):
        raise UnsupportedModel(f"its config.json asks for rotary positions of type {kind_of_rope!r}; only default is known")
    old_name, default = THETA[kind]
    return float(parameters.get("rope_theta", config.get(old_name, default)))


def _layer(graph: Graph, x: str, config: dict[str, Any], prefix: str, shape: Attention) -> str:
    # The first layer of all has no norm of its own before its attention: the embeddings have just had one.
    normed = _norm(graph, x, f"{prefix}attn_norm", config) if f"{prefix}attn_norm.weight" in graph.checkpoint else x
    attention_bias, mlp_bias = bool(config.get("attention_bias")), bool(config.get("mlp_bias"))
    attended = graph.attention(normed, [f"{prefix}attn.Wqkv"], shape, bias=attention_bias)
    projected = graph.linear(attended, f"{prefix}attn.Wo", bias=attention_bias)
    x = graph.add(projected, graph.first_row(x) if shape.only_first else x)
    wide = graph.linear(_norm(graph, x, f"{prefix}mlp_norm", config), f"{prefix}mlp.Wi", bias=mlp_bias)
    gated = graph.gate(wide, config.get("hidden_activation", "gelu"))
    return graph.add(graph.linear(gated, f"{prefix}mlp.Wo", bias=mlp_bias), x)
