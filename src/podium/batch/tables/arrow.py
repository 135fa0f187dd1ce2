"""Arrow files (also called Feather): record batches, which are not divided. A position is the number of a row, from 0."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from podium.batch.files import InputFile, open_file
from podium.batch.tables.arrow_rows import batch_rows, last_row, reading, unique_names
from podium.batch.tables.row import Range, Row, TableFormat
from podium.extras import import_optional

__all__ = ["ArrowFile"]


class ArrowFile(TableFormat):
    unit = "row"

    def fields(self, file: InputFile) -> list[str]:
        with _opened(file) as reader:
            return unique_names(reader.schema, file)

    def rows(self, file: InputFile, start: int, columns: Collection[str] | None, copied: Sequence[str] = ()) -> Iterator[Row]:
        starts = _batch_starts(file)
        with _opened(file, None if columns is None else {*columns, *copied}) as reader:
            for number, (batch_start, batch_end) in enumerate(itertools.pairwise(starts)):
                if batch_end > start:
                    skipped = max(0, start - batch_start)
                    yield from batch_rows(_batch(reader, number).slice(skipped), batch_start + skipped, columns, copied)

    def ranges(self, file: InputFile, part_size: int, list_path: Sequence[str] = ()) -> list[Range]:
        """Return ranges of whole record batches with at least `part_size` rows, except for the last range."""
        ranges: list[Range] = []
        start = end = 0
        for end in _batch_starts(file):
            if end - start >= part_size:
                ranges.append((start, end))
                start = end
        if end > start or not ranges:
            ranges.append((start, end))
        return ranges

    def row_before(self, file: InputFile, start: int, columns: Collection[str], is_valid: Callable[[Row], bool]) -> Row | None:
        starts = _batch_starts(file)
        with _opened(file, columns) as reader:
            for number in reversed(range(reader.num_record_batches)):
                if starts[number] < start:
                    row = last_row(_batch(reader, number).slice(0, start - starts[number]), is_valid)
                    if row is not None:
                        return row
        return None

    def arrow_type(self, file: InputFile, column: str) -> Any:
        with _opened(file) as reader:
            return reader.schema.field(column).type


@functools.lru_cache(maxsize=4)  # all parts of a file need them
def _batch_starts(file: InputFile) -> tuple[int, ...]:
    """Return the number of the first row of each record batch, and then the number of all rows. Reads only one column."""
    with _opened(file) as reader:
        names = unique_names(reader.schema, file)
    with _opened(file, names[:1]) as reader:
        counts = (reader.get_batch(number).num_rows for number in range(reader.num_record_batches))
        return tuple(itertools.accumulate(counts, initial=0))


def _batch(reader: Any, number: int) -> Any:
    """Return a record batch. Raises an error of pyarrow if it is damaged, because reading its values could then crash.

    Text that is not UTF-8 is allowed.
    """
    batch = reader.get_batch(number)
    for column in batch.columns:
        try:
            column.validate(full=True)
        except ValueError:
            column.view(_binary(column.type)).validate(full=True)
    return batch


def _binary(arrow_type: Any) -> Any:
    """Return a type that has bytes instead of texts, also in lists and records."""
    arrow = import_optional("pyarrow", "batch")
    types = import_optional("pyarrow.types", "batch")
    if types.is_string(arrow_type):
        return arrow.binary()
    if types.is_large_string(arrow_type):
        return arrow.large_binary()
    if types.is_list(arrow_type):
        return arrow.list_(_binary(arrow_type.value_type))
    if types.is_struct(arrow_type):
        return arrow.struct([arrow.field(field.name, _binary(field.type)) for field in arrow_type])
    return arrow_type


@contextlib.contextmanager
def _opened(file: InputFile, columns: Collection[str] | None = None) -> Iterator[Any]:
    """Open a file for the block, to read `columns`, None for all.

    Raises InvalidInput if it is damaged, also when the block reads it.
    """
    ipc = import_optional("pyarrow.ipc", "batch")
    with reading(file, "an Arrow"), open_file(file) as content:
        names = ipc.open_file(content).schema.names
        included = [index for index, name in enumerate(names) if columns is None or name in columns]
        with ipc.open_file(content, options=ipc.IpcReadOptions(included_fields=included)) as reader:
            yield reader
