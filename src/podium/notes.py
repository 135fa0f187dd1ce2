"""NoteTotals, the notes of many rankings as a few sentences."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["NoteTotals"]

_NUMBER = re.compile(r"\d[\d,]*")
_SHARE = re.compile(r"([\d,]+) of ([\d,]+) (.*)", re.DOTALL)


@dataclass(slots=True)
class _Total:
    """A note with its numbers, how many queries have it, and the sums of its numbers if it begins as in "2 of 100 …"."""

    note: str
    query_count: int = 0
    part: int = 0
    total: int = 0

    def sentence(self) -> str:
        share = _SHARE.fullmatch(self.note)
        return self.note if share is None else f"{self.part:,} of {self.total:,} {share[3]}"


@dataclass(slots=True)
class NoteTotals:
    """Notes of queries, of which those that differ only in their numbers become one note.

    If these notes have a form such as "2 of 100 documents …", both numbers are summed over queries.

        >>> totals = NoteTotals()
        >>> totals.add(["1 of 3 texts is long"])
        >>> totals.add(["2 of 5 texts is long"])
        >>> totals.sentences(10)
        ('3 of 8 texts is long (in 2 of 10 queries)',)
    """

    _totals: dict[str, _Total] = field(default_factory=dict)  # by note, with # for each number

    def add(self, notes: Iterable[str]) -> None:
        """Add the notes of a query."""
        for note in notes:
            share = _SHARE.fullmatch(note)
            part, total = (_number(share[1]), _number(share[2])) if share else (0, 0)
            self._add(_Total(note, 1, part, total))

    def update(self, other: NoteTotals) -> None:
        """Add the notes of other queries."""
        for total in other._totals.values():
            self._add(total)

    def sentences(self, query_count: int) -> tuple[str, ...]:
        """Return the notes. If there are several queries, a note ends with the number of queries that have it."""
        return tuple(
            total.sentence() + (f" (in {total.query_count:,} of {query_count:,} queries)" if query_count > 1 else "")
            for total in self._totals.values()
        )

    def to_json(self) -> list[list[Any]]:
        return [[total.note, total.query_count, total.part, total.total] for total in self._totals.values()]

    @classmethod
    def from_json(cls, values: Iterable[Iterable[Any]]) -> NoteTotals:
        """Return the notes that `to_json` described. Raises TypeError or ValueError if the description is damaged."""
        totals = cls()
        for note, *numbers in values:
            totals._add(_Total(str(note), *map(int, numbers)))
        return totals

    def _add(self, added: _Total) -> None:
        total = self._totals.setdefault(_NUMBER.sub("#", added.note), _Total(added.note))
        total.query_count += added.query_count
        total.part += added.part
        total.total += added.total


def _number(digits: str) -> int:
    return int(digits.replace(",", ""))
