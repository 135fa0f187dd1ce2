"""Options of `podium serve`, which are also keys of its TOML file: one row each, made from the fields of a dataclass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from podium.errors import Argument, InvalidInput

__all__ = ["Option", "option", "options_of"]

NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a string", Path: "a path"}
NO_DETAILS: Mapping[str, Any] = MappingProxyType({})
LIMITS = {"minimum": "from", "maximum": "to", "above": "above"}


def option(default: Any, help_text: str, **details: Any) -> Any:
    """Return a dataclass field that is an option.

    `details` can be `minimum`, `maximum`, `above` (a minimum that is excluded), `metavar`, and `name` if it differs from the
    field's name.
    """
    return field(default=default, metadata={"help": help_text, **details})


@dataclass(frozen=True, slots=True)
class Option:
    """An option for the field `attribute` of type `kind` (without None). `details` are those of `option`."""

    attribute: str
    kind: Any
    default: Any
    details: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name on the command line and in a file, without leading dashes."""
        return str(self.details.get("name", self.attribute)).replace("_", "-")

    def checked(self, value: Any) -> Any:
        """Return the value, converted from how TOML writes it. Raises InvalidInput for another type or a value out of range."""
        if self.kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        elif self.kind is Path and isinstance(value, str):
            value = Path(value)
        elif isinstance(value, list):
            value = tuple(value)
        if not _has_kind(value, self.kind) or not self._is_in_range(value):
            argument = Argument(self.name.replace("-", "_"))
            raise InvalidInput(argument, f" must be {self._expectation}, not {str(value)!r:.40}")
        return value

    @property
    def _expectation(self) -> str:
        if get_origin(self.kind) is Literal:
            return " or ".join(get_args(self.kind))
        limits = "".join(f" {word} {self.details[name]:,}" for name, word in LIMITS.items() if name in self.details)
        return NAMES.get(self.kind, "a list of strings") + limits

    def _is_in_range(self, value: Any) -> bool:
        if not isinstance(value, int | float):
            return True
        minimum = self.details.get("minimum", -math.inf)
        maximum = self.details.get("maximum", math.inf)
        return math.isfinite(value) and minimum <= value <= maximum and value > self.details.get("above", -math.inf)


def options_of(
    owner: type, details: Mapping[str, Mapping[str, Any]] = NO_DETAILS, kinds: Mapping[str, Any] = NO_DETAILS
) -> dict[str, Option]:
    """Return the options of a dataclass by name.

    `details` (by field) makes options of fields that `option` did not make. `kinds` replaces the types of fields.
    """
    hints = get_type_hints(owner)
    rows = [
        Option(row.name, kinds.get(row.name, _without_none(hints[row.name])), row.default, row.metadata or details[row.name])
        for row in fields(owner)
        if row.metadata or row.name in details
    ]
    return {row.name: row for row in rows}


def _without_none(hint: Any) -> Any:
    kinds = [part for part in get_args(hint) if part is not type(None)]
    return kinds[0] if len(kinds) < len(get_args(hint)) else hint


def _has_kind(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_has_kind(item, str) for item in value)
    if kind in (str, Path):
        return isinstance(value, kind) and str(value).isprintable()
    return isinstance(value, kind) and isinstance(value, bool) == (kind is bool)
