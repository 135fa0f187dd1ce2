"""Family, the row that describes an architecture, and Architecture, which adds its network to a Graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from podium.local.files.config import Config
from podium.local.graph import Graph, Rows, Value

__all__ = ["Architecture", "Family", "Pooling", "family_of"]

Pooling = Literal["cls", "mean", "none"]
"""How the encoder's rows become one: the first token's, the mean of all, or not at all."""


class Architecture(ABC):
    """A model's architecture. Subclasses are frozen dataclasses of the values in config.json that they need."""

    __slots__ = ()

    @classmethod
    @abstractmethod
    def from_json(cls, config: Config) -> Architecture:
        """Return the architecture that a config.json describes. Raises UnsupportedModel if it would run differently here."""

    @abstractmethod
    def encode(self, graph: Graph, rows: Rows) -> Value:
        """Add the encoder and return its hidden states, shape (tokens, width), or (1, width) if only one row is needed."""

    @abstractmethod
    def head(self, graph: Graph, x: Value) -> Value:
        """Add the classifier and return its output. `x` is the pooled row, or all rows if `pooling` is "none"."""

    @property
    def pooling(self) -> Pooling:
        return "cls"

    @property
    def reserved_positions(self) -> int:
        """The number of positions that tokens cannot have."""
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """An architecture, and how its checkpoints are recognised.

    - `model_types`: values of model_type in config.json.
    - `examples`: Markdown for the table in README.
    - `has_segments`: whether segment ids tell the texts of a pair apart, if the tokenizer's settings do not say.
    - `prefix`: of the encoder's weights in a classifier's checkpoint.
    - `head_weights`: weights without which the model was never trained to rank; the last has one row per label.
    - `native`: whether the native core has all its operations.
    """

    name: str
    model_types: tuple[str, ...]
    examples: str
    has_segments: bool
    prefix: str
    head_weights: tuple[str, ...]
    architecture: type[Architecture]
    native: bool = True


def family_of(model_type: str, families: Iterable[Family]) -> Family | None:
    """Return the family that has the model_type of a config.json, or None."""
    return next((family for family in families if model_type in family.model_types), None)
