"""Late interaction: query and text are read apart, their tokens compared after (ColBERT, Khattab & Zaharia 2020).

Not a cross-encoder: no token of one side ever attends to the other. What a small encoder learnt from a billion pairs of
texts stays as it was, and a head of a few hundred numbers weighs four comparisons:

- the cosine of the two mean rows, which is what the encoder was trained for
- each token of the query against the text's token most like it, in the mean, weighted by how much the token tells
- the words both have, as BM25 counts them; inverse document frequencies and word stems are tables in the checkpoint
- runs of three tokens that both have, as far as they are pieces of words: names, and scripts the vocabulary spells out

A pair is laid as [CLS] query [SEP] [CLS] text [SEP] with segments 0 and 1. The [CLS] rows take part in the means alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from podium.local.families import bert
from podium.local.families.transformer import encoder
from podium.local.graph import Graph

if TYPE_CHECKING:
    from podium.local.runtimes.native.graph import NativeGraph
    from podium.local.runtimes.onnx.graph import OnnxGraph

__all__ = ["HEAD_WEIGHTS", "encode", "head", "native_head"]

TABLES = ("late.token_importance", "late.token_idf", "late.token_piece_idf", "late.token_stem")
HEAD_WEIGHTS = ("late.importance.weight", *TABLES, "late.classifier.weight")
RUN = 3


def encode(graph: Graph, config: dict[str, Any], only_first: bool) -> str:
    """Encode each side as if it were alone, and both at once: all but attention works row by row."""
    x = bert.embeddings(graph, config, segmented=False, positions="counted_by_side")
    return encoder(graph, x, bert.layers(config), False, by_side=True)


def native_head(graph: NativeGraph, config: dict[str, Any], rows: str) -> str:
    """Do what `head` does in the native core, which has the four comparisons as one step."""
    _check_tables(graph, config)
    bm25 = (config["bm25_k1"], config["bm25_b"], config["bm25_text_tokens"])
    return graph.linear(graph.compared(rows, "late.importance", TABLES, *bm25), "late.classifier", exact=True)


def head(graph: OnnxGraph, config: dict[str, Any], rows: str) -> str:
    """Weigh the four comparisons. `rows` has shape (tokens, width)."""
    _check_tables(graph, config)
    cut = graph.side_cut()
    asked_ids, text_ids = (_inner(graph, ids) for ids in graph.cut(graph.input("input_ids"), cut))
    asked, text = graph.cut(rows, cut)
    inner = _inner(graph, asked)
    importance = graph.op("Add", _column(graph, inner), _looked_up(graph, "late.token_importance", asked_ids))
    weights = graph.op("Softmax", importance, axis=-1)
    compared = (
        _cosine(graph, graph.mean(asked), graph.mean(text)),
        _best_matches(graph, inner, _inner(graph, text), weights),
        *_lexical(graph, config, asked_ids, text_ids),
    )
    return graph.linear(graph.op("Concat", *compared, axis=-1), "late.classifier", exact=True)


def _check_tables(graph: Graph, config: dict[str, Any]) -> None:
    for table in TABLES:
        graph.expect_rows(table, config["vocab_size"])


def _inner(graph: OnnxGraph, rows: str) -> str:
    """Return all rows but that of [CLS]. That of [SEP] stays, so that there is always one."""
    return graph.op("Slice", rows, graph.whole_numbers(1), graph.whole_numbers(1 << 40), graph.whole_numbers(0))


def _column(graph: OnnxGraph, rows: str) -> str:
    return graph.op("Reshape", graph.linear(rows, "late.importance", exact=True), graph.whole_numbers(1, -1))


def _looked_up(graph: OnnxGraph, table: str, ids: str) -> str:
    """Return a number per token, shape (1, tokens)."""
    return graph.op("Reshape", graph.embedding(table, ids), graph.whole_numbers(1, -1))


def _cosine(graph: OnnxGraph, one: str, other: str) -> str:
    return graph.op("Gemm", _unit(graph, one), _unit(graph, other), transB=1)


def _best_matches(graph: OnnxGraph, asked: str, text: str, weights: str) -> str:
    """Return the weighted mean, over the query's tokens, of the cosine to the text's token most like each: (1, 1)."""
    cosines = graph.op("Gemm", _unit(graph, asked), _unit(graph, text), transB=1)
    best = graph.op("ReduceMax", cosines, graph.whole_numbers(1), keepdims=1)
    return graph.op("MatMul", weights, best)


def _unit(graph: OnnxGraph, rows: str) -> str:
    return graph.op("LpNormalization", rows, axis=-1, p=2)


def _lexical(graph: OnnxGraph, config: dict[str, Any], asked_ids: str, text_ids: str) -> tuple[str, str]:
    """Return shared words and shared runs, each (1, 1) and divided by the idf of the whole query."""
    asked, text = (_looked_up(graph, "late.token_stem", ids) for ids in (asked_ids, text_ids))
    same = graph.cast(graph.op("Equal", graph.op("Transpose", asked, perm=[1, 0]), text), "float32")
    idf = _looked_up(graph, "late.token_idf", asked_ids)
    whole = graph.op("Add", graph.op("ReduceSum", idf, graph.whole_numbers(1), keepdims=1), graph.number(1e-6))
    words = graph.op("MatMul", idf, _saturated(graph, config, same, text_ids))
    runs = graph.op("MatMul", _windows(graph, _looked_up(graph, "late.token_piece_idf", asked_ids)), _runs(graph, same))
    return graph.op("Div", words, whole), graph.op("Div", runs, graph.op("Mul", whole, graph.number(RUN)))


def _saturated(graph: OnnxGraph, config: dict[str, Any], same: str, text_ids: str) -> str:
    """Return what BM25 makes of how often the text has each token of the query, (query tokens, 1)."""
    counts = graph.op("ReduceSum", same, graph.whole_numbers(1), keepdims=1)
    k1, b, usual = config["bm25_k1"], config["bm25_b"], config["bm25_text_tokens"]
    length = graph.cast(graph.length(text_ids), "float32")
    saturation = graph.op("Add", graph.op("Mul", length, graph.number(k1 * b / usual)), graph.number(k1 * (1 - b)))
    return graph.op("Div", graph.op("Mul", counts, graph.number(k1 + 1)), graph.op("Add", counts, saturation))


def _runs(graph: OnnxGraph, same: str) -> str:
    """Return 1 for each token of the query that begins a run the text has, else 0: (query tokens, 1)."""
    padded = graph.op("Pad", same, graph.whole_numbers(0, 0, RUN - 1, RUN - 1))
    shape = graph.op("Shape", same)
    shifted = [_window(graph, padded, shape, at, (0, 1)) for at in range(RUN)]
    run = graph.op("Mul", graph.op("Mul", shifted[0], shifted[1]), shifted[2])
    return graph.op("ReduceMax", run, graph.whole_numbers(1), keepdims=1)


def _windows(graph: OnnxGraph, row: str) -> str:
    """Return the sum of each number in a row and those after it in its run, (1, query tokens)."""
    padded, length = graph.op("Pad", row, graph.whole_numbers(0, 0, 0, RUN - 1)), graph.op("Shape", row, start=1)
    shifted = [_window(graph, padded, length, at, (1,)) for at in range(RUN)]
    return graph.op("Add", graph.op("Add", shifted[0], shifted[1]), shifted[2])


def _window(graph: OnnxGraph, padded: str, size: str, at: int, axes: tuple[int, ...]) -> str:
    start = graph.whole_numbers(*[at] * len(axes))
    return graph.op("Slice", padded, start, graph.op("Add", size, start), graph.whole_numbers(*axes))
