"""OnnxGraph, a Graph that builds a network as ONNX nodes.

The nodes are those that ONNX Runtime runs fastest for one pair at a time (docs/performance.md has figures): rows of tokens
without a batch axis, Gemm with its bias, explicit attention over all heads, separate Add and LayerNormalization. Weights stay
outside the protobuf, which cannot hold more than 2 GB.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper

from podium.errors import Argument, UnsupportedModel
from podium.local.cpu import int8_is_exact_as_signed
from podium.local.graph import Attention, Graph, PositionKind, Rotary, Value
from podium.local.runtimes.onnx import disentangled

if TYPE_CHECKING:
    from podium.local.files.checkpoint import Array, Checkpoint
    from podium.local.runtimes.int8 import Int8Weights

__all__ = ["OnnxGraph"]

OPSET = 20
MICROSOFT = "com.microsoft"  # the domain of ONNX Runtime's own operators

# The name of an activation → its operator and the operator's attributes.
OPERATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "gelu": ("Gelu", {}),
    "gelu_tanh": ("Gelu", {"approximate": "tanh"}),
    "relu": ("Relu", {}),
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
}


class OnnxGraph(Graph):
    """ONNX nodes under construction. `weights` are the arrays that the nodes read, by name.

    - `int8`: the int8 weights, to which missing ones are added; None for a float32 network.
    - `signed`: whether int8 weights are signed. By default they are if this processor adds up their products exactly.
    """

    def __init__(self, checkpoint: Checkpoint, int8: Int8Weights | None = None, *, signed: bool | None = None) -> None:
        super().__init__(checkpoint)
        self.weights: dict[str, Array] = {}
        self._int8 = int8
        self._signed = int8_is_exact_as_signed() if signed is None else signed
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[str] = []
        self._values: dict[str, Value] = {}  # the values of `once`, by key

    def model(self, result: Value) -> onnx.ModelProto:
        """Return the network with `result` as its output. Large weights are only declared; `weights` has their arrays."""
        inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, [1, "tokens"]) for name in self._inputs]
        output = helper.make_tensor_value_info(result, TensorProto.FLOAT, ["rows", "outputs"])
        initializers = [_initializer(name, array) for name, array in self.weights.items()]
        graph = helper.make_graph(self._nodes, "podium", inputs, [output], initializers)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9)

    # ONNX's own operations.

    def op(self, kind: str, *inputs: Value, domain: str = "", **attributes: Any) -> Value:
        """Add an operator with one output."""
        return self.ops(kind, *inputs, outputs=1, domain=domain, **attributes)[0]

    def ops(self, kind: str, *inputs: Value, outputs: int, domain: str = "", **attributes: Any) -> list[Value]:
        """Add an operator with `outputs` outputs."""
        names = [f"{kind}.{len(self._nodes)}.{index}" for index in range(outputs)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, domain=domain, **attributes))
        return [Value(name) for name in names]

    def once(self, key: str, make: Callable[[], Value]) -> Value:
        """Return the value of this key. `make` adds it on the first call."""
        if key not in self._values:
            self._values[key] = make()
        return self._values[key]

    def constant(self, array: Array, name: str | None = None) -> Value:
        """Add an array that nodes read, and return its name. An array of the same name is replaced."""
        name = name or f"constant.{len(self.weights)}"
        self.weights[name] = array
        return Value(name)

    def integers(self, *numbers: int) -> Value:
        return self.constant(np.array(numbers, np.int64), "integers." + ".".join(map(str, numbers)))

    def scalar(self, number: float) -> Value:
        return self.constant(np.array(number, np.float32))

    def integer_scalar(self, number: int) -> Value:
        return self.constant(np.array(number, np.int64), f"integer.{number}")

    def to_float(self, x: Value) -> Value:
        return self.op("Cast", x, to=TensorProto.FLOAT)

    def token_count(self) -> Value:
        """Return the number of tokens, shape (1,)."""
        return self.once("token count", lambda: self.op("Shape", self.token_ids()))

    def first(self, x: Value, count: Value, *, axis: int = 0) -> Value:
        """Return the first `count` rows; `count` has shape (1,)."""
        return self.op("Slice", x, self.integers(0), count, self.integers(axis))

    def split_heads(self, x: Value, count: int) -> Value:
        """Return (tokens, count × size) as (count, tokens, size)."""
        split = self.op("Reshape", x, self.constant(np.array([0, count, -1], np.int64), f"heads.{count}"))
        return self.op("Transpose", split, perm=[1, 0, 2])

    def query_key_value(self, heads: Value) -> tuple[Value, Value, Value]:
        query, key, value = self.ops("Split", heads, outputs=3, axis=0, num_outputs=3)
        return query, key, value

    def attend(self, query: Value, key: Value, value: Value, scale: float, bias: Value | None = None) -> Value:
        """Attend over all keys, each argument (heads, tokens, size); return (query tokens, heads × size).

        `bias` is added to the scaled products before the softmax.
        """
        products = self.op("FusedMatMul", query, key, domain=MICROSOFT, transB=1, alpha=scale)
        weights = self.op("Softmax", products if bias is None else self.op("Add", products, bias), axis=-1)
        mixed = self.op("Transpose", self.op("MatMul", weights, value), perm=[1, 0, 2])
        return self.op("Reshape", mixed, self.merged_shape())

    def merged_shape(self) -> Value:
        """Return the shape that joins all axes but the first."""
        return self.constant(np.array([0, -1], np.int64), "merged")

    # The operations of every Graph.

    def token_ids(self) -> Value:
        return self._input("input_ids")

    def segment_ids(self) -> Value:
        return self.zeros() if self.hides_segment_1 else self._segments()

    def _segments(self) -> Value:
        return self._input("token_type_ids")

    def _input(self, name: str) -> Value:
        """Return an input of shape (1, tokens) as (tokens,)."""
        if name not in self._inputs:
            self._inputs.append(name)
        return self.once(name, lambda: self.op("Reshape", Value(name), self.integers(-1)))

    def zeros(self) -> Value:
        return self.integers(0)  # One id is enough: ONNX adds its row to the rows of all tokens.

    def positions(self, kind: PositionKind, *, padding_id: int = 0) -> Value:
        if kind == "after_padding":
            return self._positions_after_padding(padding_id)
        return self.once("positions", lambda: self._range(self.token_count()))

    def _range(self, count: Value) -> Value:
        """Return the integers from 0 to `count` - 1; `count` has shape (1,)."""
        return self.op("Range", self.integer_scalar(0), self.op("Squeeze", count), self.integer_scalar(1))

    def _positions_after_padding(self, padding_id: int) -> Value:
        """Return positions counted from the padding id + 1. Padding tokens inside a text have the padding id as position."""
        padding = self.integers(padding_id)
        is_real = self.op("Cast", self.op("Not", self.op("Equal", self.token_ids(), padding)), to=TensorProto.INT64)
        counts = self.op("Mul", self.op("CumSum", is_real, self.integer_scalar(0)), is_real)
        return self.op("Add", counts, padding)

    def lookup(self, table: str, ids: Value) -> Value:
        if table not in self.weights:
            self.constant(self.checkpoint.stored(table), table)
        rows = self.op("Gather", Value(table), ids)
        return rows if self.weights[table].dtype == np.float32 else self.to_float(rows)

    def linear(self, x: Value, *names: str, bias: bool = True, exact: bool = False, wide_inputs: bool = False) -> Value:
        key = "|".join(names)
        inputs, outputs = self.checked_sizes(names, bias)
        biases = [self.constant(self._joined(names, "bias"), f"{key}.bias")] if bias else []
        if self._int8 is None or exact:
            return self.op("Gemm", x, self.constant(self._joined(names, "weight"), f"{key}.weight"), *biases, transB=1)
        weight, scale = self._int8.get(key, inputs, outputs) or self._int8.add(key, self._joined(names, "weight"))
        zero_points = np.zeros(len(scale), np.int8)
        if not self._signed:
            # Flipping the highest bit adds 128 to the weights and to their zero points, so the network stays the same.
            weight = weight.view(np.uint8) ^ np.uint8(0x80)
            zero_points = zero_points.view(np.uint8) ^ np.uint8(0x80)
        parts = [self.constant(weight, f"{key}.int8"), self.constant(scale, f"{key}.scale"), self.constant(zero_points)]
        return self.op("DynamicQuantizeMatMul", x, *parts, *biases, domain=MICROSOFT)

    def _joined(self, names: Sequence[str], kind: str) -> Array:
        """Return the weights or biases of several layers as one array. `kind` is "weight" or "bias"."""
        arrays = [self.checkpoint[f"{name}.{kind}"] for name in names]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)

    def norm(self, x: Value, name: str, epsilon: float, *, bias: bool = True) -> Value:
        tensors = [self.constant(self.checkpoint[tensor], tensor) for tensor in self.checked_norm(name, bias)]
        return self.op("LayerNormalization", x, *tensors, epsilon=epsilon)

    def activation(self, x: Value, name: str) -> Value:
        kind = self.checked_activation(name)
        if kind == "silu":
            return self.op("Mul", x, self.op("Sigmoid", x))
        operator, attributes = OPERATORS[kind]
        return self.op(operator, x, **attributes)

    def add(self, x: Value, y: Value) -> Value:
        return self.op("Add", x, y)

    def gate(self, x: Value, name: str) -> Value:
        left, right = self.ops("Split", x, outputs=2, axis=-1, num_outputs=2)
        return self.op("Mul", self.activation(left, name), right)

    def row(self, x: Value, position: Literal["first", "last"]) -> Value:
        if position == "last":
            raise UnsupportedModel("only podium's native core reads the last token; use ", Argument("runtime", "native"))
        return self.first(x, self.integers(1))

    def mean(self, x: Value) -> Value:
        return self.op("ReduceMean", x, self.integers(0), keepdims=1)

    def join(self, *values: Value) -> Value:
        return self.op("Concat", *values, axis=-1)

    def attention(self, x: Value, names: Sequence[str], shape: Attention, *, bias: bool = True) -> Value:
        self.check_heads(names, shape)
        if shape.is_causal or shape.key_heads or shape.norms or shape.rows == "last":
            raise UnsupportedModel(
                "only podium's native core has the attention of decoders; use ", Argument("runtime", "native")
            )
        scale = shape.size**-0.5
        if self.hides_segment_1:
            return self._attention_to_segment_0(x, names, shape, bias=bias)
        if shape.rows == "first" and len(names) == 3:
            key_value = self.split_heads(self.linear(x, *names[1:], bias=bias), 2 * shape.heads)
            key, value = self.ops("Split", key_value, outputs=2, axis=0, num_outputs=2)
            query = self.split_heads(self.linear(self.row(x, "first"), names[0], bias=bias), shape.heads)
            return self.attend(query, key, value, scale)
        heads = self.split_heads(self.linear(x, *names, bias=bias), 3 * shape.heads)
        query, key, value = self.query_key_value(heads)
        mask = None if shape.window is None else self._window(shape.window)
        if shape.rotary:
            key = self._rotate(key, shape.rotary, shape.size)
        if shape.rows == "first":
            query = self.first(query, self.integers(1), axis=1)  # not rotated: position 0 is a rotation by 0
            mask = mask and self.row(mask, "first")
        elif shape.rotary:
            query = self._rotate(query, shape.rotary, shape.size)
        return self.attend(query, key, value, scale, mask)

    def _attention_to_segment_0(self, x: Value, names: Sequence[str], shape: Attention, *, bias: bool) -> Value:
        """Let all tokens attend to those of segment 0. The result of a token whose window has none of these is 0."""
        heads = self.split_heads(self.linear(x, *names, bias=bias), 3 * shape.heads)
        query, key, value = self.query_key_value(heads)
        if shape.rotary:
            query, key = (self._rotate(part, shape.rotary, shape.size) for part in (query, key))
        count = self.once("segment 0 count", lambda: self.op("Sub", self.token_count(), self._segment_1_count()))
        key, value = (self.first(part, count, axis=1) for part in (key, value))
        if shape.window is None:
            return self.attend(query, key, value, shape.size**-0.5)
        mask = self.first(self._window(shape.window), count, axis=1)
        attended = self.attend(query, key, value, shape.size**-0.5, mask)
        is_near = self.op("Greater", self.op("ReduceMax", mask, self.integers(1), keepdims=1), self.scalar(-1.0))
        return self.op("Mul", attended, self.to_float(is_near))

    def _segment_1_count(self) -> Value:
        """Return the number of tokens of segment 1, shape (1,)."""
        return self.op("ReduceSum", self._segments(), self.integers(0), keepdims=1)

    def _rotate(self, x: Value, rotary: Rotary, size: int) -> Value:
        """Return `x`, of shape (heads, tokens, size), with each token's row rotated by its position."""
        cosines, sines = (
            self.first(self.constant(np.concatenate([table, table], axis=1), f"{kind}.{rotary.theta}"), self.token_count())
            for kind, table in zip(("cosines", "sines"), rotary.tables(size), strict=True)
        )
        left, right = self.ops("Split", x, outputs=2, axis=-1, num_outputs=2)
        turned = self.op("Concat", self.op("Neg", right), left, axis=-1)
        return self.op("Add", self.op("Mul", x, cosines), self.op("Mul", turned, sines))

    def _window(self, reach: int) -> Value:
        """Return 0 for two tokens that are at most `reach` apart, else a very negative number: (tokens, tokens)."""

        def make() -> Value:
            positions = self.positions("counted")
            across, down = (self.op("Unsqueeze", positions, self.integers(axis)) for axis in (0, 1))
            distance = self.op("Abs", self.op("Sub", across, down))
            far = self.op("Greater", distance, self.integers(reach))
            return self.op("Where", far, self.scalar(-3.4e38), self.scalar(0.0))

        return self.once(f"window.{reach}", make)

    disentangled_attention = disentangled.attention

    def convolution(self, x: Value, name: str, *, size: int, groups: int) -> Value:
        channels = self.op("Unsqueeze", self.op("Transpose", x, perm=[1, 0]), self.integers(0))
        tensors = [self.constant(self.checkpoint[f"{name}.{kind}"]) for kind in ("weight", "bias")]
        padding = [(size - 1) // 2] * 2
        convolved = self.op("Conv", channels, *tensors, kernel_shape=[size], group=groups, pads=padding)
        return self.op("Transpose", self.op("Squeeze", convolved, self.integers(0)), perm=[1, 0])


def _initializer(name: str, array: Array) -> onnx.TensorProto:
    # Small integers and scalars must be in the model itself: ONNX Runtime infers shapes from them.
    if array.nbytes <= 1024 or math.prod(array.shape) == 1:
        return onnx.numpy_helper.from_array(array, name)
    tensor = TensorProto(name=name, dims=array.shape, data_type=helper.np_dtype_to_tensor_dtype(array.dtype))
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="passed to the session")
    return tensor
