"""Terms to filter by: what an index stores of a document's fields, and the query for the documents that meet a condition.

Every field of a document can be used in a filter, at any depth (`author.name`). A value has these terms:

- a string, a number, true and false: a tag. Case, and white space around it, do not matter.
- a number, and a string that is one: also a number, in 16 hexadecimal digits that sort like numbers.
- a list: those of its items. Values that are blank or null have none.

A term begins with a digest of the field's name, so no character of a name or value has a meaning in it. The index also has
the names of the fields (NAMES), to recognize misspelled ones.
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
    "TERMS",
    "FilterTerms",
    "filter_terms",
    "name_of",
    "number_range",
    "range_pattern",
    "tag_of",
    "tag_pattern",
    "tag_term",
]

TERMS, NAMES = "terms", "names"  # fields of tantivy's index
KINDS = ("tag", "number", "long")
"""What values of a field are, in NAMES: "long" are values that have too many characters to be filtered by."""
LONGEST_TAG = 200  # characters of a tag or a field's name; longer ones would make the index large
DEEPEST_RECORD = 8
HEX = "0123456789abcdef"
NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?", re.IGNORECASE | re.ASCII)


@dataclass(slots=True)
class FilterTerms:
    """The terms of a document, and the names of its fields, each with the KINDS of its values."""

    terms: set[str] = field(default_factory=set)
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
            self.terms.add(number_term(name, number))


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
    return unicodedata.normalize("NFC", valid_unicode(text).strip().casefold())


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


def number_term(name: str, number: float) -> str:
    return f"{_digest(name)}#{_sortable(number):016x}"


def _sortable(number: float) -> int:
    """Return the 64 bits of a number as an integer that sorts like the number."""
    bits: int = struct.unpack(">Q", struct.pack(">d", number + 0.0))[0]  # -0.0 + 0.0 is 0.0
    return bits ^ (0xFFFF_FFFF_FFFF_FFFF if bits >> 63 else 1 << 63)


def number_range(condition: Number) -> tuple[int, int]:
    """Return the first and the last number in a range, as integers that sort like the numbers."""
    return _sortable(condition.low) + condition.low_is_exclusive, _sortable(condition.high) - condition.high_is_exclusive


def range_pattern(name: str, low: int, high: int) -> str:
    """Return a regular expression for the terms of numbers from `low` to `high`, integers of `number_range`."""
    return f"{_digest(name)}#{_between(f'{low:016x}', f'{high:016x}')}"


def tag_pattern(name: str, prefix: str) -> str:
    """Return a regular expression for the terms of tags that begin with `prefix`."""
    escaped = "".join(rf"\x{{{ord(character):x}}}" for character in prefix)
    return f"{_digest(name)}={escaped}(?s:.)*"


def _between(low: str, high: str) -> str:
    """Return a regular expression for the hexadecimal numbers from `low` to `high`, which have equally many digits."""
    if low == high:
        return low
    if not low.strip("0") and not high.strip("f"):
        return f"[0-9a-f]{{{len(low)}}}"
    first, last = HEX.index(low[0]), HEX.index(high[0])
    if first == last:
        return low[0] + _between(low[1:], high[1:])
    digits = len(low) - 1
    parts = [low[0] + _between(low[1:], "f" * digits), high[0] + _between("0" * digits, high[1:])]
    if last - first > 1:
        parts.append(f"[{HEX[first + 1 : last]}][0-9a-f]{{{digits}}}")
    return f"({'|'.join(parts)})"
