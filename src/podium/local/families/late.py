"""Late interaction: query and text are read apart, their tokens compared after (ColBERT, Khattab & Zaharia 2020).

Not a cross-encoder: no token of one side ever attends to the other. What a small encoder learnt from a billion pairs of
texts stays as it was, and a head of a few hundred numbers weighs three comparisons of what it says:

- the cosine of the two mean rows, which is what the encoder was trained for
- each token of the query against the text's token most like it, in the mean, weighted by how much the token tells
- the words both have, as BM25 counts them; inverse document frequencies and word stems are tables in the checkpoint

A pair is laid as [CLS] query [SEP] [CLS] text [SEP] with segments 0 and 1. The [CLS] rows take part in the means alone.
"""

from __future__ import annotations

from typing import Any

from onnx import TensorProto

from podium.local.families import bert
from podium.local.families.layers import encoder
from podium.local.graph import Graph

__all__ = ["HEAD_WEIGHTS", "encode", "head"]

HEAD_WEIGHTS = (
    "late.importance.weight",
    "late.token_importance",
    "late.token_idf",
    "late.token_stem",
    "late.classifier.weight",
)


def encode(graph: Graph, config: dict[str, Any], only_first: bool) -> str:
    """Encode each side as if it were alone, and both at once: all but attention works row by row."""
    ids, cut = graph.input("input_ids"), _cut(graph)
    places = [bert.positions(graph, config, count) for count in (cut, graph.op("Sub", graph.length(ids), cut))]
    x = bert.embedded(graph, config, ids, graph.whole_numbers(0), graph.op("Concat", *places, axis=0))
    return encoder(graph, x, bert.layers(config), False, cut)


def head(graph: Graph, config: dict[str, Any], rows: str) -> str:
    """Weigh the three comparisons. `rows` has shape (tokens, width)."""
    cut = _cut(graph)
    asked_ids, text_ids = (_inner(graph, ids) for ids in graph.cut(graph.input("input_ids"), cut))
    asked, text = graph.cut(rows, cut)
    inner = _inner(graph, asked)
    importance = graph.op("Add", _column(graph, inner), _looked_up(graph, "late.token_importance", asked_ids))
    weights = graph.op("Softmax", importance, axis=-1)
    compared = (
        _cosine(graph, graph.mean(asked), graph.mean(text)),
        _best_matches(graph, inner, _inner(graph, text), weights),
        _shared_words(graph, config, asked_ids, text_ids),
    )
    return graph.linear(graph.op("Concat", *compared, axis=-1), "late.classifier", exact=True)


def _cut(graph: Graph) -> str:
    """Return where the second [CLS] is, the last token of segment 0: shape (1,)."""
    segments = graph.input("token_type_ids")
    of_text = graph.op("ReduceSum", segments, graph.whole_numbers(0), keepdims=1)
    return graph.op("Sub", graph.op("Sub", graph.length(segments), of_text), graph.whole_numbers(1))


def _inner(graph: Graph, rows: str) -> str:
    """Return all rows but that of [CLS]. That of [SEP] stays, so that there is always one."""
    return graph.op("Slice", rows, graph.whole_numbers(1), graph.whole_numbers(1 << 40), graph.whole_numbers(0))


def _column(graph: Graph, rows: str) -> str:
    return graph.op("Reshape", graph.linear(rows, "late.importance", exact=True), graph.whole_numbers(1, -1))


def _looked_up(graph: Graph, table: str, ids: str) -> str:
    """Return a number per token, shape (1, tokens)."""
    return graph.op("Reshape", graph.embedding(table, ids), graph.whole_numbers(1, -1))


def _cosine(graph: Graph, one: str, other: str) -> str:
    return graph.op("Gemm", _unit(graph, one), _unit(graph, other), transB=1)


def _best_matches(graph: Graph, asked: str, text: str, weights: str) -> str:
    """Return the weighted mean, over the query's tokens, of the cosine to the text's token most like each: (1, 1)."""
    cosines = graph.op("Gemm", _unit(graph, _projected(graph, asked)), _unit(graph, _projected(graph, text)), transB=1)
    best = graph.op("ReduceMax", cosines, graph.whole_numbers(1), keepdims=1)
    return graph.op("MatMul", weights, best)


def _projected(graph: Graph, rows: str) -> str:
    return (
        graph.linear(rows, "late.projection", bias=False, exact=True) if "late.projection.weight" in graph.checkpoint else rows
    )


def _unit(graph: Graph, rows: str) -> str:
    return graph.op("LpNormalization", rows, axis=-1, p=2)


def _shared_words(graph: Graph, config: dict[str, Any], asked_ids: str, text_ids: str) -> str:
    """Return BM25's sum over the query's tokens, counted by stem, divided by the sum of their idf: (1, 1)."""
    asked, text = (graph.embedding("late.token_stem", ids) for ids in (asked_ids, text_ids))
    same = graph.op("Equal", graph.op("Reshape", asked, graph.whole_numbers(-1, 1)), _row(graph, text))
    counts = graph.op("ReduceSum", graph.op("Cast", same, to=TensorProto.FLOAT), graph.whole_numbers(1), keepdims=1)
    k1, b, usual = config["bm25_k1"], config["bm25_b"], config["bm25_text_tokens"]
    length = graph.op("Cast", graph.length(text_ids), to=TensorProto.FLOAT)
    saturation = graph.op("Add", graph.op("Mul", length, graph.number(k1 * b / usual)), graph.number(k1 * (1 - b)))
    saturated = graph.op("Div", graph.op("Mul", counts, graph.number(k1 + 1)), graph.op("Add", counts, saturation))
    idf = _looked_up(graph, "late.token_idf", asked_ids)
    whole = graph.op("ReduceSum", idf, graph.whole_numbers(1), keepdims=1)
    return graph.op("Div", graph.op("MatMul", idf, saturated), graph.op("Add", whole, graph.number(1e-6)))


def _row(graph: Graph, values: str) -> str:
    return graph.op("Reshape", values, graph.whole_numbers(1, -1))
