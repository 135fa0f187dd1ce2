"""Terms to filter by: what an index stores of the fields of a document, and what a condition is compared with.

Every field of a document can be used in a filter, also a nested one (`author.name`). An index stores of a value:

- a tag, if it is a string, a number, true or false. The case of letters and white space around the value do not matter.
- also a number, if it is a number or a string that contains only a number.
- the tags and numbers of its items, if it is a list.
- nothing, if it is blank or null.

Tags are terms of a text field of tantivy; numbers are in columns of a JSON field. Both contain a digest of the field's name
instead of the name, so that no character of it has a special meaning. The names are stored separately (NAMES), to recognize
misspelled names in filters.
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

TERMS, NUMBERS, NAMES = "terms", "numbers", "names"  # the names of tantivy's fields
KINDS = ("tag", "number", "long")
"""The kinds of values that NAMES distinguishes. "long" is a value that has too many characters to be filtered by."""
LONGEST_NORMALIZED = 2_000  # characters; a longer text is longer than LONGEST_TAG even if it is normalized
LONGEST_TAG = 200  # characters of a tag or of a field's name; longer ones would make the index large
DEEPEST_RECORD = 8  # levels of lists and dicts; values below them are not indexed
NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?", re.IGNORECASE | re.ASCII)


@dataclass(slots=True)
class FilterTerms:
    """What is stored of a document.

    - `terms`: its tags, as `tag_term` returns them. `numbers`: its numbers by column, as `sortable` returns them.
    - `names`: the names of its fields with the kinds of their values, as `name_of` returns them.
    """

    terms: set[str] = field(default_factory=set)
    numbers: dict[str, list[int]] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    def add(self, name: str, value: Any) -> None:
        """Add what is stored of one value."""
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
    """Return what is stored of a document. Values in fields with a very long name are left out."""
    result = FilterTerms()
    for name, value in _values(record, "", 0):
        if len(name) <= LONGEST_TAG:
            result.add(valid_unicode(name), value)
    return result


def _values(value: Any, name: str, depth: int) -> Iterator[tuple[str, Any]]:
    """Yield the dotted name of each field, and its value, which is a string, a boolean or a number."""
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
    # A longer tag is not indexed anyway, and normalizing a long run of combining marks could take hours.
    return tag if len(tag) > LONGEST_NORMALIZED else unicodedata.normalize("NFC", tag)


def _number(value: Any) -> float | None:
    """Return a value as a number, None if it is neither a number nor a string that contains only a number."""
    if isinstance(value, str):
        text = value.strip()  # this also removes characters that float() does not accept as spaces
        return float(text) if NUMBER.fullmatch(text) else None
    return None if isinstance(value, bool) else float(value)


def name_of(kind: str, name: str) -> str:
    """Return the entry in NAMES for a field that has values of a kind."""
    return f"{kind} {name}"


@functools.lru_cache(maxsize=4096)
def _digest(name: str) -> str:
    return hashlib.blake2b(name.encode(), digest_size=8).hexdigest()


def tag_term(name: str, tag: str) -> str:
    """Return the term that documents have whose field `name` has this tag."""
    return f"{_digest(name)}={tag}"


def tag_pattern(name: str, prefix: str) -> str:
    """Return a regular expression of tantivy for the terms of tags that begin with `prefix`."""
    escaped = "".join(rf"\x{{{ord(character):x}}}" for character in prefix)
    return f"{_digest(name)}={escaped}(?s:.)*"


def column_of(name: str) -> str:
    """Return the name of the column that has a field's numbers."""
    return f"n{_digest(name)}"


def sortable(number: float) -> int:
    """Return the 64 bits of a number as a signed integer that sorts like the number.

    Numbers are indexed as such integers, because tantivy's query parser does not read all floats.
    """
    bits: int = struct.unpack(">q", struct.pack(">d", number + 0.0))[0]  # -0.0 + 0.0 is 0.0
    return bits if bits >= 0 else bits ^ 0x7FFF_FFFF_FFFF_FFFF


def number_range(condition: Number) -> tuple[int, int]:
    """Return the first and the last number in a range, as integers that sort like the numbers."""
    return sortable(condition.low) + condition.low_is_exclusive, sortable(condition.high) - condition.high_is_exclusive
