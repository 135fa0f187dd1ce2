"""The values that a chat template computes, in which slots are in the place of the texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from podium.local.decoders.prompts import Part, joined

__all__ = [
    "UNDEFINED",
    "Loop",
    "Namespace",
    "TemplateError",
    "TemplateText",
    "Undefined",
    "check_length",
    "checked_items",
    "concatenated",
    "is_text",
    "item_of",
    "known_value",
    "list_value",
    "number_value",
    "output_value",
    "parts_of",
    "truth_value",
]

MAX_LENGTH = 100_000  # characters of a text while a template is evaluated
MAX_ITEMS = 1_000  # parts of a text, or entries of a list, while a template is evaluated


class TemplateError(Exception):
    """A template that cannot be evaluated. The message completes "its chat template …"."""


class Undefined:
    """The value of a name that a template does not have."""

    def __bool__(self) -> bool:
        return False


UNDEFINED = Undefined()


@dataclass(frozen=True, slots=True)
class TemplateText:
    """A text in which slots are the positions of texts that are not known."""

    parts: tuple[Part, ...]

    @property
    def is_known(self) -> bool:
        return all(isinstance(part, str) for part in self.parts)


@dataclass(slots=True)
class Namespace:
    """The result of namespace(…), whose fields a template can set."""

    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Loop:
    """The variable `loop` in a loop over `items`: the item at `position`."""

    items: Sequence[Any]
    position: int

    def field(self, name: Any) -> Any:
        """Return a field. Raises TemplateError for others, such as the methods cycle and changed."""
        following_count = len(self.items) - self.position - 1
        fields = {
            "index": self.position + 1,
            "index0": self.position,
            "revindex": following_count + 1,
            "revindex0": following_count,
            "first": self.position == 0,
            "last": following_count == 0,
            "length": len(self.items),
            "depth": 1,  # Only loops with `recursive` are deeper.
            "depth0": 0,
            "previtem": self.items[self.position - 1] if self.position else UNDEFINED,
            "nextitem": self.items[self.position + 1] if following_count else UNDEFINED,
        }
        if name not in fields:
            raise TemplateError(f"reads loop.{str(name)[:40]}, which podium does not evaluate")
        return fields[name]


def is_text(value: Any) -> bool:
    return isinstance(value, str | TemplateText)


def parts_of(value: Any) -> tuple[Part, ...]:
    return value.parts if isinstance(value, TemplateText) else (value,)


def concatenated(values: Iterable[Any]) -> TemplateText:
    """Return the concatenation of texts. Raises TemplateError if it is too long."""
    parts = [part for value in values for part in parts_of(value)]
    check_length(sum(len(part) for part in parts if isinstance(part, str)))
    text = TemplateText(joined(parts))
    checked_items(text.parts)
    return text


def check_length(length: int) -> None:
    """Raise TemplateError for a text of so many characters if it is too long. Call it before the text is made."""
    if length > MAX_LENGTH:
        raise TemplateError(f"makes a text of more than {MAX_LENGTH:,} characters")


def output_value(value: Any) -> Any:
    """Return a value as a template writes it."""
    if isinstance(value, Undefined):
        return ""
    if is_text(value):
        return value
    if value is None or isinstance(value, bool | int | float):
        return str(value)
    raise TemplateError("writes a list or an object, which podium does not evaluate")


def known_value(value: Any) -> Any:
    """Return a value that does not depend on a text that is not known: a text as str. Raises TemplateError for others."""
    if not isinstance(value, TemplateText):
        return value
    if not value.is_known:
        raise TemplateError("depends on what the texts contain")
    return "".join(part for part in value.parts if isinstance(part, str))


def truth_value(value: Any) -> bool:
    """Return whether a condition is true. Texts that are not known are not empty."""
    return bool(value.parts) if isinstance(value, TemplateText) else bool(value)


def number_value(value: Any) -> int | float:
    if not isinstance(value, int | float):
        raise TemplateError("calculates with a value that is not a number")
    return value


def list_value(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    raise TemplateError("iterates over a value that is not a list")


def checked_items(values: Any) -> Any:
    """Return a list or a text's parts. Raises TemplateError if there are too many."""
    if len(values) > MAX_ITEMS:
        raise TemplateError(f"makes a list of more than {MAX_ITEMS:,} entries")
    return values


def item_of(value: Any, key: Any) -> Any:
    """Return a field of an object or an entry of a list, UNDEFINED if it is missing."""
    if isinstance(value, Loop):
        return value.field(key)
    if isinstance(value, Namespace):
        value = value.fields
    if isinstance(value, dict):
        return value.get(key, UNDEFINED)
    if isinstance(value, list) and isinstance(key, int):
        return value[key] if -len(value) <= key < len(value) else UNDEFINED
    raise TemplateError(f"reads {str(key)[:40]!r} of a value that does not have fields")
