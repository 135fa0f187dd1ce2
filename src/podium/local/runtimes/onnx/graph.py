"""A network as ONNX nodes: the Graph that ONNX Runtime runs. Nothing is traced, and nothing is computed here.

The operators are those that ONNX Runtime runs fastest for one pair at a time (docs/performance.md has the figures):
rows of tokens without a batch axis, Gemm with its bias, explicit attention over all heads, Add and LayerNormalization
apart. Weights stay outside the protobuf, which could not hold more than 2 GB of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from podium.local.cpu import int8_is_exact_as_signed
from podium.local.graph import Attention, Graph, Positions

if TYPE_CHECKING:
    from podium.local.files.checkpoint import Array, Checkpoint
    from podium.local.runtimes.int8 import Quantised

__all__ = ["OnnxGraph"]

OPSET, MICROSOFT = 20, "com.microsoft"

OPERATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "gelu": ("Gelu", {}),
    "gelu_tanh": ("Gelu", {"approximate": "tanh"}),
    "relu": ("Relu", {}),
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
}


class OnnxGraph(Graph):
    """Nodes and weights under construction. Beside what every Graph has, `op` adds any operator.

    `weights` maps names to arrays; `quantised` is given for int8, whose weights are signed where this processor sums them
    exactly, unless `signed_int8` says otherwise.
    """

    def __init__(self, checkpoint: Checkpoint, quantised: Quantised | None = None, *, signed_int8: bool | None = None) -> None:
        super().__init__(checkpoint)
        self._signed = int8_is_exact_as_signed() if signed_int8 is None else signed_int8
        self.weights: dict[str, Array] = {}
        self.inputs: list[str] = []
        self._quantised = quantised
        self._nodes: list[onnx.NodeProto] = []
        self._made = 0
        self._windows: dict[int, str] = {}

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        return self.ops(kind, *inputs, outputs=1, domain=domain, **attributes)[0]

    def ops(self, kind: str, *inputs: str, outputs: int, domain: str = "", **attributes: Any) -> list[str]:
        self._made += 1
        names = [f"{kind}.{self._made}.{at}" for at in range(outputs)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, domain=domain, **attributes))
        return names

    def constant(self, array: Array, name: str | None = None) -> str:
        name = name or f"constant.{len(self.weights)}"
        self.weights[name] = array
        return name

    def whole_numbers(self, *numbers: int) -> str:
        return self.constant(np.array(numbers, np.int64), "whole." + ".".join(map(str, numbers)))

    def number(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def cast(self, x: str, to: str) -> str:
        return self.op("Cast", x, to={"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}[to])

    def input(self, name: str) -> str:
        """Return an input of token ids, shape (1, tokens), as (tokens,)."""
        if name not in self.inputs:
            self.inputs.append(name)
        return self.op("Reshape", name, self.whole_numbers(-1))

    def weight(self, name: str) -> str:
        return name if name in self.weights else self.constant(self.checkpoint[name], name)

    def embedding(self, name: str, ids: str) -> str:
        """Look rows of a table up. A float16 table stays float16 in memory; only the rows become float32."""
        if name not in self.weights:
            self.constant(self.checkpoint.stored(name), name)
        rows = self.op("Gather", name, ids)
        return rows if self.weights[name].dtype == np.float32 else self.cast(rows, "float32")

    def length(self, ids: str) -> str:
        """Return the number of tokens, shape (1,)."""
        return self.op("Shape", ids)

    def first(self, x: str, count: str) -> str:
        """Return the first `count` rows, a name of shape (1,)."""
        return self.op("Slice", x, self.whole_numbers(0), count, self.whole_numbers(0))

    def cut(self, x: str, at: str, axis: int = 0) -> tuple[str, str]:
        """Return what lies before and from a place, a name of shape (1,)."""
        start, end, axes = self.whole_numbers(0), self.whole_numbers(1 << 40), self.whole_numbers(axis)
        return self.op("Slice", x, start, at, axes), self.op("Slice", x, at, end, axes)

    def first_row(self, x: str) -> str:
        return self.first(x, self.whole_numbers(1))

    def linear(self, x: str, *names: str, bias: bool = True, exact: bool = False) -> str:
        key = "|".join(names)
        inputs, outputs = self.checked_sizes(names, bias)
        biases = [self.checkpoint[f"{name}.bias"] for name in names if bias]
        added = [self.constant(np.concatenate(biases), f"{key}.bias")] if bias else []
        if self._quantised is None or exact:
            return self.op("Gemm", x, self.constant(self._stacked(names), f"{key}.weight"), *added, transB=1)
        whole, scale = self._quantised.get(key, inputs, outputs) or self._quantised.keep(key, self._stacked(names))
        if not self._signed:
            whole = (whole.view(np.uint8) ^ np.uint8(0x80)).view(np.uint8)
        zero = np.full(len(scale), 0 if whole.dtype == np.int8 else 128, whole.dtype)
        parts = [self.constant(whole, f"{key}.int8"), self.constant(scale, f"{key}.scale"), self.constant(zero)]
        return self.op("DynamicQuantizeMatMul", x, *parts, *added, domain=MICROSOFT)

    def _stacked(self, names: tuple[str, ...]) -> Array:
        weights = [self.checkpoint[f"{name}.weight"] for name in names]
        return weights[0] if len(weights) == 1 else np.concatenate(weights)

    def norm(self, x: str, name: str, epsilon: float, *, bias: bool = True) -> str:
        parts = self.checked_norm(name, bias)
        return self.op("LayerNormalization", x, *map(self.weight, parts), epsilon=epsilon)

    def activation(self, x: str, name: str) -> str:
        kind = self.checked_activation(name)
        if kind == "silu":
            return self.op("Mul", x, self.op("Sigmoid", x))
        operator, attributes = OPERATORS[kind]
        return self.op(operator, x, **attributes)

    def add(self, x: str, y: str) -> str:
        return self.op("Add", x, y)

    def gate(self, x: str, name: str) -> str:
        value, gate = self.ops("Split", x, outputs=2, axis=-1, num_outputs=2)
        return self.op("Mul", self.activation(value, name), gate)

    def heads(self, x: str, count: int) -> str:
        """Return (tokens, count × size) as (count, tokens, size)."""
        split = self.op("Reshape", x, self.constant(np.array([0, count, -1], np.int64), f"heads.{count}"))
        return self.op("Transpose", split, perm=[1, 0, 2])

    def attend(self, query: str, key: str, value: str, scale: float, bias: str | None = None) -> str:
        """Attend over all keys, each argument (heads, tokens, size); return (query tokens, heads × size).

        `bias` is added to the scaled products before the softmax.
        """
        products = self.op("FusedMatMul", query, key, domain=MICROSOFT, transB=1, alpha=scale)
        weights = self.op("Softmax", products if bias is None else self.op("Add", products, bias), axis=-1)
        mixed = self.op("Transpose", self.op("MatMul", weights, value), perm=[1, 0, 2])
        return self.op("Reshape", mixed, self.constant(np.array([0, -1], np.int64), "merged"))

    # ---- what other Graphs do in one step ----

    def embedded(
        self, words: str, *, segments: str | None, segmented: bool, places: str | None, positions: Positions, padding: int
    ) -> str:
        ids = self.input("input_ids")
        x = self.embedding(words, ids)
        if segments:
            x = self.add(x, self.embedding(segments, self.input("token_type_ids") if segmented else self.whole_numbers(0)))
        return x if places is None else self.add(x, self._placed(places, ids, positions, padding))

    def _placed(self, places: str, ids: str, positions: Positions, padding: int) -> str:
        if positions == "counted":
            return self.first(self.weight(places), self.length(ids))
        if positions == "counted_by_side":
            cut = self.side_cut()
            counts = (cut, self.op("Sub", self.length(ids), cut))
            return self.op("Concat", *[self.first(self.weight(places), count) for count in counts], axis=0)
        # Counted from one after the padding's id; a padding token typed in a text stays at its id.
        pad = self.whole_numbers(padding)
        real = self.cast(self.op("Not", self.op("Equal", ids, pad)), "int64")
        counted = self.op("Mul", self.op("CumSum", real, self.constant(np.array(0, np.int64), "axis.0")), real)
        return self.embedding(places, self.op("Add", counted, pad))

    def side_cut(self) -> str:
        """Return where the second side of a pair begins, the last token of segment 0: shape (1,)."""
        segments = self.input("token_type_ids")
        of_second = self.op("ReduceSum", segments, self.whole_numbers(0), keepdims=1)
        return self.op("Sub", self.op("Sub", self.length(segments), of_second), self.whole_numbers(1))

    def attention(self, x: str, names: Sequence[str], shape: Attention, *, bias: bool = True) -> str:
        scale = (shape.width // shape.heads) ** -0.5
        self.checked_heads(names, shape)
        if shape.only_first and len(names) == 3:
            rows = self.heads(self.linear(x, *names[1:], bias=bias), 2 * shape.heads)
            key, value = self.ops("Split", rows, outputs=2, axis=0, num_outputs=2)
            query = self.heads(self.linear(self.first_row(x), names[0], bias=bias), shape.heads)
            return self.attend(query, key, value, scale)
        heads = self.heads(self.linear(x, *names, bias=bias), 3 * shape.heads)
        if shape.by_side:
            texts = [self._split(text) for text in self.cut(heads, self.side_cut(), axis=1)]
            return self.op("Concat", *[self.attend(*parts, scale) for parts in texts], axis=0)
        query, key, value = self._split(heads)
        mask = None if shape.window is None else self._window(shape.window)
        if shape.rotary:
            key = self._rotated(key, shape)
        if shape.only_first:
            # Position 0 is not rotated, so the one query that is left needs nothing but its own row.
            query = self.op("Slice", query, self.whole_numbers(0), self.whole_numbers(1), self.whole_numbers(1))
            mask = mask and self.first_row(mask)
        elif shape.rotary:
            query = self._rotated(query, shape)
        return self.attend(query, key, value, scale, mask)

    def _split(self, heads: str) -> tuple[str, str, str]:
        query, key, value = self.ops("Split", heads, outputs=3, axis=0, num_outputs=3)
        return query, key, value

    def _rotated(self, x: str, shape: Attention) -> str:
        assert shape.rotary is not None  # noqa: S101  for the type checker
        ids, (cos, sin) = self.input("input_ids"), shape.rotary.tables(shape.width // shape.heads)
        tables = [np.concatenate([half, half], axis=1) for half in (cos, sin)]
        names = [f"{kind}.{shape.rotary.theta}" for kind in ("cos", "sin")]
        cosines, sines = (
            self.first(name if name in self.weights else self.constant(table, name), self.length(ids))
            for table, name in zip(tables, names, strict=True)
        )
        left, right = self.ops("Split", x, outputs=2, axis=-1, num_outputs=2)
        turned = self.op("Concat", self.op("Neg", right), left, axis=-1)
        return self.op("Add", self.op("Mul", x, cosines), self.op("Mul", turned, sines))

    def _window(self, reach: int) -> str:
        """Return 0 where two tokens are at most `reach` apart, a very negative number elsewhere: (tokens, tokens)."""
        if reach not in self._windows:
            scalar = self.op("Squeeze", self.length(self.input("input_ids")))
            zero, one = (self.constant(np.array(value, np.int64), f"scalar.{value}") for value in (0, 1))
            places = self.op("Range", zero, scalar, one)
            across, down = (self.op("Unsqueeze", places, self.whole_numbers(axis)) for axis in (0, 1))
            apart = self.op("Abs", self.op("Sub", across, down))
            far = self.op("Greater", apart, self.whole_numbers(reach))
            self._windows[reach] = self.op("Where", far, self.number(-3.4e38), self.number(0.0))
        return self._windows[reach]

    def mean(self, x: str) -> str:
        return self.op("ReduceMean", x, self.whole_numbers(0), keepdims=1)

    def model(self, result: str) -> onnx.ModelProto:
        """Return the network with `result` as its output; the weights are declared, not stored."""
        inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, [1, "tokens"]) for name in self.inputs]
        output = helper.make_tensor_value_info(result, TensorProto.FLOAT, [1, "outputs"])
        declared = [_declared(name, array) for name, array in self.weights.items()]
        graph = helper.make_graph(self._nodes, "podium", inputs, [output], declared)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def _declared(name: str, array: Array) -> onnx.TensorProto:
    # Small integers and scalars must be in the model itself: shapes are worked out from them.
    if array.nbytes <= 1024 or math.prod(array.shape) == 1:
        return onnx.numpy_helper.from_array(array, name)
    tensor = TensorProto(name=name, dims=array.shape, data_type=helper.np_dtype_to_tensor_dtype(array.dtype))
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="given at load")
    return tensor
