"""NativeGraph, a Graph that builds a network of podium._native, which is a list of steps.

An activation or a sum that follows a matrix product belongs to the product's step, because it is computed while the result is
still in registers. So a product becomes a step only when another operation needs its value. The lookups of an embedding become
one step, too.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, ParamSpec

import numpy as np

from podium._native import Network, multiply, normalise
from podium.errors import Argument, UnsupportedModel
from podium.local.graph import Attention, Graph, PositionKind, RelativeEmbeddings, Value
from podium.local.runtimes import Precision
from podium.local.runtimes.native.packed import PANEL, Packed, pack_floats, pack_int8

if TYPE_CHECKING:
    from podium.local.files.checkpoint import Array, Checkpoint

__all__ = ["NativeGraph"]

Arguments = ParamSpec("Arguments")

TOKEN_IDS = Value("token ids")
SEGMENT_IDS = Value("segment ids")
ZEROS = Value("zeros")
# The sums of lookups that the core can compute, by the parts of the embedding.
EMBEDDINGS = (("words",), ("words", "segments"), ("words", "positions"), ("words", "segments", "positions"))


class _Lookup(NamedTuple):
    """The lookup of `ids` in a table of the checkpoint."""

    table: str
    ids: Value

    @property
    def part(self) -> str:
        """The part of an embedding that this lookup is: words, segments or positions."""
        return {TOKEN_IDS: "words", SEGMENT_IDS: "segments", ZEROS: "segments"}.get(self.ids, "positions")


_Embedding = tuple[_Lookup, ...]
"""A sum of lookups that is not a step yet."""


@dataclass(frozen=True, slots=True)
class _Product:
    """A matrix product that is not a step yet. `activation` and `added` are the operations that belong to the same step.

    With `rows`, the weights are these rows of a table, whose name is in `names`.
    """

    x: Value
    names: tuple[str, ...]
    bias: bool
    exact: bool
    rows: tuple[int, ...] = ()
    wide_inputs: bool = False
    activation: str = "none"
    added: Value | None = None

    @property
    def takes_activation(self) -> bool:
        """Whether an activation of the product can belong to the same step."""
        return self.activation == "none" and self.added is None and not self.rows and not self.wide_inputs


class NativeGraph(Graph):
    """Steps under construction; `finish` returns the network.

    `packed` holds the packed weights; missing weights are added. `instruction_set` is one of
    podium._native.instruction_sets(), by default the best one.
    """

    def __init__(
        self, checkpoint: Checkpoint, packed: Packed, precision: Precision, *, instruction_set: str | None = None
    ) -> None:
        super().__init__(checkpoint)
        self.network = Network(instruction_set)
        self._packed = packed
        self._int8 = precision == "int8"
        # The number of each value's step, or an operation that is not a step yet.
        self._values: dict[Value, int | _Embedding | _Product] = {}
        self._positions: dict[Value, tuple[PositionKind, int]] = {}  # the kind of positions, and the padding token's id
        self.size = 0  # the number of weights of all products
        self._rows: dict[tuple[int, str], Value] = {}  # the first or last row of a step's result

    def finish(self, result: Value) -> tuple[Network, int, bool]:
        """Return the network, the width of its result, and whether the result has a row per token instead of one per text."""
        number = self._step_number(result)
        self.network.finish(result=number)
        return self.network, self.network.width(x=number), not self.network.per_text(x=number)

    def token_ids(self) -> Value:
        return TOKEN_IDS

    def segment_ids(self) -> Value:
        return ZEROS if self.hides_segment_1 else SEGMENT_IDS

    def zeros(self) -> Value:
        return ZEROS

    def positions(self, kind: PositionKind, *, padding_id: int = 0) -> Value:
        name = Value(f"positions {kind} {padding_id}")
        self._positions[name] = kind, padding_id
        return name

    def lookup(self, table: str, ids: Value) -> Value:
        return self._add_value((_Lookup(table, ids),))

    def linear(self, x: Value, *names: str, bias: bool = True, exact: bool = False, wide_inputs: bool = False) -> Value:
        self.checked_sizes(names, bias)
        return self._add_value(_Product(x, names, bias, exact, wide_inputs=wide_inputs))

    def norm(self, x: Value, name: str, epsilon: float, *, bias: bool = True) -> Value:
        weight, *biases = [self._vector(tensor) for tensor in self.checked_norm(name, bias)]
        bias_or_none = next(iter(biases), None)
        return self._step(self.network.norm, x=self._step_number(x), weight=weight, bias=bias_or_none, epsilon=epsilon)

    def rms_norm(self, x: Value, name: str, epsilon: float, *, offset: float = 0.0) -> Value:
        weight = self._norm_weight(name)
        if offset:
            weight = weight + np.float32(offset)
        return self._step(self.network.rms_norm, x=self._step_number(x), weight=weight, epsilon=epsilon)

    def scale(self, x: Value, factor: float) -> Value:
        return self._step(self.network.scale, x=self._step_number(x), factor=factor)

    def table_rows(self, x: Value, table: str, ids: Sequence[int]) -> Value:
        return self._add_value(_Product(x, (table,), bias=False, exact=True, rows=tuple(ids)))

    def activation(self, x: Value, name: str) -> Value:
        activation = self.checked_activation(name)
        value = self._values[x]
        if isinstance(value, _Product) and value.takes_activation:
            return self._add_value(replace(value, activation=activation))
        return self._step(self.network.activate, x=self._step_number(x), activation=activation)

    def add(self, x: Value, y: Value) -> Value:
        first = self._values[x]
        second = self._values[y]
        if isinstance(first, tuple) and isinstance(second, tuple):
            return self._add_value(first + second)
        if isinstance(first, _Product) and first.added is None and not first.rows:
            return self._add_value(replace(first, added=y))
        return self._step(self.network.add, x=self._step_number(x), y=self._step_number(y))

    def gate(self, x: Value, name: str) -> Value:
        return self._step(self.network.gate, x=self._step_number(x), activation=self.checked_activation(name))

    def attention(self, x: Value, names: Sequence[str], shape: Attention, *, bias: bool = True) -> Value:
        queries, keys, key_column = self._queries_and_keys(x, names, shape, bias=bias)
        query_norm, key_norm = (shape.norms.query, shape.norms.key) if shape.norms else (None, None)
        if queries == keys:
            queries = keys = self._transformed(keys, 0, shape.heads, shape, query_norm)
            queries = keys = self._transformed(keys, key_column, shape.key_count, shape, key_norm)
        else:
            queries = self._transformed(queries, 0, shape.heads, shape, query_norm)
            keys = self._transformed(keys, key_column, shape.key_count, shape, key_norm)
        return self._step(
            self.network.attend,
            queries=queries,
            query_column=0,
            keys=keys,
            key_column=key_column,
            value_column=key_column + shape.key_width,
            heads=shape.heads,
            size=shape.size,
            scale=shape.size**-0.5,
            window=shape.window or 0,
            hides_segment_1=self.hides_segment_1,
            key_heads=shape.key_count,
            causal=shape.is_causal,
            int8=self._int8 and not shape.is_causal,
        )

    def _queries_and_keys(self, x: Value, names: Sequence[str], shape: Attention, *, bias: bool = True) -> tuple[int, int, int]:
        """Return the number of the step whose first columns are queries, that of keys and values, and the first key column."""
        self.check_heads(names, shape)
        if shape.rows != "all" and len(names) == 3:
            # Queries are computed for the needed rows only.
            keys = self._step_number(self.linear(x, *names[1:], bias=bias))
            return self._step_number(self.linear(self.select(x, shape.rows), names[0], bias=bias)), keys, 0
        product = self.linear(x, *names, bias=bias)
        keys = self._step_number(product)
        return self._step_number(self.select(product, shape.rows)), keys, shape.width

    def disentangled_attention(
        self,
        x: Value,
        names: Sequence[str],
        shape: Attention,
        *,
        keys: RelativeEmbeddings | None,
        queries: RelativeEmbeddings | None,
        distance_rows: Array,
    ) -> Value:
        terms = [embeddings for embeddings in (keys, queries) if embeddings]
        if not terms:
            return self.attention(x, names, shape)
        query_step, key_step, key_column = self._queries_and_keys(x, names, shape)
        return self._step(
            self.network.attend_disentangled,
            queries=query_step,
            query_column=0,
            keys=key_step,
            key_column=key_column,
            value_column=key_column + shape.width,
            heads=shape.heads,
            size=shape.size,
            scale=(shape.size * (1 + len(terms))) ** -0.5,
            falling=self._relative_term(keys, shape, distance_rows[::-1], is_reversed=True) if keys else None,
            rising=self._relative_term(queries, shape, distance_rows) if queries else None,
        )

    def _relative_term(
        self, embeddings: RelativeEmbeddings, shape: Attention, rows: Array, *, is_reversed: bool = False
    ) -> tuple[Array, Array]:
        """Return the embeddings, (heads, size, count), and the column of each distance, of which `rows` has the embedding.

        Reversed embeddings have the order in which the distances fall, because neighbouring columns are packed faster.
        """
        order = slice(None, None, -1 if is_reversed else 1)

        def pack() -> Array:
            projected = self._projected(embeddings)[order].reshape(-1, shape.heads, shape.size)
            columns: Array = projected.transpose(1, 2, 0)
            return columns

        key = f"{embeddings}{', reversed' if is_reversed else ''}"
        table = self._packed.get(key, (shape.heads, shape.size, embeddings.count), pack)
        columns = embeddings.count - 1 - rows if is_reversed else rows
        return table, np.ascontiguousarray(columns, np.int32)

    def _projected(self, embeddings: RelativeEmbeddings) -> Array:
        """Return the projected embeddings, shape (count, width).

        The core computes them, and not numpy, whose results differ in the last bits between processors.
        """
        x = np.ascontiguousarray(self.checkpoint[embeddings.table][: embeddings.count])
        kernels = self.network.instruction_set
        if embeddings.norm:
            weight, bias = (self.checkpoint[f"{embeddings.norm}.{kind}"] for kind in ("weight", "bias"))
            normal = np.empty_like(x)
            normalise(x=x, weight=weight, bias=bias, epsilon=embeddings.epsilon, y=normal, instruction_set=kernels)
            x = normal
        weight = self.checkpoint[f"{embeddings.layer}.weight"]
        layer_bias = self.checkpoint[f"{embeddings.layer}.bias"] if embeddings.has_bias else None
        y = np.empty((len(x), len(weight)), np.float32)
        multiply(x=x, packed=pack_floats(weight), y=y, bias=layer_bias, activation="none", added=None, instruction_set=kernels)
        return y

    def convolution(self, x: Value, name: str, *, size: int, groups: int) -> Value:
        number = self._step_number(x)
        inputs = self.network.width(x=number)
        key = f"{name} of {size} tokens, {groups} groups"
        shape = (_panel_count(inputs), size * inputs, PANEL)
        packed = self._packed.get(
            key, shape, lambda: pack_floats(_convolution_weight(self.checkpoint[f"{name}.weight"], groups))
        )
        self.size += size * inputs * inputs
        neighbours = _checked_step(self.network.neighbours, x=number, size=size)
        return self._step(self.network.linear, x=neighbours, packed=packed, outputs=inputs, bias=self._bias((name,), inputs))

    def _transformed(self, number: int, column: int, heads: int, shape: Attention, norm: str | None) -> int:
        """Add the norm and the rotation of heads, which replace them in a step's result, and return the new step's number."""
        if not norm and not shape.rotary:
            return number
        cosines, sines = shape.rotary.tables(shape.size) if shape.rotary else (None, None)
        return _checked_step(
            self.network.transform_heads,
            x=number,
            column=column,
            heads=heads,
            size=shape.size,
            weight=self._norm_weight(norm) if norm else None,
            epsilon=shape.norms.epsilon if shape.norms else 0.0,
            cos=cosines,
            sin=sines,
            last=shape.rows == "last",
        )

    def row(self, x: Value, position: Literal["first", "last"]) -> Value:
        number = self._step_number(x)
        if (number, position) not in self._rows:
            select = self.network.first if position == "first" else self.network.last
            self._rows[number, position] = self._step(select, x=number)
        return self._rows[number, position]

    def mean(self, x: Value) -> Value:
        return self._step(self.network.mean, x=self._step_number(x))

    def join(self, *values: Value) -> Value:
        return self._step(self.network.join, inputs=[self._step_number(value) for value in values])

    # Values and the numbers of their steps.

    def _add_value(self, value: int | _Embedding | _Product) -> Value:
        """Store a value under a new name, and return the name."""
        name = Value(f"value {len(self._values)}")
        self._values[name] = value
        return name

    def _step_number(self, name: Value) -> int:
        """Return the number of a value's step. Adds the step if the value does not have one yet."""
        value = self._values[name]
        if isinstance(value, tuple):
            value = self._embedding_step(value)
        elif isinstance(value, _Product):
            value = self._product_step(value)
        self._values[name] = value
        return value

    def _step(self, add: Callable[Arguments, int], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Value:
        """Add a step with a method of the network, and return the name of its result."""
        return self._add_value(_checked_step(add, *args, **kwargs))

    def _embedding_step(self, embedding: _Embedding) -> int:
        """Add the step of an embedding and return its number.

        The core adds words, segments and positions in this order. The last bit of a float32 sum depends on the order.
        """
        parts = {lookup.part: lookup for lookup in embedding}
        if tuple(lookup.part for lookup in embedding) not in EMBEDDINGS:
            tables = ", ".join(lookup.table for lookup in embedding)
            raise UnsupportedModel(f"podium's native core cannot add {tables}; use ", Argument("runtime", "onnx"))
        segments = parts.get("segments")
        positions = parts.get("positions")
        kind, padding_id = self._positions[positions.ids] if positions else ("counted", 0)
        return _checked_step(
            self.network.embed,
            words=self._table(parts["words"].table),
            segments=self._table(segments.table) if segments else None,
            by_segment=segments is not None and segments.ids == SEGMENT_IDS,
            places=self._table(positions.table) if positions else None,
            positions=kind,
            padding=padding_id,
        )

    def _product_step(self, product: _Product) -> int:
        """Add the step of a product and return its number."""
        x = self._step_number(product.x)
        added = -1 if product.added is None else self._step_number(product.added)  # -1 if nothing is added
        if product.rows:
            weight = self._table_rows(product.names[0], product.rows)
            return _checked_step(self.network.linear, x=x, packed=pack_floats(weight), outputs=len(weight), bias=None)
        names = product.names
        inputs, outputs = self.checked_sizes(names, product.bias)
        self.size += inputs * outputs
        bias = self._bias(names, outputs) if product.bias else None
        add_step: Callable[..., int]
        if self._int8 and not product.exact:
            packed, scales, sums = self._int8_weights(names, inputs, outputs)
            add_step = functools.partial(
                self.network.linear_int8, packed=packed, scales=scales, sums=sums, wide_inputs=product.wide_inputs
            )
        else:
            add_step = functools.partial(self.network.linear, packed=self._float_weights(names, inputs, outputs))
        return _checked_step(add_step, x=x, outputs=outputs, bias=bias, activation=product.activation, added=added)

    # The weights. They are packed only if the cache does not have them.

    def _float_weights(self, names: tuple[str, ...], inputs: int, outputs: int) -> Array:
        """Return the packed weights of the layers, joined, in the type in which they are stored.

        float64 becomes float32. Halves take half of the memory, and the core is as fast with them as with float32.
        """

        def pack() -> Array:
            tensors = [self.checkpoint.tensor(f"{name}.weight") for name in names]
            joined = tensors[0] if len(tensors) == 1 else np.concatenate(tensors)
            return pack_floats(_with_halves(joined))

        return self._packed.get("|".join(names), (_panel_count(outputs), inputs, PANEL), pack)

    def _int8_weights(self, names: tuple[str, ...], inputs: int, outputs: int) -> tuple[Array, Array, Array]:
        """Return the packed weights of the layers, joined, and for each output a scale and the sum of its weights."""
        key = "|".join(names)
        panel_count = _panel_count(outputs)
        packed = functools.cache(lambda: pack_int8(self._joined(names, "weight")))  # cached, because three arrays need it
        channels = (panel_count * PANEL,)
        return (
            self._packed.get(f"{key}.int8", (panel_count, -(-inputs // 4), PANEL, 4), lambda: packed()[0]),
            self._packed.get(f"{key}.scales", channels, lambda: packed()[1]),
            self._packed.get(f"{key}.sums", channels, lambda: packed()[2]),
        )

    def _norm_weight(self, name: str) -> Array:
        """Return the weights of a norm without bias."""
        return self._vector(*self.checked_norm(name, bias=False))

    def _table_rows(self, table: str, ids: Sequence[int]) -> Array:
        """Return rows of a table in float32, shape (number of ids, width)."""
        shape = self.checkpoint.shape(table)
        if len(shape) != 2 or not all(0 <= number < shape[0] for number in ids):
            raise UnsupportedModel(
                f"{table} has shape {shape}, so it does not have the rows {list(ids)}; use the model's own ids"
            )
        return self.checkpoint.rows(table, ids)

    def _bias(self, names: tuple[str, ...], outputs: int) -> Array:
        key = "|".join(f"{name}.bias" for name in names)
        return self._packed.get(key, (outputs,), lambda: self._joined(names, "bias"))

    def _joined(self, names: tuple[str, ...], kind: str) -> Array:
        return np.concatenate([self.checkpoint[f"{name}.{kind}"] for name in names])

    def _vector(self, name: str) -> Array:
        size = int(np.prod(self.checkpoint.shape(name)))
        return self._packed.get(name, (size,), lambda: self.checkpoint[name].reshape(-1))

    def _table(self, name: str) -> tuple[Array, Array | None]:
        """Return a table as it is stored: its numbers, bfloat16 as uint16, and the scales of a quantised table.

        Rows become float32 when they are looked up.
        """
        checkpoint = self.checkpoint
        if not checkpoint.is_quantised(name):
            return self._packed.get(name, checkpoint.shape(name), lambda: self._float_table(name)), None
        value_shape, scale_shape = checkpoint.quantised_shapes(name)
        return (
            self._packed.get(name, value_shape, lambda: checkpoint.quantised(name).values),
            self._packed.get(f"{name}.scales", scale_shape, lambda: checkpoint.quantised(name).scales),
        )

    def _float_table(self, name: str) -> Array:
        table = _with_halves(self.checkpoint.tensor(name))
        return table.view(np.uint16) if table.dtype.name == "bfloat16" else table


def _with_halves(tensor: Array) -> Array:
    """Return a tensor that is neither float16 nor bfloat16 as float32."""
    return tensor if tensor.dtype.name in ("float16", "bfloat16") else tensor.astype(np.float32, copy=False)


def _convolution_weight(weight: Array, groups: int) -> Array:
    """Return a weight of shape (outputs, inputs / groups, size) as (outputs, size × inputs), for neighbours side by side."""
    outputs, group_inputs, size = weight.shape
    spread = np.zeros((groups, outputs // groups, size, groups, group_inputs), np.float32)
    for group, part in enumerate(weight.reshape(groups, outputs // groups, group_inputs, size)):
        spread[group, :, :, group] = part.swapaxes(1, 2)
    return spread.reshape(outputs, size * groups * group_inputs)


def _panel_count(outputs: int) -> int:
    return -(-outputs // PANEL)  # rounded up


def _checked_step(add: Callable[Arguments, int], *args: Arguments.args, **kwargs: Arguments.kwargs) -> int:
    """Return the number of the step that `add` adds. Raises UnsupportedModel if the core finds that sizes do not fit."""
    try:
        return add(*args, **kwargs)
    except ValueError as error:
        raise UnsupportedModel(f"the checkpoint does not match its config.json: {error}") from error
