"""Graph, the operations from which model families are built. A runtime implements them, as ONNX nodes or as native steps."""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NewType

import numpy as np

from podium.errors import Argument, UnsupportedModel

if TYPE_CHECKING:
    from podium.local.files.checkpoint import Array, Checkpoint

__all__ = ["Attention", "Graph", "HeadNorms", "Llama3Scaling", "PositionKind", "RelativeEmbeddings", "Rotary", "Rows", "Value"]

Value = NewType("Value", str)
"""The name of a value in a Graph: token ids of shape (tokens,), or hidden states of shape (tokens, width)."""

Rows = Literal["first", "last", "all"]
"""Which tokens' rows of the hidden states are needed. If one row is needed, the last layer does not compute the others."""

PositionKind = Literal["counted", "after_padding"]
"""How position ids are assigned: "counted" from 0, or "after_padding" from the padding token's id + 1."""

# The name of an activation in config.json → its name in the runtimes.
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
class Llama3Scaling:
    """The scaling of rotary frequencies in Llama 3.1 and later, by which a model reads longer texts than it was trained with.

    Frequencies with wavelengths of more than original_max_position_embeddings / low_freq_factor positions are divided by
    `factor`. Those with less than original_max_position_embeddings / high_freq_factor stay as they are, and the others are
    interpolated. The fields are the keys of rope_scaling in config.json.
    """

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int

    def scale(self, frequencies: Array) -> Array:
        """Return the scaled frequencies, float32 of the same shape."""
        rotations = self.original_max_position_embeddings * frequencies / np.float32(2 * math.pi)
        smoothness = (rotations - self.low_freq_factor) / np.float32(self.high_freq_factor - self.low_freq_factor)
        share = np.clip(smoothness, 0, 1)  # the share of the original frequency
        return np.asarray((1 - share) * frequencies / np.float32(self.factor) + share * frequencies, np.float32)


@dataclass(frozen=True, slots=True)
class Rotary:
    """Rotary position embeddings (Su et al. 2021, arXiv 2104.09864) for texts of at most `position_count` tokens."""

    theta: float
    position_count: int
    scaling: Llama3Scaling | None = None

    def tables(self, size: int) -> tuple[Array, Array]:
        """Return the cosines and sines for heads of `size` columns, each float32 of shape (position_count, size / 2)."""
        return _rotary_tables(self, size)


@functools.lru_cache(maxsize=4)  # all layers of a model share two pairs of tables
def _rotary_tables(rotary: Rotary, size: int) -> tuple[Array, Array]:
    frequencies = np.float32(1) / np.float32(rotary.theta) ** (np.arange(0, size, 2, dtype=np.float32) / np.float32(size))
    if rotary.scaling:
        frequencies = rotary.scaling.scale(frequencies)
    angles = np.arange(rotary.position_count, dtype=np.float32)[:, None] * frequencies
    return np.cos(angles), np.sin(angles)


@dataclass(frozen=True, slots=True)
class HeadNorms:
    """The RMSNorms of each head's query and key, which come before the rotary position embeddings (`Graph.rms_norm`)."""

    query: str
    key: str
    epsilon: float


@dataclass(frozen=True, slots=True)
class Attention:
    """One layer's attention.

    - `heads`: the number of heads.
    - `width`: the total width of all heads.
    - `rows`: the tokens for which the result is computed.
    - `window`: to how many tokens on either side a token attends, None for all.
    - `rotary`: the rotary position embeddings, None if the layer has none.
    - `key_heads`: the number of heads of keys and values, each of which is shared by consecutive heads (grouped-query
      attention: Ainslie et al. 2023, arXiv 2305.13245). 0: as many as `heads`.
    - `norms`: the norms of the heads, None if the layer has none.
    - `is_causal`: whether a token attends only to itself and the tokens before it.
    """

    heads: int
    width: int
    rows: Rows = "all"
    window: int | None = None
    rotary: Rotary | None = None
    key_heads: int = 0
    norms: HeadNorms | None = None
    is_causal: bool = False

    @property
    def size(self) -> int:
        """The width of one head."""
        return self.width // self.heads

    @property
    def key_count(self) -> int:
        """The number of heads of keys."""
        return self.key_heads or self.heads

    @property
    def key_width(self) -> int:
        """The total width of all keys."""
        return self.key_count * self.size


@dataclass(frozen=True, slots=True)
class RelativeEmbeddings:
    """The embeddings of relative positions: the first `count` rows of a table, normalised, and then projected by a layer.

    They are the same for every text, so a runtime computes them once. `norm` is the name of the LayerNorm, None if there is
    none; `has_bias` is whether the layer has a bias.
    """

    table: str
    count: int
    norm: str | None
    epsilon: float
    layer: str
    has_bias: bool


class Graph(ABC):
    """A network under construction. A method adds an operation to the network, and returns the name of its result.

    Hidden states have shape (tokens, width), or (1, width) after `select` or `mean`. Names of tables and layers are those in
    the checkpoint.

    `hides_segment_1` may be set before the first operation is added. Then no token attends to the tokens of segment 1, which
    must be the last ones, and the model's own segments are all 0.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.hides_segment_1 = False

    @abstractmethod
    def token_ids(self) -> Value: ...

    @abstractmethod
    def segment_ids(self) -> Value:
        """Return each token's segment: 0 for the query, 1 for the text (0 for models without segments)."""

    @abstractmethod
    def zeros(self) -> Value:
        """Return the id 0 for every token."""

    @abstractmethod
    def positions(self, kind: PositionKind, *, padding_id: int = 0) -> Value:
        """Return each token's position."""

    @abstractmethod
    def lookup(self, table: str, ids: Value) -> Value:
        """Return the table's row of each id. A float16 table stays float16 in memory; only the rows become float32."""

    @abstractmethod
    def linear(self, x: Value, *names: str, bias: bool = True, exact: bool = False, wide_inputs: bool = False) -> Value:
        """Multiply by the weights of the named layers, whose outputs are joined, and add their biases.

        - `exact`: compute in float32 even if other layers are int8. Heads do, because they are small and decide the score.
        - `wide_inputs`: if the layer is int8, quantise its inputs to 16 bits instead of 8, if the runtime can. Inputs with rare
          large numbers, which come from gated feed-forward layers, would lose too much.
        """

    @abstractmethod
    def norm(self, x: Value, name: str, epsilon: float, *, bias: bool = True) -> Value:
        """Normalise each row to mean 0 and variance 1, then scale and shift its columns (LayerNorm)."""

    def rms_norm(self, x: Value, name: str, epsilon: float, *, offset: float = 0.0) -> Value:
        """Divide each row by its root mean square, then multiply its columns by the weights plus `offset`.

        This is RMSNorm (Zhang and Sennrich 2019, arXiv 1910.07467).
        """
        raise _only_native("RMSNorm")

    def scale(self, x: Value, factor: float) -> Value:
        """Multiply by a number."""
        raise _only_native("scaled embeddings")

    def table_rows(self, x: Value, table: str, ids: Sequence[int]) -> Value:
        """Multiply by the rows of a table with these ids, in float32: shape (…, number of ids)."""
        raise _only_native("comparisons of tokens")

    @abstractmethod
    def activation(self, x: Value, name: str) -> Value:
        """Apply the activation that config.json calls `name`."""

    @abstractmethod
    def add(self, x: Value, y: Value) -> Value: ...

    @abstractmethod
    def gate(self, x: Value, name: str) -> Value:
        """Split every row in two halves, and return activation(left half) * right half. `name` is that of the activation."""

    @abstractmethod
    def attention(self, x: Value, names: Sequence[str], shape: Attention, *, bias: bool = True) -> Value:
        """Let tokens attend to each other. `names` are the layers of query, key and value, or a single layer for all three."""

    @abstractmethod
    def mean(self, x: Value) -> Value:
        """Return the mean of all rows, shape (1, width)."""

    @abstractmethod
    def join(self, *values: Value) -> Value:
        """Return the columns of all values, side by side."""

    @abstractmethod
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
        """Let tokens attend to contents and relative positions (DeBERTa: He et al. 2020, arXiv 2006.03654).

        - `keys`, `queries`: the embeddings for the terms content-to-position and position-to-content; None if the model does
          not have the term.
        - `distance_rows`: the index of the embedding for each distance from 1 - max_positions to max_positions - 1. The
          distance of a query to a key is the query's position minus the key's.
        """

    @abstractmethod
    def convolution(self, x: Value, name: str, *, size: int, groups: int) -> Value:
        """Convolve over tokens, with a kernel of `size` tokens, which is odd. The shape stays (tokens, width)."""

    def select(self, x: Value, rows: Rows) -> Value:
        """Return all rows, or one token's row of shape (1, width)."""
        return x if rows == "all" else self.row(x, rows)

    @abstractmethod
    def row(self, x: Value, position: Literal["first", "last"]) -> Value:
        """Return one token's row, shape (1, width). Raises UnsupportedModel for "last" if the runtime does not have it."""

    # The following methods find mistakes in a checkpoint that would otherwise cause wrong scores instead of an error.

    def expect_rows(self, table: str, row_count: int) -> None:
        """Raise UnsupportedModel unless the table has this many rows, which is the number that config.json implies."""
        shape = self.checkpoint.shape(table)
        if shape[:1] != (row_count,):
            raise UnsupportedModel(
                f"the checkpoint does not match its config.json: {table} has shape {shape}, "
                f"but config.json says {row_count} rows"
            )

    def checked_sizes(self, names: Sequence[str], bias: bool) -> tuple[int, int]:
        """Return the number of inputs, and the number of outputs of all layers together.

        Raises UnsupportedModel if the weights and biases do not fit together: a bias of the wrong length could be broadcast.
        """
        shapes = [self.checkpoint.shape(f"{name}.weight") for name in names]
        are_matching = all(len(shape) == 2 and shape[1] == shapes[0][1] for shape in shapes)
        if are_matching and bias:
            bias_shapes = [self.checkpoint.shape(f"{name}.bias") for name in names]
            are_matching = bias_shapes == [shape[:1] for shape in shapes]
        if not are_matching:
            raise UnsupportedModel(f"the weights and biases of {', '.join(names)} do not fit together: shapes {shapes}")
        return shapes[0][1], sum(shape[0] for shape in shapes)

    def checked_norm(self, name: str, bias: bool) -> list[str]:
        """Return the names of a norm's tensors.

        Raises UnsupportedModel if a tensor is a single number, which could be broadcast to all columns.
        """
        tensors = [f"{name}.weight", f"{name}.bias"] if bias else [f"{name}.weight"]
        if any(self.checkpoint.shape(tensor) in ((), (1,)) for tensor in tensors):
            raise UnsupportedModel(f"the weights of {name} are single numbers, not one number per column")
        return tensors

    def check_heads(self, names: Sequence[str], shape: Attention) -> None:
        """Raise UnsupportedModel unless the heads have equal widths and the layers have as many outputs as all heads."""
        if shape.heads < 1 or shape.width % shape.heads:
            raise UnsupportedModel(
                f"config.json has {shape.heads} attention heads, which cannot share {shape.width} columns equally; "
                "download the model again"
            )
        if shape.key_count < 1 or shape.heads % shape.key_count:
            raise UnsupportedModel(
                f"config.json has {shape.heads} attention heads, which cannot share {shape.key_count} heads of keys equally; "
                "download the model again"
            )
        widths = (shape.width, shape.key_width, shape.key_width)
        # A single layer has the outputs of query, key and value.
        for name, width in zip(names, widths if len(names) > 1 else [sum(widths)], strict=True):
            self.expect_rows(f"{name}.weight", width)

    def check_convolution(self, name: str, width: int, size: int, groups: int) -> None:
        """Raise UnsupportedModel unless the convolution's weights have the sizes that config.json implies."""
        shapes = [self.checkpoint.shape(f"{name}.{kind}") for kind in ("weight", "bias")]
        if groups < 1 or width % groups or shapes != [(width, width // groups, size), (width,)]:
            raise UnsupportedModel(
                f"the checkpoint does not match its config.json: {name} has shapes {shapes}, but config.json says a "
                f"convolution of {width} columns over {size} tokens in {groups} groups"
            )

    def checked_activation(self, name: str) -> str:
        """Return the runtimes' name of the activation that config.json calls `name`. Raises UnsupportedModel for others."""
        if name not in ACTIVATIONS:
            raise UnsupportedModel(f"config.json names the activation {name!r}; podium has {', '.join(ACTIVATIONS)}")
        return ACTIVATIONS[name]


def _only_native(operation: str) -> UnsupportedModel:
    return UnsupportedModel(f"only podium's native core has {operation}; use ", Argument("runtime", "native"))
