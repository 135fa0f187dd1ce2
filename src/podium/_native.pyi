"""The native core, see native/module.cpp. It is missing if podium was installed without a compiler."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

PANEL: int

def instruction_sets() -> list[str]: ...

class Network:
    def __init__(self, instruction_set: str | None = None) -> None: ...
    @property
    def instruction_set(self) -> str: ...
    def embed(
        self,
        words: Array,
        segments: Array | None,
        by_segment: bool,
        places: Array | None,
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
        by_side: bool = ...,
        cos: Array | None = ...,
        sin: Array | None = ...,
    ) -> int: ...
    def activate(self, x: int, activation: str) -> int: ...
    def gate(self, x: int, activation: str) -> int: ...
    def add(self, x: int, y: int) -> int: ...
    def first(self, x: int) -> int: ...
    def mean(self, x: int) -> int: ...
    def compare(
        self,
        x: int,
        importance: Array,
        importance_bias: float,
        token_importance: Array,
        token_idf: Array,
        token_piece_idf: Array,
        token_stem: Array,
        k1: float,
        b: float,
        usual_tokens: float,
    ) -> int: ...
    def width(self, x: int) -> int: ...
    def finish(self, result: int) -> None: ...
    def run(self, ids: Array, segments: Array, offsets: Array, result: Array, seconds: Array | None = None) -> None: ...
    def step_names(self) -> list[str]: ...

def multiply(
    x: Array, packed: Array, y: Array, bias: Array | None, activation: str, added: Array | None, instruction_set: str
) -> None: ...
def multiply_int8(x: Array, packed: Array, scales: Array, sums: Array, y: Array, instruction_set: str) -> None: ...
def attend(qkv: Array, y: Array, heads: int, scale: float, window: int, instruction_set: str) -> None: ...
def normalise(x: Array, weight: Array, bias: Array | None, epsilon: float, y: Array, instruction_set: str) -> None: ...
def activate(x: Array, activation: str, y: Array, instruction_set: str) -> None: ...
def widen(halves: Array, y: Array, instruction_set: str) -> None: ...
