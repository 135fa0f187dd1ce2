"""The description of an option of `podium serve` or a key of a TOML file: its type, its limits and its help."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from podium.errors import Argument, InvalidInput

__all__ = ["Option", "option", "options_of"]

KIND_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a string", Path: "a path"}

LARGEST_INTEGER = 10**300  # larger ones cannot be compared with the infinity of floats


@dataclass(frozen=True, slots=True)
class Option:
    """An option for the field `attribute` of a dataclass.

    - `kind`: the type of the option's value: a key of KIND_NAMES, a Literal, a tuple of strings, or a union of these.
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
        if self.kind is float and type(value) is int and abs(value) < LARGEST_INTEGER:
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
        is_finite = abs(value) < LARGEST_INTEGER if isinstance(value, int) else math.isfinite(value)
        return is_finite and self.minimum <= value <= self.maximum and value > self.above

    @property
    def _allowed_values(self) -> str:
        """The allowed values in words, such as "a whole number from 1"."""
        return " or ".join(map(self._values_of_kind, _members(self.kind)))

    def _values_of_kind(self, kind: Any) -> str:
        if get_origin(kind) is Literal:
            return " or ".join(get_args(kind))
        limits = {"from": self.minimum, "to": self.maximum, "above": self.above}
        is_number = kind in (int, float)
        text = "".join(f" {word} {limit:,}" for word, limit in limits.items() if is_number and math.isfinite(limit))
        return KIND_NAMES.get(kind, "a list of strings") + text


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


def _members(kind: Any) -> tuple[Any, ...]:
    """Return the types in a union, and any other type alone."""
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _has_kind(value: Any, kind: Any) -> bool:
    """Whether a value has the type `kind`. Strings and paths must also be printable; a boolean is not an int."""
    if (members := _members(kind)) != (kind,):
        return any(_has_kind(value, member) for member in members)
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_has_kind(item, str) for item in value)
    if kind in (str, Path):
        return isinstance(value, kind) and str(value).isprintable()
    return type(value) is kind
