"""DeBERTa's attention over contents and relative positions, as ONNX nodes.

The reference multiplies every token with all embeddings of relative positions, and then gathers the product that applies to a
pair of tokens. Which one applies depends only on the distance of the two tokens. So here every token is multiplied with the
embedding of every distance, and row i of the resulting table is shifted by i columns, so that column j is for the distance of i
to j. The numbers are the same, without a gather.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from podium.local.graph import Attention, RelativeEmbeddings, Value

if TYPE_CHECKING:
    from podium.local.files.checkpoint import Array
    from podium.local.runtimes.onnx.graph import OnnxGraph

__all__ = ["attention"]


def attention(
    graph: OnnxGraph,
    x: Value,
    names: Sequence[str],
    shape: Attention,
    *,
    keys: RelativeEmbeddings | None,
    queries: RelativeEmbeddings | None,
    distance_rows: Array,
) -> Value:
    """Return the attention's result, (tokens, width) or (1, width). The arguments are those of Graph.disentangled_attention."""
    graph.check_heads(names, shape)
    term_count = 1 + (keys is not None) + (queries is not None)
    scale = (shape.size * term_count) ** -0.5
    query, key, value = graph.query_key_value(graph.split_heads(graph.linear(x, *names), 3 * shape.heads))
    biases = []  # the terms with relative positions
    if keys is not None:
        # The rows are queries i, and the columns keys j. So the distance i - j falls from left to right.
        falling = _distance_rows(graph, "falling", np.ascontiguousarray(distance_rows[::-1]))
        biases.append(_by_distance(graph, query, _projected(graph, keys, shape), falling, scale))
    if queries is not None:
        # The rows are keys j, and the columns queries i. So the distance i - j rises from left to right.
        rising = _distance_rows(graph, "rising", distance_rows)
        biases.append(
            graph.op("Transpose", _by_distance(graph, key, _projected(graph, queries, shape), rising, scale), perm=[0, 2, 1])
        )
    if len(biases) == 2:
        bias: Value | None = graph.op("Add", *biases)
    else:
        bias = biases[0] if biases else None
    return graph.select(graph.attend(query, key, value, scale, bias), shape.rows)


def _projected(graph: OnnxGraph, embeddings: RelativeEmbeddings, shape: Attention) -> Array:
    """Return the projected embeddings, float32 of shape (heads, count, size)."""
    checkpoint = graph.checkpoint
    x = checkpoint[embeddings.table][: embeddings.count]
    if embeddings.norm:
        deviations = x - x.mean(axis=1, keepdims=True)
        x = deviations / np.sqrt(x.var(axis=1, keepdims=True) + np.float32(embeddings.epsilon))
        x = x * checkpoint[f"{embeddings.norm}.weight"] + checkpoint[f"{embeddings.norm}.bias"]
    projected = x @ checkpoint[f"{embeddings.layer}.weight"].T
    if embeddings.has_bias:
        projected = projected + checkpoint[f"{embeddings.layer}.bias"]
    return np.ascontiguousarray(projected.reshape(len(x), shape.heads, shape.size).transpose(1, 0, 2))


def _distance_rows(graph: OnnxGraph, name: str, rows: Array) -> Value:
    """Return those of `rows` whose distances occur in a text. They are in the middle; `rows` is for the longest text."""

    def make() -> Value:
        length = graph.token_count()
        max_length = graph.integers((len(rows) + 1) // 2)
        begin = graph.op("Sub", max_length, length)
        end = graph.op("Sub", graph.op("Add", max_length, length), graph.integers(1))
        return graph.op("Slice", graph.constant(rows, f"distances.{name}"), begin, end, graph.integers(0))

    return graph.once(f"distances of a text, {name}", make)


def _by_distance(graph: OnnxGraph, x: Value, table: Array, rows: Value, scale: float) -> Value:
    """Return the scaled products of each token with the embedding of its distance to each token: (heads, tokens, tokens)."""
    embeddings = graph.op("Gather", graph.constant(table), rows, axis=1)
    return _sheared(graph, graph.op("FusedMatMul", x, embeddings, domain="com.microsoft", transB=1, alpha=scale))


def _sheared(graph: OnnxGraph, table: Value) -> Value:
    """Return a table of shape (heads, tokens, distances) as (heads, tokens, tokens).

    Column j of row i is for the distance of i to j. The flat numbers are read as rows that are one column shorter, so every row
    begins one column before the previous one.
    """
    length = graph.token_count()
    begin = graph.once("shear begin", lambda: graph.op("Sub", length, graph.integers(1)))
    width = graph.once("shear width", lambda: graph.op("Mul", begin, graph.integers(2)))
    end = graph.once("shear end", lambda: graph.op("Add", begin, graph.op("Mul", length, width)))
    shape = graph.once("shear shape", lambda: graph.op("Concat", graph.integers(-1), length, width, axis=0))
    flat = graph.op("Reshape", table, graph.merged_shape())
    shifted = graph.op("Reshape", graph.op("Slice", flat, begin, end, graph.integers(1)), shape)
    return graph.first(shifted, length, axis=2)
