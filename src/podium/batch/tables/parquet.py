"""Parquet files. A position is the number of a row, from 0. Small row groups are joined into one part, large ones divided."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from podium.batch.files import InputFile, open_file
from podium.batch.tables.arrow_rows import BATCH_ROWS, batch_rows, last_row, reading, unique_names
from podium.batch.tables.row import Range, Row, TableFormat, group_ranges
from podium.extras import import_optional

__all__ = ["ParquetFile"]

BATCH_BYTES = 1 << 20  # about how many bytes of rows are decoded at a time; a value in a column's dictionary counts only once
BUFFER_BYTES = 1 << 20  # bytes read from a column at a time; without a buffer, pyarrow reads all of its row group at once


class ParquetFile(TableFormat):
    unit = "row"

    def fields(self, file: InputFile) -> list[str]:
        with _opened(file) as parquet:
            return unique_names(parquet.schema_arrow, file)

    def rows(self, file: InputFile, start: int, columns: Collection[str] | None, copied: Sequence[str] = ()) -> Iterator[Row]:
        with _opened(file) as parquet:
            for group, group_start, group_end in _groups(parquet):
                if group_end > start:
                    position = group_start
                    for batch in _batches(parquet, group, None if columns is None else {*columns, *copied}):
                        skipped = max(0, start - position)
                        if skipped < batch.num_rows:
                            yield from batch_rows(batch.slice(skipped), position + skipped, columns, copied)
                        position += batch.num_rows

    def ranges(self, file: InputFile, part_size: int, list_path: Sequence[str] = ()) -> list[Range]:
        with _opened(file) as parquet:
            groups = [(end - start, _pair_count(parquet, group, list_path)) for group, start, end in _groups(parquet)]
        return group_ranges(groups, part_size)

    def row_before(self, file: InputFile, start: int, columns: Collection[str], is_valid: Callable[[Row], bool]) -> Row | None:
        with _opened(file) as parquet:
            for group, group_start, _ in reversed(_groups(parquet)):
                if group_start < start:
                    row = _last_row_of_group(_batches(parquet, group, columns), start - group_start, is_valid)
                    if row is not None:
                        return row
        return None

    def arrow_type(self, file: InputFile, column: str) -> Any:
        with _opened(file) as parquet:
            return parquet.schema_arrow.field(column).type


def _groups(parquet: Any) -> list[tuple[int, int, int]]:
    """Return (number, number of its first row, number of the row after its last one) of each row group."""
    counts = [parquet.metadata.row_group(number).num_rows for number in range(parquet.metadata.num_row_groups)]
    if any(count < 0 for count in counts):
        raise ValueError("a row group has a negative number of rows")
    limits = itertools.pairwise(itertools.accumulate(counts, initial=0))
    return [(number, start, end) for number, (start, end) in enumerate(limits)]


def _last_row_of_group(batches: Iterator[Any], row_count: int, is_valid: Callable[[Row], bool]) -> Row | None:
    """Return the last valid row among the first `row_count` rows of a row group, which can only be read forwards."""
    row = None
    for batch in batches:
        row = last_row(batch.slice(0, row_count), is_valid) or row
        row_count -= batch.num_rows
        if row_count <= 0:
            break
    return row


def _pair_count(parquet: Any, group: int, list_path: Sequence[str]) -> int:
    """Return the number of rows of a row group, or about the number of items of the list that the names `list_path` lead to."""
    metadata = parquet.metadata.row_group(group)
    row_count = int(metadata.num_rows)
    if not list_path:
        return row_count
    paths = [parquet.metadata.schema.column(index).path for index in range(metadata.num_columns)]
    prefix = ".".join(list_path) + "."
    item_paths = {index: path for index, path in enumerate(paths) if path.startswith(prefix)}
    if not item_paths:
        return row_count
    # `metadata.column` crashes the process if the metadata of a column are damaged, so `iter_batches` reads the columns first:
    # it raises an error.
    columns = list(item_paths.values())
    next(parquet.iter_batches(batch_size=1, row_groups=[group], columns=columns, use_threads=False), None)
    # If items are records, a field that is a list has more values than there are items. So the smallest number is used.
    return max(row_count, min(int(metadata.column(index).num_values) for index in item_paths))


def _batches(parquet: Any, group: int, columns: Collection[str] | None) -> Iterator[Any]:
    """Yield the rows of a row group in record batches. `columns` are the names of their columns, None for all."""
    metadata = parquet.metadata.row_group(group)
    bytes_per_row = max(1, metadata.total_byte_size // max(1, metadata.num_rows))
    batch_size = max(1, min(BATCH_ROWS, BATCH_BYTES // bytes_per_row))
    names = None if columns is None else [name for name in parquet.schema_arrow.names if name in columns]
    batches: Iterator[Any] = parquet.iter_batches(batch_size=batch_size, row_groups=[group], columns=names, use_threads=False)
    return batches


@contextlib.contextmanager
def _opened(file: InputFile) -> Iterator[Any]:
    """Open a file for the block. Raises InvalidInput if it is damaged, also when the block reads it."""
    pyarrow_parquet = import_optional("pyarrow.parquet", "batch")
    with (
        reading(file, "a Parquet"),
        open_file(file) as content,
        pyarrow_parquet.ParquetFile(content, buffer_size=BUFFER_BYTES) as parquet,
    ):
        yield parquet
