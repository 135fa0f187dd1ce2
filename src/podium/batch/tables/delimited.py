"""CSV and TSV files. They are not divided, because a cell may contain line breaks. Positions are lines, from 1."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Collection, Iterator, Sequence

from podium.batch.files import InputFile, expansion_of
from podium.batch.tables.lines import MAX_LINE_BYTES, text_lines
from podium.batch.tables.row import BAD_ENCODING, MAX_VALUE_BYTES, Row, TableFormat
from podium.errors import InvalidInput
from podium.expansion import VALUE_BYTES
from podium.formats import DELIMITERS, MAX_CHARACTERS

__all__ = ["DelimitedText"]

SAMPLE_LINES = 1000
TOO_LARGE = f"takes more than {MAX_VALUE_BYTES >> 20} MB of memory, or has a line of more than {MAX_LINE_BYTES:,} bytes"
REASONS = {
    "expected after": "has a double quote in the wrong position",
    "unexpected end of data": "has a double quote that is not closed",
    "new-line character": "has a carriage return inside a line",
    "field larger": f"has a cell of more than {MAX_CHARACTERS:,} characters; it may have a double quote that is not closed",
    TOO_LARGE: TOO_LARGE,
}
"""Part of a message of the csv module → the reason why the row is bad."""


class DelimitedText(TableFormat):
    """Cells between `delimiter`; None for the one that splits the header into the most names.

    A cell in double quotes may contain delimiters and line breaks, except in TSV.
    """

    unit = "line"

    def __init__(self, delimiter: str | None = None) -> None:
        self._delimiter = delimiter

    def fields(self, file: InputFile) -> list[str]:
        _, names = next(self._cells(file), (0, []))
        if not names or isinstance(names, str) or len(set(names)) < len(names):
            raise InvalidInput(f"{file.path}: its first line must name each column once")
        return names

    def rows(self, file: InputFile, start: int, columns: Collection[str] | None, copied: Sequence[str] = ()) -> Iterator[Row]:
        cells = self._cells(file)
        _, names = next(cells, (0, []))
        for line, values in cells:
            if isinstance(values, str):
                yield Row(line, {}, values)
            elif not values:  # a blank line
                continue
            elif len(values) != len(names):
                yield Row(line, {}, f"has {len(values)} cells, and the header has {len(names)}")
            else:
                yield Row(line, dict(zip(names, map(_cell, values), strict=True)))

    def estimated_end(self, file: InputFile) -> int:
        """Return about how many lines a file has, from the length of its first lines."""
        lengths = [len(line or b"") for _, line in itertools.islice(text_lines(file), SAMPLE_LINES)]
        return int(file.size * expansion_of(file) * len(lengths) / max(1, sum(lengths)))

    def _cells(self, file: InputFile) -> Iterator[tuple[int, list[str] | str]]:
        """Yield (number of its last line, cells) of each row, with the header. For a bad row, the reason replaces the cells."""
        csv.field_size_limit(MAX_CHARACTERS)  # a cell may contain a document
        lines = _decoded_lines(file)
        header = next(lines, "") or ""
        delimiter = self._delimiter or max(DELIMITERS, key=header.count)
        row_lines = _RowLines(itertools.chain([header], lines), delimiter)
        rows = csv.reader(
            row_lines,
            strict=True,
            delimiter=delimiter,
            quoting=csv.QUOTE_NONE if self._delimiter else csv.QUOTE_MINIMAL,
        )
        while True:
            row_lines.row_bytes = 0
            try:
                cells = next(rows)
                yield row_lines.line_number, cells
            except StopIteration:
                return
            except csv.Error as error:
                reasons = (reason for part, reason in REASONS.items() if part in str(error))
                yield row_lines.line_number, next(reasons, f"is not valid CSV: {error}")


class _RowLines:
    """An iterator over lines for csv.reader, which raises csv.Error when a row becomes too large."""

    def __init__(self, lines: Iterator[str | None], delimiter: str) -> None:
        self._lines = lines
        self._delimiter = delimiter
        self.line_number = 0
        self.row_bytes = 0
        """About how much memory the row takes so far. The caller sets it to 0 before each row."""

    def __iter__(self) -> _RowLines:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.line_number += 1
        if line is not None:
            self.row_bytes += len(line) + VALUE_BYTES * line.count(self._delimiter)
        if line is None or self.row_bytes > MAX_VALUE_BYTES:
            raise csv.Error(TOO_LARGE)
        return line


def _decoded_lines(file: InputFile) -> Iterator[str | None]:
    """Yield the lines of a file, None for one that is too long. Bytes that are not UTF-8 become unpaired surrogates."""
    for position, line in text_lines(file):
        text = None if line is None else line.decode("utf-8", "surrogateescape")
        yield text.removeprefix("\ufeff") if text is not None and position == 0 else text


def _cell(text: str) -> object:
    """Return the text of a cell, BAD_ENCODING if it was not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return BAD_ENCODING
    return text
