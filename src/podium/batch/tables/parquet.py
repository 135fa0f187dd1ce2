"""Parquet files. Positions are rows. Small row groups are joined to one part, and large ones are divided."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from typing import Any

from podium.batch.files import InputFile, open_file
from podium.batch.tables.arrow_rows import batch_rows, python_values, reading
from podium.batch.tables.row import Range, Row, TableFormat, even_ranges
from podium.errors import InvalidInput
from podium.extras import import_optional

__all__ = ["ParquetFile"]

BYTES_PER_PAIR = 2000  # a part has at most this many bytes, uncompressed, for each of its pairs
BATCH_BYTES = 1 << 20  # about how many bytes of rows are converted to Python at a time
MAX_BATCH_ROWS = 2048
BUFFER_BYTES = 1 << 20  # of a column that is read; without a buffer, pyarrow reads all of a row group's column at once


class ParquetFile(TableFormat):
    unit = "row"

    def fields(self, file: InputFile) -> list[str]:
        with _opened(file) as parquet:
            names: list[str] = parquet.schema_arrow.names
        if len(set(names)) < len(names):
            raise InvalidInput(f"{file.path} has two columns of the same name; give each column its own name")
        return names

    def rows(self, file: InputFile, start: int, columns: Collection[str] | None) -> Iterator[Row]:
        with _opened(file) as parquet:
            metadata = parquet.metadata
            group_start = 0
            for group in range(metadata.num_row_groups):
                group_end = group_start + metadata.row_group(group).num_rows
                if group_end > start:
                    yield from _group_rows(parquet, group, group_start, max(start, group_start), columns)
                group_start = group_end

    def ranges(self, file: InputFile, part_size: int) -> list[Range]:
        """Return ranges with at most `part_size` values per column, and BYTES_PER_PAIR bytes for each of them.

        A column of lists has a value for each item, so a range has about as many documents as the largest column has values.
        """
        ranges: list[Range] = []
        start = row = 0
        size = 0.0  # of the rows from `start` to `row`, as a multiple of a part's size
        with _opened(file) as parquet:
            for group in map(parquet.metadata.row_group, range(parquet.metadata.num_row_groups)):
                group_size = _size(group) / part_size
                if row > start and size + group_size > 1:
                    ranges.append((start, row))
                    start, size = row, 0.0
                if group_size > 1:
                    pieces = even_ranges(group.num_rows, min(group.num_rows, -int(-group_size // 1)))
                    ranges += [(row + begin, row + int(end or 0)) for begin, end in pieces]
                    start, size = row + group.num_rows, 0.0
                else:
                    size += group_size
                row += group.num_rows
        return [*ranges, (start, row)] if row > start or not ranges else ranges

    def values_before(self, file: InputFile, start: int, column: str) -> Iterator[Any]:
        with _opened(file) as parquet:
            metadata = parquet.metadata
            group_starts = [0]
            for group in range(metadata.num_row_groups):
                group_starts.append(group_starts[-1] + metadata.row_group(group).num_rows)
            for group in reversed(range(metadata.num_row_groups)):
                if group_starts[group] < start:
                    values = parquet.read_row_group(group, columns=[column]).column(column)
                    yield from reversed(python_values(values.slice(0, start - group_starts[group])))

    def arrow_type(self, file: InputFile, column: str) -> Any:
        with _opened(file) as parquet:
            return parquet.schema_arrow.field(column).type


def _size(group: Any) -> float:
    """Return the size of a row group as a number of pairs."""
    value_counts = [group.column(index).num_values for index in range(group.num_columns)]
    return float(max(group.total_byte_size / BYTES_PER_PAIR, group.num_rows, *value_counts))


def _group_rows(parquet: Any, group: int, group_start: int, start: int, columns: Collection[str] | None) -> Iterator[Row]:
    """Yield the rows of a row group from the row `start` on. Both numbers count from the beginning of the file."""
    metadata = parquet.metadata.row_group(group)
    bytes_per_row = max(1, metadata.total_byte_size // max(1, metadata.num_rows))
    batch_size = max(1, min(MAX_BATCH_ROWS, BATCH_BYTES // bytes_per_row))
    names = None if columns is None else [name for name in parquet.schema_arrow.names if name in columns]
    position = group_start
    for batch in parquet.iter_batches(batch_size=batch_size, row_groups=[group], columns=names, use_threads=False):
        end = position + batch.num_rows
        if end > start:
            skipped = max(0, start - position)
            yield from batch_rows(batch.slice(skipped), position + skipped)
        position = end


@contextlib.contextmanager
def _opened(file: InputFile) -> Iterator[Any]:
    """Open a file for the block. Raises InvalidInput if it is damaged, also in the block."""
    parquet = import_optional("pyarrow.parquet", "batch")
    with (
        reading(file, "a Parquet"),
        open_file(file) as content,
        parquet.ParquetFile(content, buffer_size=BUFFER_BYTES) as opened,
    ):
        yield opened
