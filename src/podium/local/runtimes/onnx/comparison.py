"""The comparisons of late interaction, as ONNX nodes. families/late.py describes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podium.local.graph import Value

if TYPE_CHECKING:
    from podium.local.runtimes.onnx.graph import OnnxGraph

__all__ = ["compare"]

RUN = 3  # word pieces


def compare(graph: OnnxGraph, x: Value, prefix: str, *, k1: float, b: float, average_tokens: float) -> Value:
    """Return the comparisons of a pair, shape (1, 4). `x` are the hidden states of both texts."""
    second = graph.second_text()
    query_ids, text_ids = (_without_first(graph, ids) for ids in graph.split_rows(graph.token_ids(), second))
    query, text = graph.split_rows(x, second)
    idf, stems, text_stems = (
        _numbers(graph, f"{prefix}token_{table}", ids)
        for table, ids in (("idf", query_ids), ("stem", query_ids), ("stem", text_ids))
    )
    same = graph.to_float(graph.op("Equal", graph.op("Transpose", stems, perm=[1, 0]), text_stems))
    length = graph.op("Mul", graph.to_float(graph.op("Shape", text_ids)), graph.scalar(k1 * b / average_tokens))
    words = graph.op("MatMul", idf, _saturated_counts(graph, same, length, k1, b))
    runs = graph.op(
        "MatMul", _run_sums(graph, _numbers(graph, f"{prefix}token_piece_idf", query_ids)), _shared_runs(graph, same)
    )
    total = graph.op("Add", graph.op("ReduceSum", idf, graph.integers(1), keepdims=1), graph.scalar(1e-6))
    compared = (
        _cosines(graph, graph.mean(query), graph.mean(text)),
        _best_matches(graph, _without_first(graph, query), _without_first(graph, text), prefix, query_ids),
        graph.op("Div", words, total),
        graph.op("Div", runs, graph.op("Mul", total, graph.scalar(RUN))),
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


def _best_matches(graph: OnnxGraph, query: Value, text: Value, prefix: str, query_ids: Value) -> Value:
    """Return the mean of each query token's highest cosine, weighted by importance: shape (1, 1)."""
    importance = graph.op("Reshape", graph.linear(query, f"{prefix}importance", exact=True), graph.integers(1, -1))
    importance = graph.op("Add", importance, _numbers(graph, f"{prefix}token_importance", query_ids))
    best = graph.op("ReduceMax", _cosines(graph, query, text), graph.integers(1), keepdims=1)
    return graph.op("MatMul", graph.op("Softmax", importance, axis=-1), best)


def _saturated_counts(graph: OnnxGraph, same: Value, length: Value, k1: float, b: float) -> Value:
    """Return BM25's saturated count of each query token in the text, shape (query tokens, 1)."""
    counts = graph.op("ReduceSum", same, graph.integers(1), keepdims=1)
    saturation = graph.op("Add", length, graph.scalar(k1 * (1 - b)))
    return graph.op("Div", graph.op("Mul", counts, graph.scalar(k1 + 1)), graph.op("Add", counts, saturation))


def _shared_runs(graph: OnnxGraph, same: Value) -> Value:
    """Return 1 for each query token that begins a run that the text has, else 0: shape (query tokens, 1)."""
    padded = graph.op("Pad", same, graph.integers(0, 0, RUN - 1, RUN - 1))
    first, second, third = _shifts(graph, padded, graph.op("Shape", same), (0, 1))
    run = graph.op("Mul", graph.op("Mul", first, second), third)
    return graph.op("ReduceMax", run, graph.integers(1), keepdims=1)


def _run_sums(graph: OnnxGraph, row: Value) -> Value:
    """Return the sum of each number and those after it in its run, shape (1, query tokens)."""
    padded = graph.op("Pad", row, graph.integers(0, 0, 0, RUN - 1))
    first, second, third = _shifts(graph, padded, graph.op("Shape", row, start=1), (1,))
    return graph.op("Add", graph.op("Add", first, second), third)


def _shifts(graph: OnnxGraph, padded: Value, size: Value, axes: tuple[int, ...]) -> list[Value]:
    """Return what was padded, shifted by 0, 1 and 2 along the axes, in its size before."""
    starts = [graph.integers(*[offset] * len(axes)) for offset in range(RUN)]
    return [graph.op("Slice", padded, start, graph.op("Add", size, start), graph.integers(*axes)) for start in starts]
