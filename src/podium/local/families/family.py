"""Family, the row that describes an architecture, and Architecture, which adds its network to a Graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal, get_type_hints

from podium.errors import UnsupportedModel
from podium.local.graph import Graph, Rows, Value

__all__ = ["Architecture", "Family", "Pooling", "family_of"]

Pooling = Literal["cls", "mean", "none"]
"""How the encoder's rows become one: the first token's, the mean of all, or not at all."""

TYPES: dict[type, tuple[str, tuple[type, ...]]] = {
    int: ("whole number", (int,)),
    float: ("number", (int, float)),
    str: ("string", (str,)),
}

MAX_NUMBER = 1 << 31
MAX_NUMBERS = {"max_position_embeddings": 1 << 16, "num_hidden_layers": 1000}
"""The highest whole numbers in config.json. Memory is allocated for these two before a weight shows that they are wrong."""


@dataclass(frozen=True, kw_only=True)
class Architecture(ABC):
    """A model's settings and its network. A subclass's fields are the keys of config.json that it needs.

    A subclass refuses settings that it does not implement in `__post_init__`.
    """

    @classmethod
    def from_json(cls, config: Mapping[str, Any]) -> Architecture:
        """Return the architecture that a config.json describes. Raises UnsupportedModel for a missing or wrong value."""
        types = get_type_hints(cls)
        for field in fields(cls):
            if field.default is MISSING and field.name not in config:
                raise UnsupportedModel(f"config.json has no {field.name!r}; download the model again")
        names = [field.name for field in fields(cls) if field.name in config]
        return cls(**{name: _checked(name, config[name], types[name]) for name in names})

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


def _checked(key: str, value: Any, kind: Any) -> Any:
    if kind is bool:
        return bool(value)
    name, types = TYPES.get(kind, ("", (object,)))
    if name and (isinstance(value, bool) or not isinstance(value, types)):
        raise UnsupportedModel(f"config.json has {key} {value!r:.40}, which is not a {name}; download the model again")
    if kind is int and abs(value) > (most := MAX_NUMBERS.get(key, MAX_NUMBER)):
        raise UnsupportedModel(
            f"config.json has {key} {value!r:.40}; podium runs models with at most {most:,}; use another model"
        )
    return value


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
