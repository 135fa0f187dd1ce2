"""Operations that a Graph refuses, because it would compute them wrongly."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from safetensors.numpy import save_file

from environment import NEEDS_CORE, NEEDS_ONNX
from podium.errors import UnsupportedModel
from podium.local.files.checkpoint import Checkpoint
from podium.local.graph import Attention, Graph


def onnx_graph(checkpoint) -> Graph:
    from podium.local.runtimes.onnx.graph import OnnxGraph

    return OnnxGraph(checkpoint)


def native_graph(checkpoint) -> Graph:
    from podium.local.runtimes.native.graph import NativeGraph
    from podium.local.runtimes.native.packed import Packed

    return NativeGraph(checkpoint, Packed("tests", "float32"), "float32")


@pytest.fixture
def checkpoint(tmp_path):
    draw = np.random.default_rng(0)
    tensors = {name: draw.standard_normal((6, 4)).astype(np.float32) for name in ("words", "segments", "positions")}
    tensors["qkv.weight"] = draw.standard_normal((12, 4)).astype(np.float32)
    save_file(tensors, tmp_path / "x.safetensors")
    with contextlib.closing(Checkpoint([tmp_path / "x.safetensors"])) as opened:
        yield opened


@pytest.fixture(
    params=[pytest.param(onnx_graph, marks=NEEDS_ONNX), pytest.param(native_graph, marks=NEEDS_CORE)], ids=["onnx", "native"]
)
def graph(request, checkpoint):
    return request.param(checkpoint)


@NEEDS_ONNX
def test_onnx_refuses_the_operations_of_decoders(checkpoint):
    graph = onnx_graph(checkpoint)
    x = graph.lookup("words", graph.token_ids())
    operations = [
        lambda: graph.select(x, "last"),
        lambda: graph.rms_norm(x, "norm", 1e-6),
        lambda: graph.scale(x, 2.0),
        lambda: graph.table_rows(x, "words", [0]),
        lambda: graph.attention(x, ["qkv"], Attention(2, 4, is_causal=True), bias=False),
    ]
    for operation in operations:
        with pytest.raises(UnsupportedModel, match="runtime='native'"):
            operation()


@NEEDS_CORE
def test_rows_that_a_table_does_not_have_are_refused(checkpoint):
    graph = native_graph(checkpoint)
    x = graph.lookup("words", graph.token_ids())
    for ids in ([6], [-1], [0, 99]):
        with pytest.raises(UnsupportedModel, match="does not have the rows"):
            graph.mean(graph.table_rows(x, "words", ids))


@NEEDS_CORE
@pytest.mark.parametrize("key_heads", [3, 4, -1])
def test_key_heads_must_divide_the_heads(checkpoint, key_heads):
    graph = native_graph(checkpoint)
    x = graph.lookup("words", graph.token_ids())
    with pytest.raises(UnsupportedModel, match="heads of keys equally"):
        graph.attention(x, ["qkv"], Attention(2, 4, key_heads=key_heads), bias=False)


def test_selecting_all_rows_returns_the_same_value(graph):
    x = graph.lookup("words", graph.token_ids())
    assert graph.select(x, "all") == x


@pytest.mark.parametrize("heads", [0, 3], ids=["none", "remainder"])
def test_number_of_heads_must_divide_the_width(graph, heads):
    x = graph.lookup("words", graph.token_ids())
    with pytest.raises(UnsupportedModel, match="attention heads"):
        graph.attention(x, ["qkv"], Attention(heads, 4), bias=False)


@NEEDS_CORE
@pytest.mark.parametrize(
    "tables",
    [["segments", "segments"], ["positions", "segments"], ["positions", "positions"]],
    ids=["two-segments", "segments-last", "two-positions"],
)
def test_native_core_refuses_other_sums_of_embeddings(checkpoint, tables):
    """The native core adds words, segments and positions in this order. Another order would change the last bit of a sum."""
    graph = native_graph(checkpoint)
    ids = {"segments": graph.segment_ids(), "positions": graph.positions("counted")}
    first, second = (graph.lookup(table, ids[table]) for table in tables)
    x = graph.add(graph.add(graph.lookup("words", graph.token_ids()), first), second)
    with pytest.raises(UnsupportedModel, match="cannot add"):
        graph.mean(x)
