"""DeBERTa v2 and v3 (He et al. 2021, arXiv 2006.03654, 2111.09543): attention over contents and relative positions.

The reference scores every token against all position buckets and then gathers, per pair of tokens, the one that
applies. Which one depends only on how far apart the two are, so here each token is scored against each *distance* and
the table is sheared so that row i's distances line up with its columns: the same numbers without a gather.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from podium.errors import UnsupportedModel
from podium.local.files.checkpoint import Array

if TYPE_CHECKING:
    from podium.local.runtimes.onnx.graph import OnnxGraph

__all__ = ["encode", "head"]


@dataclass(frozen=True, slots=True)
class _Relative:
    """What all layers share: the normalised embeddings of relative positions and where each distance finds its own.

    `length` is the number of tokens, shape (1,). `falling` are rows for the distances from tokens - 1 down to
    1 - tokens, `rising` the same the other way round. `shear` holds the shapes that line a table of shape
    (heads, tokens, 2 × tokens - 1) up with the tokens.
    """

    embeddings: Array
    length: str
    falling: str
    rising: str
    shear: tuple[str, str, str]


def encode(graph: OnnxGraph, config: dict[str, Any], only_first: bool) -> str:
    if not config.get("relative_attention"):
        raise UnsupportedModel("its config.json turns relative attention off, which no published DeBERTa reranker does")
    ids = graph.input("input_ids")
    x = embedded = _embeddings(graph, ids, config)
    relative, count = _relative(graph, ids, config), config["num_hidden_layers"]
    for at in range(count):
        convolved = at == 0 and config.get("conv_kernel_size", 0) > 0
        x = _layer(graph, x, config, f"encoder.layer.{at}.", relative, only_first and at == count - 1 and not convolved)
        if convolved:
            x = _convolved(graph, embedded, x, config)
    return graph.first_row(x) if only_first else x


def head(graph: OnnxGraph, config: dict[str, Any], row: str) -> str:
    pooled = graph.activation(graph.linear(row, "pooler.dense", exact=True), config.get("pooler_hidden_act", "gelu"))
    return graph.linear(pooled, "classifier", exact=True)


def _epsilon(config: dict[str, Any]) -> float:
    return float(config.get("layer_norm_eps", 1e-7))


def _embeddings(graph: OnnxGraph, ids: str, config: dict[str, Any]) -> str:
    x = graph.embedding("embeddings.word_embeddings.weight", ids)
    if config.get("position_biased_input", True):
        graph.expect_rows("embeddings.position_embeddings.weight", config["max_position_embeddings"])
        positions = graph.weight("embeddings.position_embeddings.weight")
        x = graph.op("Add", x, graph.first(positions, graph.length(ids)))
    if config.get("type_vocab_size", 0):
        segments = graph.input("token_type_ids")
        x = graph.op("Add", x, graph.embedding("embeddings.token_type_embeddings.weight", segments))
    if "embeddings.embed_proj.weight" in graph.checkpoint:
        x = graph.linear(x, "embeddings.embed_proj", bias=False)
    return graph.norm(x, "embeddings.LayerNorm", _epsilon(config))


def _span(config: dict[str, Any]) -> tuple[int, int, int]:
    """Return buckets (-1: none), the farthest distance told apart, and how many embeddings each side of 0 has."""
    buckets, farthest = config.get("position_buckets", -1), config.get("max_relative_positions", -1)
    farthest = config["max_position_embeddings"] if farthest < 1 else farthest
    return buckets, farthest, buckets if buckets > 0 else farthest


def _buckets(distances: Array, buckets: int, farthest: int) -> Array:
    """Return the bucket of each distance: its own when near, shared on a logarithmic scale when far (in float32)."""
    if buckets <= 0:
        return distances
    middle, one = buckets // 2, np.float32(1)
    far = np.where(np.abs(distances) < middle, middle - 1, np.abs(distances)).astype(np.float32)
    scale = np.log(far / np.float32(middle)) / np.log(np.float32((farthest - 1) / middle))
    shared = np.ceil(scale * np.float32(middle - 1)) * one + middle
    return np.where(far <= middle, distances, shared * np.sign(distances)).astype(np.int64)


def _relative(graph: OnnxGraph, ids: str, config: dict[str, Any]) -> _Relative:
    buckets, farthest, span = _span(config)
    embeddings = graph.checkpoint["encoder.rel_embeddings.weight"][: 2 * span]
    if "layer_norm" in str(config.get("norm_rel_ebd", "none")).lower():
        embeddings = _normalised(embeddings, graph.checkpoint, _epsilon(config))
    most = config["max_position_embeddings"]
    rows = np.clip(_buckets(np.arange(1 - most, most), buckets, farthest) + span, 0, 2 * span - 1)
    length = graph.length(ids)
    one, most_name = graph.whole_numbers(1), graph.whole_numbers(most)
    begin, end = graph.op("Sub", most_name, length), graph.op("Sub", graph.op("Add", most_name, length), one)
    falling, rising = (
        graph.op("Slice", graph.constant(np.ascontiguousarray(table), name), begin, end, graph.whole_numbers(0))
        for name, table in (("distances.falling", rows[::-1]), ("distances.rising", rows))
    )
    return _Relative(embeddings, length, falling, rising, _shear_shapes(graph, length, one))


def _normalised(embeddings: Array, checkpoint: Any, epsilon: float) -> Array:
    mean, spread = embeddings.mean(axis=1, keepdims=True), embeddings.var(axis=1, keepdims=True)
    scaled = (embeddings - mean) / np.sqrt(spread + np.float32(epsilon))
    return np.asarray(scaled * checkpoint["encoder.LayerNorm.weight"] + checkpoint["encoder.LayerNorm.bias"], np.float32)


def _shear_shapes(graph: OnnxGraph, length: str, one: str) -> tuple[str, str, str]:
    """Return where the sheared table begins in the flat one, where it ends, and its shape."""
    begin = graph.op("Sub", length, one)
    width = graph.op("Mul", begin, graph.whole_numbers(2))
    end = graph.op("Add", begin, graph.op("Mul", length, width))
    return begin, end, graph.op("Concat", graph.whole_numbers(-1), length, width, axis=0)


def _sheared(graph: OnnxGraph, table: str, relative: _Relative) -> str:
    """Turn (heads, tokens, distances) into (heads, tokens, tokens): in row i, column j is what stands at i's distance to j."""
    begin, end, shape = relative.shear
    flat = graph.op("Reshape", table, graph.constant(np.array([0, -1], np.int64), "merged"))
    kept = graph.op("Slice", flat, begin, end, graph.whole_numbers(1))
    return graph.op("Slice", graph.op("Reshape", kept, shape), graph.whole_numbers(0), relative.length, graph.whole_numbers(2))


def _layer(graph: OnnxGraph, x: str, config: dict[str, Any], prefix: str, relative: _Relative, only_first: bool) -> str:
    attended = _attended(graph, x, config, f"{prefix}attention.self.", relative)
    if only_first:
        attended, x = graph.first_row(attended), graph.first_row(x)
    output = f"{prefix}attention.output."
    x = graph.norm(graph.op("Add", graph.linear(attended, f"{output}dense"), x), f"{output}LayerNorm", _epsilon(config))
    wide = graph.activation(graph.linear(x, f"{prefix}intermediate.dense"), config.get("hidden_act", "gelu"))
    narrow = graph.linear(wide, f"{prefix}output.dense")
    return graph.norm(graph.op("Add", narrow, x), f"{prefix}output.LayerNorm", _epsilon(config))


def _attended(graph: OnnxGraph, x: str, config: dict[str, Any], prefix: str, relative: _Relative) -> str:
    count = config["num_attention_heads"]
    size = config["hidden_size"] // count
    graph.expect_rows(f"{prefix}query_proj.weight", config["hidden_size"])
    kinds = [kind for kind in config.get("pos_att_type") or () if kind in ("c2p", "p2c")]
    scale = (size * (1 + len(kinds))) ** -0.5
    projected = graph.linear(x, f"{prefix}query_proj", f"{prefix}key_proj", f"{prefix}value_proj")
    query, key, value = graph.ops("Split", graph.heads(projected, 3 * count), outputs=3, axis=0, num_outputs=3)
    shared = bool(config.get("share_att_key", False))
    terms = []
    if "c2p" in kinds:
        positions = _positions(graph, config, prefix + ("key_proj" if shared else "pos_key_proj"), relative, relative.falling)
        table = graph.op("FusedMatMul", query, positions, domain="com.microsoft", transB=1, alpha=scale)
        terms.append(_sheared(graph, table, relative))
    if "p2c" in kinds:
        positions = _positions(
            graph, config, prefix + ("query_proj" if shared else "pos_query_proj"), relative, relative.rising
        )
        table = graph.op("FusedMatMul", key, positions, domain="com.microsoft", transB=1, alpha=scale)
        terms.append(graph.op("Transpose", _sheared(graph, table, relative), perm=[0, 2, 1]))
    bias = terms[0] if len(terms) == 1 else graph.op("Add", *terms) if terms else None
    return graph.attend(query, key, value, scale=scale, bias=bias)


def _positions(graph: OnnxGraph, config: dict[str, Any], name: str, relative: _Relative, rows: str) -> str:
    """Return the projected embedding of every distance, shape (heads, distances, size). The projection is done here, once."""
    weight, count = graph.checkpoint[f"{name}.weight"], config["num_attention_heads"]
    projected = relative.embeddings @ weight.T
    if f"{name}.bias" in graph.checkpoint:
        projected = projected + graph.checkpoint[f"{name}.bias"]
    table = projected.reshape(len(projected), count, -1).transpose(1, 0, 2)
    return graph.op("Gather", graph.constant(np.ascontiguousarray(table), f"{name}.positions"), rows, axis=1)


def _convolved(graph: OnnxGraph, embedded: str, x: str, config: dict[str, Any]) -> str:
    """Add what v2's first layer adds: a convolution over the embeddings, shape (tokens, width) like everything else."""
    size, groups = config["conv_kernel_size"], config.get("conv_groups", 1)
    channels_first = graph.op("Unsqueeze", graph.op("Transpose", embedded, perm=[1, 0]), graph.whole_numbers(0))
    weights = graph.weight("encoder.conv.conv.weight"), graph.weight("encoder.conv.conv.bias")
    padding = [(size - 1) // 2] * 2
    out = graph.op("Conv", channels_first, *weights, kernel_shape=[size], group=groups, pads=padding)
    out = graph.op("Transpose", graph.op("Squeeze", out, graph.whole_numbers(0)), perm=[1, 0])
    out = graph.activation(out, config.get("conv_act", "tanh"))
    return graph.norm(graph.op("Add", x, out), "encoder.conv.LayerNorm", _epsilon(config))
