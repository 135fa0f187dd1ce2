"""Row, one entry of an input file, and TableFormat, how the rows of one kind of file are read."""

from __future__ import annotations

import bisect
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from podium.batch.files import InputFile
from podium.errors import Argument, InvalidInput

__all__ = [
    "BAD_ENCODING",
    "MAX_VALUE_BYTES",
    "NO_PYTHON_VALUE",
    "TOO_LARGE",
    "ArrowRow",
    "BadValue",
    "Row",
    "TableFormat",
    "even_ranges",
    "group_ranges",
    "part_count",
]

SNAP_SHARE = 0.1  # the share of a part by which its limit may be moved to that of a row group
MAX_VALUE_BYTES = 1 << 28  # of memory that a value of a table, or a row of text, may take
MAX_RANGES = 100_000  # of a file or a row group, which can claim to have any number of rows
Range = tuple[int, "int | None"]
"""Where a part begins and ends, as positions of a format. An end of None is the end of the file."""


@dataclass(frozen=True, slots=True)
class BadValue:
    """A value that cannot be read. `problem` completes a sentence about it: "the document …"."""

    problem: str


BAD_ENCODING = BadValue("is not UTF-8")
NO_PYTHON_VALUE = BadValue("has a value that Python does not have, such as a date after the year 9999")
TOO_LARGE = BadValue(f"takes more than {MAX_VALUE_BYTES >> 20} MB of memory")


class ArrowRow(NamedTuple):
    """A row of a record batch that has the columns to copy."""

    batch: Any
    number: int


class Row(NamedTuple):
    """A row of a file: its position and its values by column, or the reason why it cannot be read.

    `copied` has the columns that are copied, if they have types. If one of them cannot be copied, it is a BadValue.
    """

    position: int
    values: Mapping[str, Any]
    problem: str | None = None
    copied: ArrowRow | BadValue | None = None


class TableFormat(ABC):
    """How the rows of one kind of file are found. Positions increase from row to row; `unit` says what they count.

    `has_columns`: whether all rows of a file have the same columns.
    """

    unit: ClassVar[str]
    has_columns: ClassVar[bool] = True

    @abstractmethod
    def fields(self, file: InputFile) -> list[str]:
        """Return the names of the columns, or for lines of JSON the keys of the first objects. Raises InvalidInput."""

    @abstractmethod
    def rows(self, file: InputFile, start: int, columns: Collection[str] | None, copied: Sequence[str] = ()) -> Iterator[Row]:
        """Yield the rows from a position on to the end of the file. `columns` are those that are needed, None for all.

        `start` is 0 or the start of a range. It need not be the position of a row: the first row is the next one. The columns
        `copied` keep their types in the `copied` of a row; without types, they are among the values.
        """

    def ranges(self, file: InputFile, part_size: int, list_path: Sequence[str] = ()) -> list[Range]:
        """Return the ranges of a file's parts, each with about `part_size` pairs. By default a file is one part.

        A pair is a row, or an item of the list that the names `list_path` lead to: a column, and the fields in it.
        """
        return [(0, None)]

    def estimated_end(self, file: InputFile) -> int:
        """Return about where a file ends that is one part. Only the remaining time of a job depends on it."""
        return file.size

    def row_before(self, file: InputFile, start: int, columns: Collection[str], is_valid: Callable[[Row], bool]) -> Row | None:
        """Return the last row before a position for which `is_valid` returns True, None if there is none.

        The rows have at least `columns`. Their own positions are not known.
        """
        return None

    def arrow_type(self, file: InputFile, column: str) -> Any:
        """Return the Arrow type of a column, None if the columns of this format have no types."""
        return None


def part_count(pairs: float, part_size: int) -> int:
    """Return the number of parts of a file with about this many pairs. Raises InvalidInput if they are too many."""
    count = max(1, math.ceil(pairs / part_size))
    if count > MAX_RANGES:
        raise InvalidInput(
            f"an input file would have {count:,} parts, and the most is {MAX_RANGES:,}; check the file, or use a larger ",
            Argument("part_size"),
        )
    return count


def even_ranges(stop: int, count: int) -> list[Range]:
    """Return `count` ranges of about equal length from 0 up to `stop`."""
    limits = [index * stop // count for index in range(count + 1)]
    return list(itertools.pairwise(limits))


def group_ranges(groups: Sequence[tuple[int, int]], part_size: int) -> list[Range]:
    """Return ranges of rows with about `part_size` pairs each. `groups` has the numbers of rows and of pairs of each row group.

    A limit between two ranges that would be near the limit of a row group is moved there, so that few row groups are read for
    two parts.
    """
    rows = list(itertools.accumulate((row_count for row_count, _ in groups), initial=0))
    pairs = list(itertools.accumulate((pair_count for _, pair_count in groups), initial=0))
    count = part_count(pairs[-1], part_size)
    limits = {0, rows[-1]}
    for part in range(1, count):
        target = part * pairs[-1] / count
        group = bisect.bisect_right(pairs, target) - 1
        nearest = min((group, group + 1), key=lambda index: abs(pairs[index] - target))
        if abs(pairs[nearest] - target) <= SNAP_SHARE * pairs[-1] / count:
            limits.add(rows[nearest])
        else:
            row_count, pair_count = groups[group]
            limits.add(rows[group] + round((target - pairs[group]) / pair_count * row_count))
    return list(itertools.pairwise(sorted(limits))) or [(0, 0)]
