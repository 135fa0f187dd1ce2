"""Arrow files (also called Feather): record batches, which are not divided. Positions are rows."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from typing import Any

from podium.batch.files import InputFile, open_file
from podium.batch.tables.arrow_rows import batch_rows, python_values, reading
from podium.batch.tables.row import Range, Row, TableFormat
from podium.extras import import_optional

__all__ = ["ArrowFile"]

SLICE_ROWS = 256  # the number of rows that are converted to Python at a time


class ArrowFile(TableFormat):
    unit = "row"

    def fields(self, file: InputFile) -> list[str]:
        with _opened(file) as reader:
            return list(reader.schema.names)

    def rows(self, file: InputFile, start: int, columns: Collection[str] | None) -> Iterator[Row]:
        with _opened(file) as reader:
            names = [name for name in reader.schema.names if columns is None or name in columns]
            for batch_start, batch in _batches(reader):
                needed = batch.select(names)
                for begin in range(max(0, start - batch_start), batch.num_rows, SLICE_ROWS):
                    yield from batch_rows(needed.slice(begin, SLICE_ROWS), batch_start + begin)

    def ranges(self, file: InputFile, part_size: int) -> list[Range]:
        """Return ranges of whole record batches with at least `part_size` rows, except for the last range."""
        ranges: list[Range] = []
        start = end = 0
        with _opened(file) as reader:
            for batch_start, batch in _batches(reader):
                end = batch_start + batch.num_rows
                if end - start >= part_size:
                    ranges.append((start, end))
                    start = end
        return [*ranges, (start, end)] if end > start or not ranges else ranges

    def values_before(self, file: InputFile, start: int, column: str) -> Iterator[Any]:
        with _opened(file) as reader:
            before = [(batch_start, batch.column(column)) for batch_start, batch in _batches(reader) if batch_start < start]
            for batch_start, values in reversed(before):
                yield from reversed(python_values(values.slice(0, start - batch_start)))

    def arrow_type(self, file: InputFile, column: str) -> Any:
        with _opened(file) as reader:
            return reader.schema.field(column).type


def _batches(reader: Any) -> Iterator[tuple[int, Any]]:
    """Yield (number of its first row, record batch)."""
    start = 0
    for index in range(reader.num_record_batches):
        batch = reader.get_batch(index)
        yield start, batch
        start += batch.num_rows


@contextlib.contextmanager
def _opened(file: InputFile) -> Iterator[Any]:
    """Open a file for the block. Raises InvalidInput if it is damaged, also in the block."""
    ipc = import_optional("pyarrow.ipc", "batch")
    with reading(file, "an Arrow"), open_file(file) as content, ipc.open_file(content) as reader:
        yield reader
