"""What architectures are written down in: a few operations on rows of tokens, which each runtime carries out its own way.

A family says what is computed, once; ONNX Runtime's nodes and the native core's steps are two Graphs of the same methods.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from podium.errors import UnsupportedModel

if TYPE_CHECKING:
    from podium.local.files.checkpoint import Array, Checkpoint

__all__ = ["Attention", "Graph", "Positions", "Precision", "Rotary"]

Precision = Literal["float32", "int8"]
Positions = Literal["counted", "counted_by_side", "after_padding"]

# What config.json calls an activation, and what it is.
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "relu": "relu",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "silu": "silu",
    "swish": "silu",
}


@dataclass(frozen=True, slots=True)
class Rotary:
    """Positions as rotations (Su et al. 2021, arXiv 2104.09864), for `positions` tokens."""

    theta: float
    positions: int

    def tables(self, size: int) -> tuple[Array, Array]:
        """Return the cosines and sines of heads of `size` columns, each float32 of shape (positions, size / 2)."""
        frequencies = np.float32(1) / np.float32(self.theta) ** (np.arange(0, size, 2, dtype=np.float32) / np.float32(size))
        angles = np.arange(self.positions, dtype=np.float32)[:, None] * frequencies
        return np.cos(angles), np.sin(angles)


@dataclass(frozen=True, slots=True)
class Attention:
    """The shape of one layer's attention.

    `width` is that of all heads together. `only_first`: the first token asks and no other. `window`: how far a token
    sees to either side. `by_side`: no token sees the other side of its pair.
    """

    heads: int
    width: int
    only_first: bool = False
    by_side: bool = False
    window: int | None = None
    rotary: Rotary | None = None


class Graph(ABC):
    """A network under construction. Every method adds to it and returns the name of what it gives.

    Hidden states have shape (tokens, width), or (1, width) once only the first token's row, or the mean, is left.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint

    @abstractmethod
    def embedded(
        self, words: str, *, segments: str | None, segmented: bool, places: str | None, positions: Positions, padding: int
    ) -> str:
        """Add up rows of the checkpoint's tables: words, then segments, then places.

        `segmented`: by each token's own segment, or all by the first. `positions`: counted from 0, from 0 on each side
        of a pair, or from one after `padding`.
        """

    @abstractmethod
    def linear(self, x: str, *names: str, bias: bool = True, exact: bool = False) -> str:
        """Multiply by the checkpoint's weights of these names, side by side, and add their biases.

        `exact`: in float32 also where the rest is int8 (heads: one row, and the last word on every score).
        """

    @abstractmethod
    def norm(self, x: str, name: str, epsilon: float, *, bias: bool = True) -> str:
        """Normalise each row."""

    @abstractmethod
    def activation(self, x: str, name: str) -> str: ...

    @abstractmethod
    def add(self, x: str, y: str) -> str: ...

    @abstractmethod
    def gate(self, x: str, name: str) -> str:
        """Return the activated left half of each row times its right half."""

    @abstractmethod
    def attention(self, x: str, names: Sequence[str], shape: Attention, *, bias: bool = True) -> str:
        """Let tokens attend to each other. `names` are the weights of queries, keys and values, or of all three in one."""

    @abstractmethod
    def first_row(self, x: str) -> str:
        """Return the first token's row, shape (1, width): all that a head on [CLS] reads."""

    @abstractmethod
    def mean(self, x: str) -> str:
        """Return the mean of all rows, shape (1, width)."""

    # ---- refusals: what would be computed, and wrongly ----

    def expect_rows(self, name: str, rows: int) -> None:
        """Refuse a checkpoint whose tensor has another number of rows than config.json says, where nothing else would."""
        if self.checkpoint.shape(name)[:1] != (rows,):
            said = f"{name} has shape {self.checkpoint.shape(name)}, config.json makes it {rows} rows"
            raise UnsupportedModel(f"the checkpoint does not match its config.json: {said}")

    def checked_sizes(self, names: Sequence[str], bias: bool) -> tuple[int, int]:
        """Return inputs and outputs of weights side by side. A bias of another length could be spread, silently wrong."""
        shapes = [self.checkpoint.shape(f"{name}.weight") for name in names]
        fits = all(len(shape) == 2 and shape[1] == shapes[0][1] for shape in shapes)
        if not fits or (bias and any(self.checkpoint.shape(f"{n}.bias") != s[:1] for n, s in zip(names, shapes, strict=True))):
            raise UnsupportedModel(f"the weights or biases of {', '.join(names)} have sizes that don't fit together: {shapes}")
        return shapes[0][1], sum(shape[0] for shape in shapes)

    def checked_norm(self, name: str, bias: bool) -> list[str]:
        """Return the names of a norm's weights."""
        parts = [f"{name}.weight"] + ([f"{name}.bias"] if bias else [])
        if any(self.checkpoint.shape(part) in ((), (1,)) for part in parts):
            raise UnsupportedModel(f"the weights of {name} are one number each, not one for each column")
        return parts

    def checked_heads(self, names: Sequence[str], shape: Attention) -> None:
        if shape.heads < 1 or shape.width % shape.heads:
            raise UnsupportedModel(
                f"its config.json divides {shape.width} columns among {shape.heads} attention heads, which leaves a rest; "
                "bring the model's own again"
            )
        for name in names:
            self.expect_rows(f"{name}.weight", shape.width * (3 if len(names) == 1 else 1))

    def checked_activation(self, name: str) -> str:
        if name not in ACTIVATIONS:
            raise UnsupportedModel(f"its config.json asks for the activation {name!r}; known: {', '.join(ACTIVATIONS)}")
        return ACTIVATIONS[name]
