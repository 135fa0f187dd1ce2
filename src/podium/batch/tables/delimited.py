"""CSV and TSV files. They are not divided, because a cell may contain line breaks. Positions are lines, from 1."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Collection, Iterator, Sequence

from podium.batch.files import InputFile, expansion_of
from podium.batch.tables.lines import text_lines
from podium.batch.tables.row import BAD_ENCODING, Row, TableFormat
from podium.errors import InvalidInput
from podium.formats import DELIMITERS, MAX_CHARACTERS

__all__ = ["DelimitedText"]

SAMPLE_LINES = 1000


class DelimitedText(TableFormat):
    """Cells between `delimiter`; None for the one that splits the header into the most names.

    A cell in double quotes may contain delimiters and line breaks, except in TSV.
    """

    unit = "line"

    def __init__(self, delimiter: str | None = None) -> None:
        self._delimiter = delimiter

    def fields(self, file: InputFile) -> list[str]:
        names = next(self._cells(file), (0, None))[1]
        if not names or len(set(names)) < len(names):
            raise InvalidInput(f"{file.path}: its first line must name each column once")
        return names

    def rows(self, file: InputFile, start: int, columns: Collection[str] | None, copied: Sequence[str] = ()) -> Iterator[Row]:
        cells = self._cells(file)
        names = next(cells, (0, None))[1] or []
        for line, values in cells:
            if values is None:
                yield Row(line, {}, "has a double quote in the wrong position")
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

    def _cells(self, file: InputFile) -> Iterator[tuple[int, list[str] | None]]:
        """Yield (number of its last line, cells) for each row, the header included. Cells that cannot be parsed are None."""
        csv.field_size_limit(MAX_CHARACTERS)  # a cell may contain a document
        lines = _decoded_lines(file)
        header = next(lines, "")
        delimiter = self._delimiter or max(DELIMITERS, key=header.count)
        rows = csv.reader(
            itertools.chain([header], lines),
            strict=True,
            delimiter=delimiter,
            quoting=csv.QUOTE_NONE if self._delimiter else csv.QUOTE_MINIMAL,
        )
        while True:
            try:
                cells = next(rows)
                yield rows.line_num, cells
            except StopIteration:
                return
            except csv.Error:
                yield rows.line_num, None


def _decoded_lines(file: InputFile) -> Iterator[str]:
    """Yield the lines of a file. Bytes that are not UTF-8 become unpaired surrogates."""
    for position, line in text_lines(file):
        if line is None:
            raise InvalidInput(f"{file.path}: the line at byte {position} is too long; correct it")
        text = line.decode("utf-8", "surrogateescape")
        yield text.removeprefix("\ufeff") if position == 0 else text


def _cell(text: str) -> object:
    """Return the text of a cell, BAD_ENCODING if it was not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return BAD_ENCODING
    return text
