"""Rows of Arrow's record batches as values of Python. Columns that are copied stay in Arrow's types."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from podium.batch.files import InputFile
from podium.batch.tables.row import BAD_ENCODING, MAX_VALUE_BYTES, NO_PYTHON_VALUE, TOO_LARGE, ArrowRow, BadValue, Row
from podium.errors import InvalidInput, PodiumError
from podium.expansion import VALUE_BYTES
from podium.extras import import_optional

__all__ = ["BATCH_ROWS", "batch_rows", "last_row", "reading", "unique_names"]

BATCH_ROWS = 32  # the number of rows that are converted to Python at a time


@contextlib.contextmanager
def reading(file: InputFile, kind: str) -> Iterator[None]:
    """Turn errors of pyarrow in the block into InvalidInput, whose message has the kind of the file, such as "a Parquet"."""
    arrow = import_optional("pyarrow", "batch")
    try:
        yield
    except PodiumError:
        raise
    except MemoryError as error:  # before ArrowException, which pyarrow's own MemoryError also is
        raise InvalidInput(
            f"{file.path} cannot be read as {kind} file: it is damaged, or its values do not fit into memory; check it, or "
            "write it again with smaller row groups or record batches"
        ) from error
    except (arrow.ArrowException, OSError, ValueError, ArithmeticError, SystemError) as error:
        problem = f"{file.path} cannot be read as {kind} file: {str(error)[:100]}"
        raise InvalidInput(f"{problem}; check that it is complete and reachable, or copy it again") from error


def unique_names(schema: Any, file: InputFile) -> list[str]:
    """Return the names of a schema's columns. Raises InvalidInput if two columns have the same name."""
    names: list[str] = schema.names
    if len(set(names)) < len(names):
        raise InvalidInput(f"{file.path} has two columns of the same name; give each column its own name")
    return names


def batch_rows(batch: Any, position: int, columns: Collection[str] | None, copied: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a record batch whose first row is at `position`, with the values of `columns`, None for all."""
    names = [name for name in batch.schema.names if columns is None or name in columns]
    for begin in range(0, batch.num_rows, BATCH_ROWS):
        rows = batch.slice(begin, BATCH_ROWS)
        copied_rows = _copied_rows(rows.select(copied)) if copied else [None] * rows.num_rows
        values = [_python_values(rows.column(name)) for name in names]
        for index in range(rows.num_rows):
            values_by_name = {name: column[index] for name, column in zip(names, values, strict=True)}
            yield Row(position + begin + index, values_by_name, copied=copied_rows[index])


def _copied_rows(batch: Any) -> list[ArrowRow | BadValue | None]:
    """Return the rows of a record batch, and BAD_ENCODING for a row with text that is not UTF-8."""
    rows = [ArrowRow(batch, number) for number in range(batch.num_rows)]
    if _is_valid(batch):
        return list(rows)
    return [row if _is_valid(batch.slice(row.number, 1)) else BAD_ENCODING for row in rows]


def _is_valid(batch: Any) -> bool:
    try:
        batch.validate(full=True)
    except ValueError:
        return False
    return True


def last_row(batch: Any, is_valid: Callable[[Row], bool]) -> Row | None:
    """Return the last row of a record batch for which `is_valid` returns True, None if there is none."""
    for index in reversed(range(batch.num_rows)):
        (row,) = batch_rows(batch.slice(index, 1), 0, None, ())
        if is_valid(row):
            return row
    return None


def _python_values(column: Any) -> Sequence[Any]:
    """Return the values of a column. A value that cannot be read is a BadValue, which does not depend on other rows."""
    plain = column.dictionary_decode() if hasattr(column, "dictionary_decode") else column
    if _memory_bytes(plain) > MAX_VALUE_BYTES:
        return [TOO_LARGE] if len(plain) == 1 else _single_values(plain)
    try:
        return plain.to_pylist()  # type: ignore[no-any-return]  # pyarrow has no types
    except UnicodeDecodeError:
        return [BAD_ENCODING] if len(plain) == 1 else _single_values(plain)
    except (ValueError, ArithmeticError):
        return [NO_PYTHON_VALUE] if len(plain) == 1 else _single_values(plain)


def _single_values(column: Any) -> list[Any | BadValue]:
    return [_python_values(column.slice(index, 1))[0] for index in range(len(column))]


def _memory_bytes(column: Any) -> int:
    """Return about how many bytes of memory the values of a column take in Python, without its dictionaries."""
    types = import_optional("pyarrow.types", "batch")
    if types.is_dictionary(column.type):
        children = [column.indices]
    elif types.is_map(column.type):
        first, end = column.offsets[0].as_py(), column.offsets[-1].as_py()
        children = [values.slice(first, end - first) for values in (column.keys, column.items)]
    elif types.is_nested(column.type) and hasattr(column, "flatten"):
        flat = column.flatten()
        children = flat if types.is_struct(column.type) else [flat]
    else:
        return int(column.nbytes) + VALUE_BYTES * len(column)
    return VALUE_BYTES * len(column) + sum(map(_memory_bytes, children))
