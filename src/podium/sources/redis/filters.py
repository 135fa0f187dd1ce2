"""Check that an index has the fields that a search and its filter use.

RediSearch returns no results for a field that is missing or has another type, instead of an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from podium.errors import InvalidInput
from podium.sources.filters import filter_text
from podium.sources.redis.replies import IndexInfo

__all__ = ["checked_filter", "missing_field"]

# The values in a filter: quoted strings, and text between { and }. They are removed before the names of fields are looked for,
# because an @ in a value does not begin a name.
VALUES = re.compile(r'"(?:\\.|[^"\\])*"|(?<=\{)(?:\\.|[^}\\])*(?=\})', re.DOTALL)
TAGS = re.compile(r"(?<=\{)(?:\\.|[^}\\])*(?=\})", re.DOTALL)
# An escaped character, or one that redisvl leaves as it is in a tag, although RediSearch does not read it as a part of the tag.
ESCAPED_OR_UNESCAPED = re.compile(r"\\.|([`_\t\n\v\f\r])", re.DOTALL)
ONE_CHARACTER_PREFIX = re.compile(r"(?:^|(?<!\\)\|)\s*(?:\\.|[^\s|\\*])\*\s*(?:\||$)")
FIELD_NAME_PATTERN = r"(?:\\.|\w)+"
# Group 1 is "a", or "a | b" for several fields. Group 2 is the operator after the names, if there is one.
CLAUSE = re.compile(rf"(?<!\\)@({FIELD_NAME_PATTERN}(?:\s*\|\s*{FIELD_NAME_PATTERN})*)\s*(:\s*[\[{{]|:|[=!]=|[<>]=?)?")
# The operator after a field's name → the kinds of fields that it applies to, and what it compares a field with.
OPERATOR_KINDS = {
    ":[": (("NUMERIC", "GEO", "GEOSHAPE", "VECTOR"), "a range"),
    ":{": (("TAG",), "tags"),
    ":": (("TEXT",), "words"),
}
COMPARISON_KINDS = (("NUMERIC",), "a number")  # for the other operators: == != < <= > >=


def checked_filter(value: Any) -> str | None:
    """Return a filter as a string, None if it matches every document.

    Raises InvalidInput if it names no field, or has a prefix of one character, with which RediSearch finds nothing by default
    (its option MINPREFIX is 2).
    """
    text = filter_text(value)
    if text is None:
        return None
    if not isinstance(value, str):
        text = TAGS.sub(_with_escapes, text)
    if not any(_clauses(text)):
        raise InvalidInput(
            f"the filter {text[:80]!r} names no field, so Redis would search for it as words; write @field:[low high] "
            "for a number, @field:{value} for a tag"
        )
    if any(ONE_CHARACTER_PREFIX.search(tags[0]) for tags in TAGS.finditer(text)):
        raise InvalidInput(
            f"the filter {text[:80]!r} has a prefix of one character, with which Redis finds nothing; write at least two "
            "characters before the *"
        )
    return text


def missing_field(
    info: IndexInfo, text_fields: list[str] | None, vector_field: str | None, filter_string: str | None
) -> str | None:
    """Return a phrase for the first field that a search needs and the index lacks, such as "the text field 'body'".

    Returns None if the index has all fields of the search. An argument is None if the search does not use fields of that kind.
    `text_fields` is empty if the search uses all text fields and the index has none.
    """
    if text_fields == []:
        return "a text field"
    for name in text_fields or ():
        if name not in info.names_of_kind("TEXT"):
            return f"the text field {name!r}"
    if vector_field is not None and vector_field not in info.names_of_kind("VECTOR"):
        return f"the vector field {vector_field!r}"
    for name, operator in _clauses(filter_string or ""):
        kinds, compared_with = OPERATOR_KINDS.get(operator, COMPARISON_KINDS) if operator else ((), "")
        if name not in info.fields:
            return f"the field {name!r} of the filter"
        if kinds and info.fields[name].kind not in kinds:
            usual_kinds = " or ".join(kinds[:2])  # the two most common kinds
            return f"a {usual_kinds} field {name!r}, which the filter compares with {compared_with}"
    return None


def _with_escapes(tags: re.Match[str]) -> str:
    """Return the tags of an expression of redisvl with a backslash before the characters that need one."""
    return ESCAPED_OR_UNESCAPED.sub(lambda match: f"\\{match[1]}" if match[1] else match[0], tags[0])


def _clauses(filter_string: str) -> Iterator[tuple[str, str]]:
    """Yield the name of each field in a filter, and the operator after it, or "" if there is none."""
    for clause in CLAUSE.finditer(VALUES.sub("", filter_string)):
        for name in re.split(r"(?<!\\)\|", clause[1]):
            yield re.sub(r"\\(.)", r"\1", name.strip()), re.sub(r"\s", "", clause[2] or "")
