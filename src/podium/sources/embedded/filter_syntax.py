"""Filter expressions of an index in a folder: RediSearch's query syntax for conditions on tags and numbers.

The same expression, also one of redisvl, filters an index in a folder and an index on Redis:

    @kind:{book | journal}    one of these values; a special character needs a \\ before it, or the value double quotes
    @kind:{bo*}               a value that begins with bo
    @year:[1990 2000]         a number in this range; (1990 excludes 1990; -inf and +inf mean no limit
    @year>=1990               a comparison; the other operators are ==, !=, >, <, <=
    ismissing(@year)          no value
    A B                       both conditions
    A | B                     one of the conditions, or both; A B | C means (A B) | C
    -A                        not this condition
    (A)                       a group
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from podium.errors import InvalidInput

__all__ = ["And", "Condition", "Missing", "Not", "Number", "Or", "Tag", "fields_of", "parsed_filter"]

LONGEST_FILTER = 1_000_000  # characters
DEEPEST_FILTER = 32  # levels of groups inside each other
MAX_CONDITIONS = 1_000  # tantivy takes a minute for 100,000

NAME = re.compile(r"@((?:\\.|[\w.])+)\s*")
# Each pattern can match a text in only one way, so that the time to read an expression is proportional to its length.
TAG = re.compile(r'(?:"((?:\\.|[^"\\])*)"\s*|((?:\\.|[^\\|{}"])+))([|}])', re.DOTALL)
NUMBER = r"([-+]?(?:inf|\d+(?:\.\d*)?(?:e[-+]?\d+)?|\.\d+(?:e[-+]?\d+)?))"
BOUND = rf"(?:(\()\s*)?{NUMBER}"
RANGE = re.compile(rf"\[\s*{BOUND}[\s,]+{BOUND}\s*\]", re.IGNORECASE | re.ASCII)
COMPARISON = re.compile(rf"([=!]=|[<>]=?)\s*{NUMBER}", re.IGNORECASE | re.ASCII)
MISSING = re.compile(rf"ismissing\s*\(\s*{NAME.pattern}\)", re.IGNORECASE)
ATTRIBUTES = re.compile(r"\s*=>\s*\{[^{}]*\}")  # Weights, for example. They are ignored: a filter does not change scores.
ESCAPED_OR_PLAIN = re.compile(r"\\.|.", re.DOTALL)
SPACE = re.compile(r"\s*")
SYNTAX = "write @field:{value} or @field:[low high], combined by spaces (and), | (or), - (not) and parentheses"


@dataclass(frozen=True, slots=True)
class Tag:
    """A field has one of these values, or a value that begins with one of these prefixes."""

    field: str
    values: tuple[str, ...]
    prefixes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Number:
    """A field has a number from `low` to `high`; the limits themselves are left out if they are exclusive."""

    field: str
    low: float = -math.inf
    high: float = math.inf
    low_is_exclusive: bool = False
    high_is_exclusive: bool = False


@dataclass(frozen=True, slots=True)
class Missing:
    """A document has no value in a field."""

    field: str


@dataclass(frozen=True, slots=True)
class Not:
    condition: Condition


@dataclass(frozen=True, slots=True)
class And:
    """A document meets all of these conditions. If there are none, every document does."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Or:
    conditions: tuple[Condition, ...]


Condition: TypeAlias = Tag | Number | Missing | Not | And | Or


def parsed_filter(text: str) -> Condition:
    """Return the condition that an expression describes. Raises InvalidInput.

    >>> parsed_filter("@kind:{book | map} -@year:[(1990 +inf]").conditions[0]
    Tag(field='kind', values=('book', 'map'), prefixes=())
    """
    if len(text) > LONGEST_FILTER:
        raise InvalidInput(f"the filter has {len(text):,} characters; it can have {LONGEST_FILTER:,}")
    return _Parser(text).condition()


def fields_of(condition: Condition) -> Iterator[Tag | Number | Missing]:
    """Yield the conditions on single fields that a condition consists of."""
    if isinstance(condition, And | Or):
        for part in condition.conditions:
            yield from fields_of(part)
    elif isinstance(condition, Not):
        yield from fields_of(condition.condition)
    else:
        yield condition


COMPARISONS: dict[str, Callable[[str, float], Condition]] = {
    "==": lambda field, number: Number(field, number, number),
    "!=": lambda field, number: Not(Number(field, number, number)),
    ">": lambda field, number: Number(field, low=number, low_is_exclusive=True),
    ">=": lambda field, number: Number(field, low=number),
    "<": lambda field, number: Number(field, high=number, high_is_exclusive=True),
    "<=": lambda field, number: Number(field, high=number),
}


class _Parser:
    """Reads an expression from left to right. `_end` is the position up to which it has been read.

    A method that returns a condition reads the part of the expression that describes the condition.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._end = 0
        self._depth = 0  # the number of groups that are open
        self._condition_count = 0

    def condition(self) -> Condition:
        condition = self._alternatives()
        if self._end < len(self._text):
            raise self._error()
        return condition

    def _alternatives(self) -> Condition:
        conditions = [self._conjunction()]
        while self._accept("|"):
            conditions.append(self._conjunction())
        return conditions[0] if len(conditions) == 1 else Or(tuple(conditions))

    def _conjunction(self) -> Condition:
        conditions = [self._negatable()]
        while self._next_character() not in ("", "|", ")"):
            conditions.append(self._negatable())
        return conditions[0] if len(conditions) == 1 else And(tuple(conditions))

    def _negatable(self) -> Condition:
        is_negated = False
        while self._accept("-"):
            is_negated = not is_negated
        condition = self._simple()
        self._match(ATTRIBUTES)
        return Not(condition) if is_negated else condition

    def _simple(self) -> Condition:
        self._count_condition()
        if self._accept("("):
            return self._group()
        if self._accept("*"):
            return And(())
        if match := self._match(MISSING):
            return Missing(_unescaped(match[1]))
        if match := self._match(NAME):
            return self._field_condition(_unescaped(match[1]))
        raise self._error()

    def _count_condition(self) -> None:
        """Count a condition or a prefix, which takes as long to search. Raises InvalidInput if there are too many."""
        self._condition_count += 1
        if self._condition_count > MAX_CONDITIONS:
            raise InvalidInput(
                f"the filter has more than {MAX_CONDITIONS:,} conditions; write @kind:{{a | b}} for several values"
            )

    def _group(self) -> Condition:
        self._depth += 1
        if self._depth > DEEPEST_FILTER:
            raise InvalidInput(f"the filter has more than {DEEPEST_FILTER} groups inside each other; write it with fewer")
        condition = self._alternatives()
        if not self._accept(")"):
            raise self._error("a closing parenthesis is missing")
        self._depth -= 1
        return condition

    def _field_condition(self, field: str) -> Condition:
        if match := self._match(COMPARISON):
            return COMPARISONS[match[1]](field, float(match[2]))
        if not self._accept(":"):
            raise self._error("a field needs a value, as in @year:[1990 2000]; write special characters of its name after a \\")
        if self._accept("{"):
            return self._tags(field)
        if match := self._match(RANGE):
            return Number(field, float(match[2]), float(match[4]), bool(match[1]), bool(match[3]))
        if self._next_character() == "[":
            raise self._error("a range has two numbers, as in [1990 2000], [(1990 +inf]")
        raise self._error(f"a folder compares whole values, not words; write @{field[:80]}:{{value}}")

    def _tags(self, field: str) -> Tag:
        """Return the condition on a field's tags, from the text after the opening brace."""
        values: list[str] = []
        prefixes: list[str] = []
        separator = "|"
        while separator == "|":
            self._match(SPACE)
            if not (match := self._match(TAG)):
                raise self._error("close the braces, and put special characters after a \\, or the value between double quotes")
            quoted, plain, separator = match.groups()
            if plain is None:
                values.append(_unescaped(quoted))
                continue
            characters = ESCAPED_OR_PLAIN.findall(plain)
            while characters[-1].isspace():  # the first character is never a space, because spaces were skipped
                characters.pop()
            if "*" in characters[:-1]:
                raise self._error("a * can only be at the end of a value; write \\* for the character itself")
            if characters[-1] == "*":
                self._count_condition()
                prefixes.append(_unescaped("".join(characters[:-1])))
            else:
                values.append(_unescaped("".join(characters)))
        return Tag(field, tuple(values), tuple(prefixes))

    def _next_character(self) -> str:
        """Skip white space, and return the character after it, "" at the end of the text."""
        self._match(SPACE)
        return self._text[self._end : self._end + 1]

    def _accept(self, character: str) -> bool:
        """Skip this character if it is the next one, and return whether it is."""
        if self._next_character() != character:
            return False
        self._end += 1
        return True

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Skip the part of the text that matches at this position, and return the match, None without one."""
        if match := pattern.match(self._text, self._end):
            self._end = match.end()
        return match

    def _error(self, problem: str = "") -> InvalidInput:
        rest = self._text[self._end :].strip()
        position = f"at {rest[:40]!r} (character {self._end + 1})" if rest else "at its end"
        return InvalidInput(f"the filter cannot be read {position}; {problem or SYNTAX}")


def _unescaped(text: str) -> str:
    """Return a text without the backslashes that escape characters."""
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)
