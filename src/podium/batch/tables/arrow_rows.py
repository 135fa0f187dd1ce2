"""Rows of Arrow's record batches as values of Python, and of columns that are copied as Arrow's scalars."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from podium.batch.files import InputFile
from podium.batch.tables.row import BAD_ENCODING, Row
from podium.errors import InvalidInput
from podium.extras import import_optional

__all__ = ["batch_rows", "python_values", "reading"]


@contextlib.contextmanager
def reading(file: InputFile, kind: str) -> Iterator[None]:
    """Turn errors of pyarrow in the block into InvalidInput, whose message has the kind of the file, such as "Parquet"."""
    arrow = import_optional("pyarrow", "batch")
    try:
        yield
    except MemoryError:  # pyarrow's own MemoryError is an ArrowException, too
        raise
    except (arrow.ArrowException, OSError) as error:
        problem = f"{file.path} cannot be read as {kind} file: {str(error)[:100]}"
        raise InvalidInput(f"{problem}; check that it is complete and reachable, or copy it again") from error


def batch_rows(batch: Any, position: int) -> Iterator[Row]:
    """Yield the rows of a record batch whose first row is at `position`."""
    names = batch.schema.names
    columns = [python_values(batch.column(index)) for index in range(batch.num_columns)]
    for index, values in enumerate(zip(*columns, strict=True)):
        yield Row(position + index, dict(zip(names, values, strict=True)))


def python_values(column: Any) -> Sequence[Any]:
    """Return the values of a column. A value that Python cannot represent is BAD_ENCODING."""
    try:
        return column.to_pylist()  # type: ignore[no-any-return]  # pyarrow has no types
    except (ValueError, ArithmeticError):
        return [_python_value(scalar) for scalar in column]


def _python_value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, ArithmeticError):
        return BAD_ENCODING
