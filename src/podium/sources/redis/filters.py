"""The fields that a search and its filter use: RediSearch finds nothing in missing fields and in fields of another kind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from podium.errors import InvalidInput
from podium.sources.filters import filter_text
from podium.sources.redis.replies import IndexInfo

__all__ = ["checked_filter", "missing_field"]

QUOTED = re.compile(r'"(?:\\.|[^"\\])*"|(?<=\{)(?:\\.|[^}\\])*(?=\})')
NAME = r"(?:\\.|\w)+"
CLAUSE = re.compile(rf"(?<!\\)@({NAME}(?:\s*\|\s*{NAME})*)\s*(:\s*[\[{{]|:|[=!]=|[<>]=?)?")
# The operator after a field's name → the kinds of field that it can be used with, and the value that it compares with.
OPERATORS = {
    ":[": (("NUMERIC", "GEO", "GEOSHAPE", "VECTOR"), "a range"),
    ":{": (("TAG",), "tags"),
    ":": (("TEXT",), "words"),
}
COMPARISON = (("NUMERIC",), "a number")


def checked_filter(value: Any) -> str | None:
    """Return a filter as a string, None if it matches every document. Raises InvalidInput."""
    text = filter_text(value)
    if text is None:
        return None
    if not any(_clauses(text)):
        raise InvalidInput(
            f"the filter {text[:80]!r} names no field, so Redis would search for it as words; write @field:[low high] for a "
            "number, @field:{value} for a tag"
        )
    return text


def missing_field(info: IndexInfo, text_fields: list[str] | None, vector: str | None, conditions: str | None) -> str | None:
    """Return what an index lacks for a search, such as "the text field 'body'"; None if it lacks nothing.

    `text_fields`, `vector` and `conditions` (the filter) are what the search uses, None if it does not use them.
    """
    if text_fields == []:
        return "a text field"
    for name in text_fields or ():
        if name not in info.of_kind("TEXT"):
            return f"the text field {name!r}"
    if vector is not None and vector not in info.of_kind("VECTOR"):
        return f"the vector field {vector!r}"
    for name, operator in _clauses(conditions or ""):
        kinds, value = OPERATORS.get(operator, COMPARISON) if operator else ((), "")
        if name not in info.fields:
            return f"the field {name!r} of the filter"
        if kinds and info.fields[name].kind not in kinds:
            return f"a {' or '.join(kinds[:2])} field {name!r}, which the filter compares with {value}"
    return None


def _clauses(conditions: str) -> Iterator[tuple[str, str]]:
    """Yield the name and operator of each field in a filter."""
    for clause in CLAUSE.finditer(QUOTED.sub("", conditions)):
        for name in re.split(r"(?<!\\)\|", clause[1]):
            yield re.sub(r"\\(.)", r"\1", name.strip()), re.sub(r"\s", "", clause[2] or "")
