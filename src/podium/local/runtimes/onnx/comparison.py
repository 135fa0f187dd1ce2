"""The four comparisons of late interaction, as ONNX nodes. families/late.py describes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podium.local.graph import Comparison, Value

if TYPE_CHECKING:
    from podium.local.runtimes.onnx.graph import OnnxGraph

__all__ = ["compare"]

RUN = 3  # word pieces


def compare(graph: OnnxGraph, x: Value, comparison: Comparison) -> Value:
    """Return the comparisons of a pair, shape (1, 4). `x` are the hidden states of both texts."""
    second = graph.second_text()
    query_ids, text_ids = (_without_first(graph, ids) for ids in graph.split_rows(graph.token_ids(), second))
    query, text = graph.split_rows(x, second)
    inner_query = _without_first(graph, query)
    importance = graph.op("Reshape", graph.linear(inner_query, comparison.importance, exact=True), graph.integers(1, -1))
    importance = graph.op("Add", importance, _numbers(graph, comparison.token_importance, query_ids))
    weights = graph.op("Softmax", importance, axis=-1)
    compared = (
        _cosines(graph, graph.mean(query), graph.mean(text)),
        _best_matches(graph, inner_query, _without_first(graph, text), weights),
        *_shared_words_and_runs(graph, comparison, query_ids, text_ids),
    )
    return graph.op("Concat", *compared, axis=-1)


def _without_first(graph: OnnxGraph, x: Value) -> Value:
    """Return all rows but that of [CLS]. That of [SEP] stays, so at least one is left."""
    return graph.split_rows(x, graph.integers(1))[1]


def _numbers(graph: OnnxGraph, table: str, ids: Value) -> Value:
    """Return a number per token, shape (1, tokens)."""
    return graph.op("Reshape", graph.lookup(table, ids), graph.integers(1, -1))


def _cosines(graph: OnnxGraph, x: Value, y: Value) -> Value:
    """Return the cosine of each row of `x` and each row of `y`."""
    x, y = (graph.op("LpNormalization", rows, axis=-1, p=2) for rows in (x, y))
    return graph.op("Gemm", x, y, transB=1)


def _best_matches(graph: OnnxGraph, query: Value, text: Value, weights: Value) -> Value:
    """Return the weighted mean of each query token's highest cosine, shape (1, 1)."""
    best = graph.op("ReduceMax", _cosines(graph, query, text), graph.integers(1), keepdims=1)
    return graph.op("MatMul", weights, best)


def _shared_words_and_runs(graph: OnnxGraph, comparison: Comparison, query_ids: Value, text_ids: Value) -> tuple[Value, Value]:
    """Return the shared words and the shared runs, each of shape (1, 1) and divided by the idf of the whole query."""
    query_stems, text_stems = (_numbers(graph, comparison.token_stem, ids) for ids in (query_ids, text_ids))
    same = graph.to_float(graph.op("Equal", graph.op("Transpose", query_stems, perm=[1, 0]), text_stems))
    idf = _numbers(graph, comparison.token_idf, query_ids)
    total = graph.op("Add", graph.op("ReduceSum", idf, graph.integers(1), keepdims=1), graph.scalar(1e-6))
    words = graph.op("MatMul", idf, _saturated_counts(graph, comparison, same, text_ids))
    run_idf = _run_sums(graph, _numbers(graph, comparison.token_piece_idf, query_ids))
    runs = graph.op("MatMul", run_idf, _shared_runs(graph, same))
    return graph.op("Div", words, total), graph.op("Div", runs, graph.op("Mul", total, graph.scalar(RUN)))


def _saturated_counts(graph: OnnxGraph, comparison: Comparison, same: Value, text_ids: Value) -> Value:
    """Return BM25's saturated count of each query token in the text, shape (query tokens, 1)."""
    k1, b = comparison.k1, comparison.b
    counts = graph.op("ReduceSum", same, graph.integers(1), keepdims=1)
    length = graph.op("Mul", graph.to_float(graph.length(text_ids)), graph.scalar(k1 * b / comparison.average_tokens))
    saturation = graph.op("Add", length, graph.scalar(k1 * (1 - b)))
    return graph.op("Div", graph.op("Mul", counts, graph.scalar(k1 + 1)), graph.op("Add", counts, saturation))


def _shared_runs(graph: OnnxGraph, same: Value) -> Value:
    """Return 1 for each query token that begins a run that the text has, else 0: shape (query tokens, 1)."""
    padded = graph.op("Pad", same, graph.integers(0, 0, RUN - 1, RUN - 1))
    shape = graph.op("Shape", same)
    shifted = [_shifted(graph, padded, shape, offset, (0, 1)) for offset in range(RUN)]
    run = graph.op("Mul", graph.op("Mul", shifted[0], shifted[1]), shifted[2])
    return graph.op("ReduceMax", run, graph.integers(1), keepdims=1)


def _run_sums(graph: OnnxGraph, row: Value) -> Value:
    """Return the sum of each number and those after it in its run, shape (1, query tokens)."""
    padded = graph.op("Pad", row, graph.integers(0, 0, 0, RUN - 1))
    length = graph.op("Shape", row, start=1)
    shifted = [_shifted(graph, padded, length, offset, (1,)) for offset in range(RUN)]
    return graph.op("Add", graph.op("Add", shifted[0], shifted[1]), shifted[2])


def _shifted(graph: OnnxGraph, padded: Value, size: Value, offset: int, axes: tuple[int, ...]) -> Value:
    """Return what was padded, shifted by `offset` along the axes, in its size before."""
    start = graph.integers(*[offset] * len(axes))
    return graph.op("Slice", padded, start, graph.op("Add", size, start), graph.integers(*axes))
