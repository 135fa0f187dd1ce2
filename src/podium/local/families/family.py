"""Family, the row of a table that describes a kind of model, and Architecture, which adds its network to a Graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, Literal, get_type_hints

from podium.errors import UnsupportedModel
from podium.local.graph import Graph, Rows, Value
from podium.local.runtimes import RuntimeName

__all__ = ["MAX_NUMBERS", "Architecture", "Family", "Pooling", "family_of"]

Pooling = Literal["cls", "last", "mean", "none"]
"""How the encoder's rows become one row.

"cls" is the first token's row, "last" the last token's, "mean" the mean of all; "none" leaves all rows.
"""

# The type of a field → its name in messages, and the types of values in config.json.
TYPES: dict[type, tuple[str, tuple[type, ...]]] = {
    int: ("whole number", (int,)),
    float: ("number", (int, float)),
    str: ("string", (str,)),
}

MAX_NUMBER = 1 << 31
MAX_NUMBERS = {"max_position_embeddings": 1 << 16, "num_hidden_layers": 1000}
"""The highest whole numbers that are accepted in config.json: MAX_NUMBER, except for two keys.

For these two, memory is allocated before a weight shows that the number is wrong.
"""


@dataclass(frozen=True, kw_only=True)
class Architecture(ABC):
    """A model's settings, and the network that they describe.

    The fields of a subclass are the keys of config.json that it needs. In `__post_init__`, a subclass raises UnsupportedModel
    for settings that it does not implement.
    """

    max_numbers: ClassVar[Mapping[str, int]] = MAX_NUMBERS

    @classmethod
    def from_json(cls, config: Mapping[str, Any]) -> Architecture:
        """Return the architecture that a config.json describes. Raises UnsupportedModel for a missing or wrong value."""
        types = get_type_hints(cls)
        for field in fields(cls):
            if field.default is MISSING and field.name not in config:
                raise UnsupportedModel(f"config.json has no {field.name!r}; download the model again")
        names = [field.name for field in fields(cls) if field.name in config]
        return cls(**{name: _checked(name, config[name], types[name], cls.max_numbers) for name in names})

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
        """How many of the model's positions no token ever has."""
        return 0


def _checked(key: str, value: Any, kind: Any, max_numbers: Mapping[str, int]) -> Any:
    """Return a value of config.json for a field of type `kind`.

    Raises UnsupportedModel if it does not have the type, or is above the number in `max_numbers` or MAX_NUMBER.
    """
    if kind is bool:
        return bool(value)
    if kind in TYPES:
        name, types = TYPES[kind]
        if isinstance(value, bool) or not isinstance(value, types):
            raise UnsupportedModel(f"config.json has {key} {value!r:.40}, which is not a {name}; download the model again")
    max_number = max_numbers.get(key, MAX_NUMBER)
    if kind is int and abs(value) > max_number:
        raise UnsupportedModel(
            f"config.json has {key} {value!r:.40}; podium runs models with at most {max_number:,}; use another model"
        )
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """An architecture, and how its checkpoints are recognised.

    - `model_types`: the values of model_type in config.json.
    - `examples`: Markdown for the table in docs/models.md.
    - `has_segments`: whether the two texts of a pair have different segment ids, if the tokenizer's settings do not decide it.
    - `prefix`: the prefix of the names of the encoder's weights in a classifier's checkpoint.
    - `head_weights`: the names of the head's weights. If one is missing, the model was never trained to rank. The last one has
      a row per label.
    - `architecture`: the settings and the network.
    - `runtimes`: the runtimes that have all operations of the network, the usually faster one first.
    - `is_decoder`: whether the network reads a prompt, and its last token's row decides the score.
    - `ignores_auto_map`: whether podium can run the models although their config.json names Python code (auto_map).
    """

    name: str
    model_types: tuple[str, ...]
    examples: str
    has_segments: bool
    prefix: str
    head_weights: tuple[str, ...]
    architecture: type[Architecture]
    runtimes: tuple[RuntimeName, ...] = ("native", "onnx")
    is_decoder: bool = False
    ignores_auto_map: bool = False


def family_of(model_type: str, families: Iterable[Family]) -> Family | None:
    """Return the family that has the model_type of a config.json, or None."""
    return next((family for family in families if model_type in family.model_types), None)
