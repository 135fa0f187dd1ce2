"""The native core, written in C++ (native/README.md). It is missing if podium was installed without a C++ compiler.

Arrays are numpy arrays in C order. The methods of `Network` that add a step return the step's number, which later steps
take as input (`x`, `queries`, `keys`). They raise ValueError if sizes do not match.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from podium.encodings import Buffer

Array = np.ndarray[Any, np.dtype[Any]]
RelativeTerm = tuple[Array, Array]
Table = tuple[Array, Array | None]  # an embedding table, and the scales of its blocks if it has whole numbers

PANEL: int  # outputs per panel of packed weights

def instruction_sets() -> list[str]:
    """Return the names of the instruction sets that can be used here, the fastest first."""

class Network:
    def __init__(self, instruction_set: str | None = None) -> None: ...
    @property
    def instruction_set(self) -> str: ...
    def embed(
        self,
        words: Table,
        segments: Table | None,
        by_segment: bool,
        places: Table | None,
        positions: str,
        padding: int,
    ) -> int: ...
    def norm(self, x: int, weight: Array, bias: Array | None, epsilon: float) -> int: ...
    def linear(
        self, x: int, packed: Array, outputs: int, bias: Array | None, activation: str = ..., added: int = ...
    ) -> int: ...
    def linear_int8(
        self,
        x: int,
        packed: Array,
        scales: Array,
        sums: Array,
        outputs: int,
        bias: Array | None,
        activation: str = ...,
        added: int = ...,
        wide_inputs: bool = ...,
    ) -> int: ...
    def attend(
        self,
        queries: int,
        query_column: int,
        keys: int,
        key_column: int,
        value_column: int,
        heads: int,
        size: int,
        scale: float,
        window: int = ...,
        hides_segment_1: bool = ...,
        key_heads: int | None = ...,
        causal: bool = ...,
        int8: bool = ...,
    ) -> int: ...
    def attend_disentangled(
        self,
        queries: int,
        query_column: int,
        keys: int,
        key_column: int,
        value_column: int,
        heads: int,
        size: int,
        scale: float,
        falling: RelativeTerm | None,
        rising: RelativeTerm | None,
        hides_segment_1: bool = ...,
    ) -> int:
        """Add an attention over contents and relative positions (DeBERTa).

        A term is a pair of embeddings, float32 of shape (heads, size, embeddings), and of columns, int32 of shape
        (2 × positions - 1,), which has the index of the embedding for each distance of a query to a key. `falling` is
        multiplied by queries, and has the distances from positions - 1 to 1 - positions. `rising` is multiplied by keys, and
        has them in the opposite order.
        """
    def transform_heads(
        self,
        x: int,
        column: int,
        heads: int,
        size: int,
        weight: Array | None = ...,
        epsilon: float = ...,
        cos: Array | None = ...,
        sin: Array | None = ...,
        last: bool = ...,
    ) -> int:
        """Add the RMSNorm and the rotation of heads, in place: no later step can read `x`."""
    def scale(self, x: int, factor: float) -> int: ...
    def rms_norm(self, x: int, weight: Array, epsilon: float) -> int: ...
    def activate(self, x: int, activation: str) -> int: ...
    def gate(self, x: int, activation: str) -> int: ...
    def add(self, x: int, y: int) -> int: ...
    def first(self, x: int) -> int: ...
    def last(self, x: int) -> int: ...
    def mean(self, x: int) -> int: ...
    def join(self, inputs: Sequence[int]) -> int: ...
    def neighbours(self, x: int, size: int) -> int:
        """Add the rows of `size` tokens side by side, of which a token is the middle one. Rows outside of its text are 0."""
    def width(self, x: int) -> int: ...
    def per_text(self, x: int) -> bool: ...
    def finish(self, result: int) -> None: ...
    def run(self, ids: Array, segments: Array, offsets: Array, result: Array, seconds: Array | None = None) -> None:
        """Write the result, float32 of shape (texts, width) or (tokens, width), for texts one after the other in `ids`.

        `ids` and `segments` are int32, `offsets` int64 of shape (texts + 1,), `seconds` float64 of shape (steps,): each
        step's time is added to it. Releases the GIL. Raises IndexError if an id or a length exceeds the model's tables.
        """
    def step_names(self) -> list[str]: ...
    @property
    def prefix_columns(self) -> int:
        """The numbers that a prefix stores per token, 0 if the network cannot share a prefix."""

class Flag:
    def set(self) -> None: ...
    @property
    def is_set(self) -> bool: ...

class Execution:
    """A run that several threads can compute together."""

    def work(self, leave: Flag | None = None) -> bool:
        """Work until the run has ended, and return whether its result is complete.

        Any number of threads may call this, at any time. If `leave` is set, or after `cancel`, it returns within a layer.
        Raises the first error of any thread, which can be one that `Network.run` raises. Releases the GIL.
        """
    def cancel(self) -> None: ...

class Prefix(Execution):
    """The keys and values of tokens with which several texts begin; `work` computes them. `ids` is int32."""

    def __init__(self, network: Network, ids: Array) -> None: ...
    @property
    def tokens(self) -> int: ...

class TextsExecution(Execution):
    """A run over texts, as `Network.run`. With a prefix, which must be complete, `ids` are the tokens that follow it."""

    def __init__(
        self, network: Network, ids: Array, segments: Array, offsets: Array, result: Array, prefix: Prefix | None = None
    ) -> None: ...

# Comparisons of a query's encoding with those of documents, written to `result`, float32 of shape (documents, features).
# They release the GIL, and raise ValueError if an encoding is damaged or does not fit.
class Unigram:
    """A Unigram model. Piece i has the characters `ends[i - 1]` to `ends[i]` of the UTF-8 bytes `characters` (uint8).

    Raises ValueError if a piece is empty, incomplete or a duplicate. `scores` is float32.
    """

    def __init__(self, characters: Array, ends: Array, scores: Array, unknown_id: int) -> None: ...
    def split(self, texts: Sequence[Sequence[str | int]]) -> tuple[Array, Array, Array]:
        """Return the ids of the pieces of all texts, their numbers of characters, and the number of pieces of each text.

        A text is a list of words, and of ids, which are copied and count as one character. All arrays are int32.
        """

def max_sim(query: Buffer, documents: Sequence[Buffer], result: Array, instruction_set: str | None = ...) -> None: ...
def late_features(
    query: Buffer,
    documents: Sequence[Buffer],
    result: Array,
    token_idf: Array,
    token_piece_idf: Array,
    token_stem: Array,
    k1: float,
    b: float,
    average_tokens: float,
    instruction_set: str | None = ...,
) -> None: ...

# Single kernels, for packing, tests and benchmarks. The result is written to `y`.
def multiply(
    x: Array, packed: Array, y: Array, bias: Array | None, activation: str, added: Array | None, instruction_set: str
) -> None: ...
def multiply_int8(x: Array, packed: Array, scales: Array, sums: Array, y: Array, instruction_set: str) -> None: ...
def attend(
    qkv: Array,
    y: Array,
    heads: int,
    scale: float,
    window: int,
    instruction_set: str,
    key_heads: int | None = ...,
    causal: bool = ...,
    first_query: int = ...,
    int8: bool = ...,
) -> None: ...
def rms_normalise(x: Array, weight: Array, epsilon: float, y: Array, instruction_set: str) -> None: ...
def normalise(x: Array, weight: Array, bias: Array | None, epsilon: float, y: Array, instruction_set: str) -> None: ...
def activate(x: Array, activation: str, y: Array, instruction_set: str) -> None: ...
def widen(halves: Array, y: Array, instruction_set: str, bfloat16: bool = ...) -> None: ...
