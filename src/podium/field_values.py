"""Values of a document's fields: missing ones, scalars of numpy, and the text of a value."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from typing import Any

from podium.errors import InvalidInput

__all__ = ["MAX_DEPTH", "is_empty", "is_missing", "python_scalar", "sorted_items", "value_text", "yaml_text"]

MAX_DEPTH = 32
"""How deeply lists and dicts that are read as text may be nested. YAML indents each line by its depth, so without a limit a
small document could become a huge text."""


def is_empty(value: Any) -> bool:
    """Whether a value has no text: it is missing, or an empty string or bytes."""
    if value is None or isinstance(value, str | bytes):
        return not value
    return is_missing(value)


def is_missing(value: Any) -> bool:
    """Whether a value marks a missing entry of a data frame or an array: None, NaN, or pandas' NA or NaT."""
    value = python_scalar(value)
    if value is None or isinstance(value, float):
        return value is None or math.isnan(value)
    return type(value).__name__ in ("NAType", "NaTType") and type(value).__module__.partition(".")[0] == "pandas"


def sorted_items(items: Iterable[Any]) -> list[Any]:
    """Return a set's items in the same order in every process. The order of iteration differs between processes."""
    values = list(items)
    if all(isinstance(item, str) for item in values) or all(isinstance(item, int | float) for item in values):
        return sorted(values)

    def sort_key(item: Any) -> tuple[str, str]:
        stable_item = sorted_items(item) if isinstance(item, frozenset) else item
        return type(item).__name__, repr(stable_item)

    return sorted(values, key=sort_key)


def python_scalar(value: Any) -> Any:
    """Return a scalar of numpy as the Python value that is equal to it, and anything else as it is."""
    if type(value).__module__ != "numpy" or getattr(value, "ndim", None) != 0:
        return value
    if value.dtype.kind in "mM":  # times and durations, which in nanoseconds would become integers
        value = value.astype(f"{value.dtype.kind}8[us]")
    return value.item()


def value_text(value: Any, index: int) -> str:
    """Return the text of one value: strings and numbers as they are, "" for a missing one, lists and dicts as YAML.

    Raises InvalidInput, which names the document with this index, if the value cannot be written.
    """
    if is_empty(value):
        return ""
    value = _plain_value(value)
    return str(value) if isinstance(value, str | bool | int | float) else yaml_text(value, index)


def yaml_text(value: Any, index: int) -> str:
    """Return a value as YAML. Raises InvalidInput, which names the document with this index, if it cannot be written."""
    import yaml

    try:  # long lines are not wrapped, and characters not escaped, because a model reads this text
        return str(yaml.dump(value, Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=2**31 - 1))
    except (yaml.YAMLError, RecursionError):
        raise InvalidInput(
            f"document {index} has a field that cannot be written as text, or is nested more than {MAX_DEPTH} levels deep; "
            "name fields of text, numbers, dates, lists or dicts"
        ) from None  # the messages of yaml have the value


@functools.cache
def _dumper() -> Any:
    """Return a subclass of YAML's safe dumper. If libyaml is installed, it is based on the one in C, ten times as fast."""
    import yaml

    base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

    class Dumper(base):  # type: ignore[misc]
        """A dumper that writes sets as sorted lists, and raises RecursionError for more than MAX_DEPTH levels.

        Bytes, scalars of numpy and subclasses of str are written as the strings and numbers that they stand for.
        """

        depth = 0

        def represent_data(self, data: Any) -> Any:
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise RecursionError
            node = super().represent_data(_plain_value(data))
            self.depth -= 1
            return node

    for set_type in (set, frozenset):
        Dumper.add_representer(set_type, lambda dumper, items: dumper.represent_list(sorted_items(items)))
    return Dumper


def _plain_value(value: Any) -> Any:
    """Return the string of bytes or of a subclass of str, the Python value of a scalar of numpy, and others as they are."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    value = python_scalar(value)
    return str.__str__(value) if isinstance(value, str) else value
