"""Which fields a filter uses, and how: the server answers a wrong field or a wrong kind with an empty list, not an error."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from podium.errors import InvalidInput
from podium.sources.redis.replies import Field

__all__ = ["checked_filter", "misused_field"]

QUOTED = re.compile(r'"(?:\\.|[^"\\])*"|(?<=\{)(?:\\.|[^}\\])*(?=\})')
NAME = r"(?:\\.|\w)+"
CLAUSE = re.compile(rf"(?<!\\)@({NAME}(?:\s*\|\s*{NAME})*)\s*(:\s*[\[{{]|:|[=!]=|[<>]=?)?")
# What follows a field's name → the kinds of field that it fits, and how users call it.
KINDS = {
    ":[": (("NUMERIC", "GEO", "GEOSHAPE", "VECTOR"), "a range"),
    ":{": (("TAG",), "tags"),
    ":": (("TEXT",), "words"),
}
COMPARISON = (("NUMERIC",), "a number")


def checked_filter(value: Any) -> str | None:
    """Return a filter as a string, None for one that lets every document through. Raises InvalidInput."""
    if value is None:
        return None
    if not isinstance(value, str) and type(value).__name__ != "FilterExpression":
        raise InvalidInput(f"filter must be a redisvl filter expression or a string, not a {type(value).__name__}")
    try:
        text = str(value).strip()
    except (TypeError, ValueError):  # of an expression that was put together wrongly
        raise InvalidInput("the filter expression is not complete; compare a field, as in Num('year') > 2000") from None
    if text in ("", "*"):
        return None
    if not any(True for _ in _clauses(text)):
        raise InvalidInput(
            f"the filter {text[:80]!r} names no field, so Redis would search for it as words; write @field:[low high] for a "
            "number, @field:{value} for a tag"
        )
    return text


def misused_field(text: str, fields: Mapping[str, Field]) -> str | None:
    """Return what an index lacks for a filter, in words; None where all of its fields are there and of the right kind."""
    for name, operator in _clauses(text):
        kinds, value = KINDS.get(operator, COMPARISON) if operator else ((), "")
        if name not in fields:
            return f"the field {name!r} of the filter"
        if kinds and fields[name].kind not in kinds:
            return f"a {' or '.join(kinds[:2])} field {name!r}, which the filter compares with {value}"
    return None


def _clauses(text: str) -> Iterator[tuple[str, str]]:
    for clause in CLAUSE.finditer(QUOTED.sub("", text)):
        for name in re.split(r"(?<!\\)\|", clause[1]):
            yield re.sub(r"\\(.)", r"\1", name.strip()), re.sub(r"\s", "", clause[2] or "")
