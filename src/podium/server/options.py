"""The description of an option of `podium serve`, which is also a key of its TOML file: its type, its limits and its help."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from podium.errors import Argument, InvalidInput

__all__ = ["Option", "option", "options_of"]

KIND_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a string", Path: "a path"}


@dataclass(frozen=True, slots=True)
class Option:
    """An option for the field `attribute` of a dataclass.

    - `kind`: the type of the option's value: a key of KIND_NAMES, a Literal, or a tuple of strings.
    - `default`: the value if the option is not set. It can be None for every kind.
    - `name`: the option's name if that is not `attribute`.
    - `minimum`, `maximum`: the smallest and the largest number that is allowed. `above`: a number that the value must exceed.
    """

    attribute: str
    kind: Any
    name: str = ""
    default: Any = None
    help: str = ""
    metavar: str | None = None
    minimum: float = -math.inf
    maximum: float = math.inf
    above: float = -math.inf

    @property
    def key(self) -> str:
        """The option's name in a file, and after `--` on the command line."""
        return (self.name or self.attribute).replace("_", "-")

    def checked(self, value: Any) -> Any:
        """Return a value, converted to this option's type. TOML has no paths or tuples, and 1 may be written for 1.0.

        Raises InvalidInput if the value has another type or is out of range.
        """
        if self.kind is float and type(value) is int:
            value = float(value)
        elif self.kind is Path and isinstance(value, str):
            value = Path(value)
        elif isinstance(value, list):
            value = tuple(value)
        if not _has_kind(value, self.kind) or (isinstance(value, int | float) and not self._is_in_range(value)):
            argument = Argument(self.name or self.attribute)
            raise InvalidInput(argument, f" must be {self._allowed_values}, not {str(value)!r:.40}")
        return value

    def _is_in_range(self, value: float) -> bool:
        return math.isfinite(value) and self.minimum <= value <= self.maximum and value > self.above

    @property
    def _allowed_values(self) -> str:
        """The allowed values in words, such as "a whole number from 1"."""
        if get_origin(self.kind) is Literal:
            return " or ".join(get_args(self.kind))
        limits = {"from": self.minimum, "to": self.maximum, "above": self.above}
        text = "".join(f" {word} {limit:,}" for word, limit in limits.items() if math.isfinite(limit))
        return KIND_NAMES.get(self.kind, "a list of strings") + text


def option(default: Any, help_text: str, **details: Any) -> Any:
    """Return a dataclass field that is an option with this help text. `details` are other fields of Option."""
    return field(default=default, metadata={"help": help_text, **details})


def options_of(dataclass_type: type) -> list[Option]:
    """Return the options of a dataclass, in the order of its fields. Fields that do not come from `option` are left out."""
    hints = get_type_hints(dataclass_type)
    rows = [row for row in fields(dataclass_type) if row.metadata]
    return [Option(row.name, _without_none_type(hints[row.name]), default=row.default, **row.metadata) for row in rows]


def _without_none_type(hint: Any) -> Any:
    """Return the type X for the hint `X | None`, and any other hint unchanged."""
    kinds = [kind for kind in get_args(hint) if kind is not type(None)]
    return kinds[0] if len(kinds) < len(get_args(hint)) else hint


def _has_kind(value: Any, kind: Any) -> bool:
    """Whether a value has the type `kind`. Strings and paths must also be printable; a boolean is not an int."""
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_has_kind(item, str) for item in value)
    if kind in (str, Path):
        return isinstance(value, kind) and str(value).isprintable()
    return type(value) is kind
