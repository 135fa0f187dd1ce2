"""Row, one entry of an input file, and TableFormat, how the rows of one kind of file are read."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

from podium.batch.files import InputFile

__all__ = ["BAD_ENCODING", "Row", "TableFormat", "even_ranges"]

Range = tuple[int, "int | None"]
"""Where a part begins and ends, as positions of a format. An end of None is the end of the file."""


class _BadEncoding:
    """The type of BAD_ENCODING."""

    def __repr__(self) -> str:
        return "text that is not UTF-8"


BAD_ENCODING = _BadEncoding()
"""The value of a text that is not UTF-8."""


class Row(NamedTuple):
    """A row of a file: its position and its values by column, or the reason why it cannot be read."""

    position: int
    values: Mapping[str, Any]
    problem: str | None = None


class TableFormat(ABC):
    """How the rows of one kind of file are found. Positions increase from row to row; `unit` says what they count.

    `has_columns`: whether all rows of a file have the same columns.
    """

    unit: ClassVar[str]
    has_columns: ClassVar[bool] = True

    @abstractmethod
    def fields(self, file: InputFile) -> list[str]:
        """Return the names of the columns, or for lines of JSON the keys of the first object. Raises InvalidInput."""

    @abstractmethod
    def rows(self, file: InputFile, start: int, columns: Collection[str] | None) -> Iterator[Row]:
        """Yield the rows from a position on to the end of the file. `columns` are those that are needed, None for all.

        `start` is 0 or the start of a range. It need not be the position of a row: the first row is the next one.
        """

    def ranges(self, file: InputFile, part_size: int) -> list[Range]:
        """Return the ranges of a file's parts, each with about `part_size` pairs. By default a file is one part."""
        return [(0, None)]

    def estimated_end(self, file: InputFile) -> int:
        """Return about where a file ends that is one part. Only the remaining time of a job depends on it."""
        return file.size

    def values_before(self, file: InputFile, start: int, column: str) -> Iterator[Any]:
        """Yield a column's values in the rows before a position, the last row first. None for a row that cannot be read."""
        return iter(())

    def arrow_type(self, file: InputFile, column: str) -> Any:
        """Return the Arrow type of a column, None if the columns of this format have no types."""
        return None


def even_ranges(stop: int, count: int) -> list[Range]:
    """Return `count` ranges of about equal length from 0 up to `stop`."""
    limits = [index * stop // count for index in range(count + 1)]
    return list(itertools.pairwise(limits))
