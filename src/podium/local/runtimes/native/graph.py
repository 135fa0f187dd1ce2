"""A network as steps of the native core: the Graph that podium._native runs.

A product is not added as a step until something else than an activation or a sum follows it: those two are done while its
result is still in registers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from podium.errors import UnsupportedModel
from podium.local.graph import Attention, Graph, Positions, Precision
from podium.local.runtimes import native_core
from podium.local.runtimes.native.packed import PANEL, Packed, pack_float32, pack_int8

if TYPE_CHECKING:
    from podium._native import Network
    from podium.local.files.checkpoint import Array, Checkpoint

__all__ = ["NativeGraph"]


@dataclass(frozen=True, slots=True)
class _Product:
    """A product that is still to be added as a step, with what will be done to it."""

    x: str
    names: tuple[str, ...]
    bias: bool
    exact: bool
    activation: str = "none"
    added: str | None = None


class NativeGraph(Graph):
    """Steps under construction; `finish` makes them a network to run. `packed` holds the weights, or will."""

    def __init__(
        self, checkpoint: Checkpoint, packed: Packed, precision: Precision, *, instruction_set: str | None = None
    ) -> None:
        super().__init__(checkpoint)
        self.network: Network = native_core().Network(instruction_set)
        self._packed, self._int8 = packed, precision == "int8"
        self._made: dict[str, int | _Product] = {}
        self._firsts: dict[int, str] = {}

    def finish(self, result: str) -> tuple[Network, int]:
        """Return the network, ready to run, and how many numbers it gives a text."""
        rows = self._rows(result)
        self.network.finish(rows)
        return self.network, self.network.width(rows)

    def embedded(
        self, words: str, *, segments: str | None, segmented: bool, places: str | None, positions: Positions, padding: int
    ) -> str:
        tables = [None if name is None else self._table(name) for name in (words, segments, places)]
        return self._step(self.network.embed, tables[0], tables[1], segmented, tables[2], positions, padding)

    def linear(self, x: str, *names: str, bias: bool = True, exact: bool = False) -> str:
        self.checked_sizes(names, bias)
        return self._name(_Product(x, names, bias, exact))

    def norm(self, x: str, name: str, epsilon: float, *, bias: bool = True) -> str:
        parts = [self._vector(part) for part in self.checked_norm(name, bias)]
        return self._step(self.network.norm, self._rows(x), parts[0], parts[1] if bias else None, epsilon)

    def activation(self, x: str, name: str) -> str:
        kind, made = self.checked_activation(name), self._made[x]
        if isinstance(made, _Product) and made.activation == "none" and made.added is None:
            return self._name(replace(made, activation=kind))
        return self._step(self.network.activate, self._rows(x), kind)

    def add(self, x: str, y: str) -> str:
        made = self._made[x]
        if isinstance(made, _Product) and made.added is None:
            return self._name(replace(made, added=y))
        return self._step(self.network.add, self._rows(x), self._rows(y))

    def gate(self, x: str, name: str) -> str:
        return self._step(self.network.gate, self._rows(x), self.checked_activation(name))

    def attention(self, x: str, names: Sequence[str], shape: Attention, *, bias: bool = True) -> str:
        self.checked_heads(names, shape)
        width, size = shape.width, shape.width // shape.heads
        if shape.only_first and len(names) == 3:
            keys, key_column = self.linear(x, *names[1:], bias=bias), 0
            queries = self.linear(self.first_row(x), names[0], bias=bias)
        else:
            keys, key_column = self.linear(x, *names, bias=bias), width
            queries = self.first_row(keys) if shape.only_first else keys
        rotations = shape.rotary.tables(size) if shape.rotary else (None, None)
        return self._step(
            self.network.attend,
            self._rows(queries),
            0,
            self._rows(keys),
            key_column,
            key_column + width,
            shape.heads,
            size,
            size**-0.5,
            shape.window or 0,
            shape.by_side,
            *rotations,
        )

    def first_row(self, x: str) -> str:
        rows = self._rows(x)
        if rows not in self._firsts:
            self._firsts[rows] = self._step(self.network.first, rows)
        return self._firsts[rows]

    def mean(self, x: str) -> str:
        return self._step(self.network.mean, self._rows(x))

    def compared(self, x: str, importance: str, tables: Sequence[str], k1: float, b: float, usual_tokens: float) -> str:
        """Compare a query's rows with its text's, as families/late.py says: four numbers a pair."""
        weight, vectors = self._vector(f"{importance}.weight"), [self._vector(table) for table in tables]
        (bias,) = self._vector(f"{importance}.bias")
        return self._step(self.network.compare, self._rows(x), weight, float(bias), *vectors, k1, b, usual_tokens)

    # ---- names and weights ----

    def _name(self, made: int | _Product) -> str:
        name = f"rows.{len(self._made)}"
        self._made[name] = made
        return name

    def _step(self, add: Any, *arguments: Any) -> str:
        try:
            return self._name(add(*arguments))
        except ValueError as error:
            raise UnsupportedModel(f"the checkpoint does not match its config.json: {error}") from error

    def _rows(self, name: str) -> int:
        made = self._made[name]
        if isinstance(made, _Product):
            made = self._made[name] = self._added(made)
        return made

    def _added(self, product: _Product) -> int:
        x, added = self._rows(product.x), -1 if product.added is None else self._rows(product.added)
        key = "|".join(product.names)
        inputs, outputs = self.checked_sizes(product.names, product.bias)
        bias = self._bias(product.names, outputs) if product.bias else None
        panels = -(-outputs // PANEL)
        add: Any
        weights: tuple[Array, ...]
        if self._int8 and not product.exact:
            add = self.network.linear_int8
            weights = self._weights_int8(key, (panels, -(-inputs // 4), PANEL, 4), product.names)
        else:
            add, weights = self.network.linear, (self._weights_float32(key, (panels, inputs, PANEL), product.names),)
        try:
            return int(add(x, *weights, outputs, bias, product.activation, added))
        except ValueError as error:
            raise UnsupportedModel(f"the checkpoint does not match its config.json, at {key}: {error}") from error

    def _weights_float32(self, key: str, shape: tuple[int, ...], names: tuple[str, ...]) -> Array:
        return self._packed.get(key, shape, lambda: pack_float32(self._stacked(names)))

    def _weights_int8(self, key: str, shape: tuple[int, ...], names: tuple[str, ...]) -> tuple[Array, ...]:
        made: list[tuple[Array, ...]] = []

        def part(at: int) -> Array:
            if not made:
                made.append(pack_int8(self._stacked(names)))
            return made[0][at]

        shapes = (shape, (shape[0] * PANEL,), (shape[0] * PANEL,))
        kinds = ("int8", "scales", "sums")
        return tuple(
            self._packed.get(f"{key}.{kind}", each, lambda at=at: part(at))  # type: ignore[misc]  # a default binds `at` now
            for at, (kind, each) in enumerate(zip(kinds, shapes, strict=True))
        )

    def _stacked(self, names: tuple[str, ...]) -> Array:
        return np.concatenate([self.checkpoint[f"{name}.weight"] for name in names])

    def _bias(self, names: tuple[str, ...], outputs: int) -> Array:
        key = "|".join(f"{name}.bias" for name in names)
        return self._packed.get(key, (outputs,), lambda: np.concatenate([self.checkpoint[f"{name}.bias"] for name in names]))

    def _vector(self, name: str) -> Array:
        size = int(np.prod(self.checkpoint.shape(name)))
        return self._packed.get(name, (size,), lambda: self.checkpoint[name].reshape(-1))

    def _table(self, name: str) -> Array:
        """Return a table of embeddings as it is stored: of float16 only the rows looked up become float32."""
        return self._packed.get(name, self.checkpoint.shape(name), lambda: self.checkpoint.stored(name))
