"""A network as ONNX nodes, written down operator by operator. Nothing is traced, and nothing is computed here.

The operators are those that ONNX Runtime runs fastest for one pair at a time (docs/performance.md has the figures):
rows of tokens without a batch axis, Gemm with its bias, explicit attention over all heads, Add and LayerNormalization
apart. Weights stay outside the protobuf, which could not hold more than 2 GB of them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper

from podium.errors import UnsupportedModel
from podium.local.cpu import int8_is_exact_as_signed

if TYPE_CHECKING:
    from podium.local.checkpoint import Array, Checkpoint
    from podium.local.quantised import Quantised

__all__ = ["Graph", "Precision"]

Precision = Literal["float32", "int8"]
OPSET, MICROSOFT = 20, "com.microsoft"

ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "gelu": ("Gelu", {}),
    "gelu_new": ("Gelu", {"approximate": "tanh"}),
    "gelu_pytorch_tanh": ("Gelu", {"approximate": "tanh"}),
    "gelu_fast": ("Gelu", {"approximate": "tanh"}),
    "relu": ("Relu", {}),
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
}


class Graph:
    """Nodes and weights under construction. Every method adds nodes and returns the name of their result.

    Hidden states have shape (tokens, width). `weights` maps names to arrays; `quantised` is given for int8, whose
    weights are signed where this processor sums them exactly, unless `signed_int8` says otherwise.
    """

    def __init__(self, checkpoint: Checkpoint, quantised: Quantised | None = None, *, signed_int8: bool | None = None) -> None:
        self.checkpoint = checkpoint
        self._signed = int8_is_exact_as_signed() if signed_int8 is None else signed_int8
        self.weights: dict[str, Array] = {}
        self.inputs: list[str] = []
        self._quantised = quantised
        self._nodes: list[onnx.NodeProto] = []
        self._made = 0

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
        return rows if self.weights[name].dtype == np.float32 else self.op("Cast", rows, to=TensorProto.FLOAT)

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
        """Return the first token's row, shape (1, width): all that a head on [CLS] reads."""
        return self.first(x, self.whole_numbers(1))

    def linear(self, x: str, *names: str, bias: bool = True, exact: bool = False) -> str:
        """Multiply by the checkpoint's weights of these names, side by side, and add their biases.

        `exact`: in float32 also where the rest is int8 (heads: one row, and the last word on every score).
        """
        key = "|".join(names)
        inputs, outputs = self._checked_sizes(names, bias)
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

    def _checked_sizes(self, names: tuple[str, ...], bias: bool) -> tuple[int, int]:
        """Return inputs and outputs of weights side by side. A bias of another length could be spread, silently wrong."""
        shapes = [self.checkpoint.shape(f"{name}.weight") for name in names]
        fits = all(len(shape) == 2 and shape[1] == shapes[0][1] for shape in shapes)
        if not fits or (bias and any(self.checkpoint.shape(f"{n}.bias") != s[:1] for n, s in zip(names, shapes, strict=True))):
            raise UnsupportedModel(f"the weights or biases of {', '.join(names)} have sizes that don't fit together: {shapes}")
        return shapes[0][1], sum(shape[0] for shape in shapes)

    def _stacked(self, names: tuple[str, ...]) -> Array:
        weights = [self.checkpoint[f"{name}.weight"] for name in names]
        return weights[0] if len(weights) == 1 else np.concatenate(weights)

    def norm(self, x: str, name: str, epsilon: float, *, bias: bool = True) -> str:
        """Normalise each row."""
        parts = [f"{name}.weight"] + ([f"{name}.bias"] if bias else [])
        if any(self.checkpoint.shape(part) in ((), (1,)) for part in parts):
            raise UnsupportedModel(f"the weights of {name} are one number each, not one for each column")
        return self.op("LayerNormalization", x, *map(self.weight, parts), epsilon=epsilon)

    def expect_rows(self, name: str, rows: int) -> None:
        """Refuse a checkpoint whose tensor has another number of rows than config.json says, where nothing else would."""
        if self.checkpoint.shape(name)[:1] != (rows,):
            said = f"{name} has shape {self.checkpoint.shape(name)}, config.json makes it {rows} rows"
            raise UnsupportedModel(f"the checkpoint does not match its config.json: {said}")

    def activation(self, x: str, name: str) -> str:
        if name in ("silu", "swish"):
            return self.op("Mul", x, self.op("Sigmoid", x))
        if name not in ACTIVATIONS:
            raise UnsupportedModel(f"its config.json asks for the activation {name!r}; known: {', '.join(ACTIVATIONS)}, silu")
        kind, attributes = ACTIVATIONS[name]
        return self.op(kind, x, **attributes)

    def heads(self, x: str, count: int) -> str:
        """Return (tokens, count × size) as (count, tokens, size)."""
        split = self.op("Reshape", x, self.constant(np.array([0, count, -1], np.int64), f"heads.{count}"))
        return self.op("Transpose", split, perm=[1, 0, 2])

    def attention(self, query: str, key: str, value: str, scale: float, bias: str | None = None) -> str:
        """Attend over all keys, each argument (heads, tokens, size); return (query tokens, heads × size).

        `bias` is added to the scaled products before the softmax.
        """
        products = self.op("FusedMatMul", query, key, domain=MICROSOFT, transB=1, alpha=scale)
        weights = self.op("Softmax", products if bias is None else self.op("Add", products, bias), axis=-1)
        mixed = self.op("Transpose", self.op("MatMul", weights, value), perm=[1, 0, 2])
        return self.op("Reshape", mixed, self.constant(np.array([0, -1], np.int64), "merged"))

    def mean(self, x: str) -> str:
        """Return the mean of all rows, shape (1, width)."""
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
