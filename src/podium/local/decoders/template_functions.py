"""The filters, methods, tests and comparisons of Jinja that podium evaluates in a chat template."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from podium.local.decoders.prompts import Part, Slot
from podium.local.decoders.template_values import (
    Loop,
    Namespace,
    TemplateError,
    TemplateText,
    Undefined,
    check_length,
    concatenated,
    is_text,
    item_of,
    known_value,
    list_value,
    output_value,
    parts_of,
    truth_value,
)

__all__ = ["FILTERS", "METHODS", "comparison_result", "method_result", "namespace_fields", "passes_test"]


def comparison_result(name: str, left: Any, right: Any) -> bool:
    """Return the result of a comparison. Texts that are not known, lists in lists, and objects cannot be compared."""
    if name in ("in", "notin") and isinstance(right, list | dict):
        return COMPARISONS[name](_scalar(left), [_scalar(item) for item in right])
    return COMPARISONS[name](_scalar(left), _scalar(right))


def _scalar(value: Any) -> Any:
    if isinstance(value, list | dict | Namespace | Loop):
        raise TemplateError("compares a list or an object, which podium does not evaluate")
    return known_value(value)


def _attribute(value: Any, path: Any) -> Any:
    """Return the value at a path of fields and positions, such as content.0.text."""
    for name in str(known_value(path)).split("."):
        value = item_of(value, int(name) if name.isdecimal() else name)
    return value


def namespace_fields(values: Any = None, *others: Any) -> dict[str, Any]:
    """Return the fields of namespace(…) that are those of an object."""
    if others or not isinstance(values, dict | None):
        raise TemplateError("calls namespace with a value that is not an object")
    return dict(values or {})


def _stripped(value: Any, *, starts: bool = True, ends: bool = True) -> TemplateText:
    """Return a text without whitespace at its start, at its end, or both. A slot at an end gets the property."""
    parts = list(parts_of(output_value(value)))
    if starts:
        parts = _stripped_start(parts)
    if ends:
        mirrored = _stripped_start([_mirrored(part) for part in reversed(parts)])
        parts = [_mirrored(part) for part in reversed(mirrored)]
    return TemplateText(tuple(parts))


def _stripped_start(parts: Sequence[Part]) -> list[Part]:
    for index, part in enumerate(parts):
        if isinstance(part, Slot):
            return [replace(part, strips_start=True), *parts[index + 1 :]]
        if part.strip():
            return [part.lstrip(), *parts[index + 1 :]]
    return []


def _mirrored(part: Part) -> Part:
    """Return a part read from its end, so that one function can strip both ends."""
    if isinstance(part, Slot):
        return replace(part, strips_start=part.strips_end, strips_end=part.strips_start)
    return part[::-1]


def _first(values: Any) -> Any:
    return item_of(list_value(values), 0)


def _last(values: Any) -> Any:
    return item_of(list_value(values), -1)


def _default(value: Any, default: Any = "", boolean: bool = False) -> Any:
    return default if isinstance(value, Undefined) or (boolean and not truth_value(value)) else value


def _join(values: Any, separator: Any = "") -> TemplateText:
    texts = [output_value(item) for item in list_value(values)]
    return concatenated([text for index, item in enumerate(texts) for text in ((separator, item) if index else (item,))])


def _mapped(values: Any, *, attribute: str) -> list[Any]:
    return [_attribute(item, attribute) for item in list_value(values)]


def _selected(values: Any, attribute: str, test: str | None = None, *arguments: Any) -> list[Any]:
    return [item for item in list_value(values) if _item_passes(item, attribute, test, *arguments)]


def _rejected(values: Any, attribute: str, test: str | None = None, *arguments: Any) -> list[Any]:
    return [item for item in list_value(values) if not _item_passes(item, attribute, test, *arguments)]


def _item_passes(item: Any, attribute: str, test: str | None, *arguments: Any) -> bool:
    value = _attribute(item, attribute)
    return truth_value(value) if test is None else passes_test(test, value, *arguments)


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list | dict) else len(known_value(value))


def _replaced(value: Any, old: Any, new: Any) -> str:
    text: str = known_value(output_value(value))
    searched: str = known_value(old)
    replacement: str = known_value(new)
    check_length(len(text) + text.count(searched) * len(replacement))
    return text.replace(searched, replacement)


FILTERS: dict[str, Callable[..., Any]] = {
    "trim": lambda value: _stripped(value),
    "first": _first,
    "last": _last,
    "default": _default,
    "d": _default,
    "join": _join,
    "list": list_value,
    "map": _mapped,
    "selectattr": _selected,
    "rejectattr": _rejected,
    "length": _length,
    "count": _length,
    "string": output_value,
    "replace": _replaced,
}
METHODS: dict[str, Callable[..., Any]] = {
    "strip": lambda value: _stripped(value),
    "lstrip": lambda value: _stripped(value, ends=False),
    "rstrip": lambda value: _stripped(value, starts=False),
    "startswith": lambda value, start: known_value(value).startswith(known_value(start)),
    "endswith": lambda value, end: known_value(value).endswith(known_value(end)),
    "get": lambda value, key, default=None: _default(item_of(value, known_value(key)), default),
}
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "lteq": operator.le,
    "gt": operator.gt,
    "gteq": operator.ge,
    "in": lambda left, right: left in right,
    "notin": lambda left, right: left not in right,
}
TESTS: dict[str, Callable[..., bool]] = {
    "defined": lambda value: not isinstance(value, Undefined),
    "undefined": lambda value: isinstance(value, Undefined),
    "none": lambda value: value is None,
    "string": is_text,
    "mapping": lambda value: isinstance(value, dict),
    "iterable": lambda value: isinstance(value, str | TemplateText | list | dict | Undefined | Loop),
    "sequence": lambda value: isinstance(value, str | TemplateText | list | dict | Undefined),
    "number": lambda value: isinstance(value, int | float),
    "boolean": lambda value: isinstance(value, bool),
    "true": lambda value: value is True,
    "false": lambda value: value is False,
}


def method_result(name: str, value: Any, *arguments: Any, **keywords: Any) -> Any:
    """Return the result of a method: get is one of objects, and the others are of texts."""
    if not (isinstance(value, dict) if name == "get" else is_text(value)):
        raise TemplateError(f"calls {name} of a value that does not have this method")
    return METHODS[name](value, *arguments, **keywords)


def passes_test(name: str, value: Any, *arguments: Any) -> bool:
    """Whether a value passes a test, which is a comparison or a property of the value."""
    comparison = {"==": "eq", "equalto": "eq", "!=": "ne"}.get(name, name)
    if comparison in COMPARISONS:
        (argument,) = arguments
        return comparison_result(comparison, value, argument)
    if name not in TESTS:
        raise TemplateError(f"uses the test {str(name)[:40]}, which podium does not evaluate")
    return TESTS[name](value)
