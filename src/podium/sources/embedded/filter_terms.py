"""Terms to filter by: what an index stores of a document's fields, and the query for the documents that meet a condition.

Every field of a document can be used in a filter, at any depth (`author.name`). A value has these terms:

- a string, a number, true and false: a tag. Case, and white space around it, do not matter.
- a number, and a string that is one: also a number.
- a list: those of its items. Values that are blank or null have none.

Tags are terms of a text field, numbers are in columns. Both have a digest of the field's name, so no character of a name or
value has a meaning. The index also has the names of the fields (NAMES), to recognize misspelled ones.
"""

from __future__ import annotations

import functools
import hashlib
import math
import re
import struct
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from podium.documents import valid_unicode
from podium.sources.embedded.filter_syntax import Number

__all__ = [
    "KINDS",
    "LONGEST_TAG",
    "NAMES",
    "NUMBERS",
    "TERMS",
    "FilterTerms",
    "column_of",
    "filter_terms",
    "name_of",
    "number_range",
    "sortable",
    "tag_of",
    "tag_pattern",
    "tag_term",
]

TERMS, NUMBERS, NAMES = "terms", "numbers", "names"  # fields of tantivy's index
KINDS = ("tag", "number", "long")
"""What values of a field are, in NAMES: "long" are values that have too many characters to be filtered by."""
LONGEST_NORMALIZED = 2_000  # characters; normalizing makes them at most four times fewer
LONGEST_TAG = 200  # characters of a tag or a field's name; longer ones would make the index large
DEEPEST_RECORD = 8
NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?", re.IGNORECASE | re.ASCII)


@dataclass(slots=True)
class FilterTerms:
    """The terms of a document, its numbers by column, and the names of its fields, each with the KINDS of its values."""

    terms: set[str] = field(default_factory=set)
    numbers: dict[str, list[int]] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    def add(self, name: str, value: Any) -> None:
        """Add the terms of one value."""
        text = tag_of(value)
        if not text:
            return
        if len(text) > LONGEST_TAG:
            self.names.add(name_of("long", name))
            return
        self.names.add(name_of("tag", name))
        self.terms.add(tag_term(name, text))
        if (number := _number(value)) is not None:
            self.names.add(name_of("number", name))
            self.numbers.setdefault(column_of(name), []).append(sortable(number))


def filter_terms(record: Mapping[str, Any]) -> FilterTerms:
    """Return the terms of a document."""
    result = FilterTerms()
    for name, value in _values(record, "", 0):
        if len(name) <= LONGEST_TAG:
            result.add(valid_unicode(name), value)
    return result


def _values(value: Any, name: str, depth: int) -> Iterator[tuple[str, Any]]:
    """Yield every value of a record with the dotted name of its field."""
    if depth > DEEPEST_RECORD:
        return
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _values(inner, f"{name}.{key}" if depth else str(key), depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _values(item, name, depth + 1)
    elif isinstance(value, str | bool | int | float):
        yield name, value


def tag_of(value: Any) -> str:
    """Return a value as a tag, "" if it is blank."""
    if isinstance(value, float) and math.isnan(value):
        return ""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    tag = valid_unicode(text).strip().casefold()
    # Longer ones are not indexed, normalized or not, and the time to normalize grows with the square of a run of marks.
    return tag if len(tag) > LONGEST_NORMALIZED else unicodedata.normalize("NFC", tag)


def _number(value: Any) -> float | None:
    """Return the number that a value is or contains, None if it is not one."""
    is_number = NUMBER.fullmatch(value.strip()) if isinstance(value, str) else not isinstance(value, bool)
    return float(value) if is_number else None


def name_of(kind: str, name: str) -> str:
    """Return a field's name as NAMES has it."""
    return f"{kind} {name}"


@functools.lru_cache(maxsize=4096)
def _digest(name: str) -> str:
    return hashlib.blake2b(name.encode(), digest_size=8).hexdigest()


def tag_term(name: str, tag: str) -> str:
    return f"{_digest(name)}={tag}"


def tag_pattern(name: str, prefix: str) -> str:
    """Return a regular expression for the terms of tags that begin with `prefix`."""
    escaped = "".join(rf"\x{{{ord(character):x}}}" for character in prefix)
    return f"{_digest(name)}={escaped}(?s:.)*"


def column_of(name: str) -> str:
    """Return the name of the column that has a field's numbers."""
    return f"n{_digest(name)}"


def sortable(number: float) -> int:
    """Return the 64 bits of a number as a signed integer that sorts like the number.

    tantivy's query parser does not read all floats.
    """
    bits: int = struct.unpack(">q", struct.pack(">d", number + 0.0))[0]  # -0.0 + 0.0 is 0.0
    return bits if bits >= 0 else bits ^ 0x7FFF_FFFF_FFFF_FFFF


def number_range(condition: Number) -> tuple[int, int]:
    """Return the first and the last number in a range, as integers that sort like the numbers."""
    return sortable(condition.low) + condition.low_is_exclusive, sortable(condition.high) - condition.high_is_exclusive
