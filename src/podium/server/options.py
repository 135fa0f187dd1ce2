"""Options of `podium serve`, which are also keys of its TOML file: their types, limits and help."""

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
    """An option for the field `attribute` of a dataclass. `kind` is its type without None, `above` an excluded minimum."""

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
        """The name on the command line and in a file, without leading dashes."""
        return (self.name or self.attribute).replace("_", "-")

    def checked(self, value: Any) -> Any:
        """Return the value, converted from how TOML writes it. Raises InvalidInput for another type or a value out of range."""
        if self.kind is float and type(value) is int:
            value = float(value)
        elif self.kind is Path and isinstance(value, str):
            value = Path(value)
        elif isinstance(value, list):
            value = tuple(value)
        if not _has_kind(value, self.kind) or (isinstance(value, int | float) and not self._is_in_range(value)):
            argument = Argument(self.name or self.attribute)
            raise InvalidInput(argument, f" must be {self._expectation}, not {str(value)!r:.40}")
        return value

    def _is_in_range(self, value: float) -> bool:
        return math.isfinite(value) and self.minimum <= value <= self.maximum and value > self.above

    @property
    def _expectation(self) -> str:
        if get_origin(self.kind) is Literal:
            return " or ".join(get_args(self.kind))
        limits = {"from": self.minimum, "to": self.maximum, "above": self.above}
        text = "".join(f" {word} {limit:,}" for word, limit in limits.items() if math.isfinite(limit))
        return KIND_NAMES.get(self.kind, "a list of strings") + text


def option(default: Any, help_text: str, **details: Any) -> Any:
    """Return a dataclass field that is an option. `details` are fields of Option."""
    return field(default=default, metadata={"help": help_text, **details})


def options_of(owner: type) -> list[Option]:
    """Return the options among the fields of a dataclass."""
    hints = get_type_hints(owner)
    rows = [row for row in fields(owner) if row.metadata]
    return [Option(row.name, _without_none(hints[row.name]), default=row.default, **row.metadata) for row in rows]


def _without_none(hint: Any) -> Any:
    kinds = [kind for kind in get_args(hint) if kind is not type(None)]
    return kinds[0] if len(kinds) < len(get_args(hint)) else hint


def _has_kind(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_has_kind(item, str) for item in value)
    if kind in (str, Path):
        return isinstance(value, kind) and str(value).isprintable()
    return type(value) is kind
