"""Read documents from the rows of a Parquet file.

A small file can expand to more than the memory, because repeated values take no space in it. So the bytes are counted before
they are values in Python, which are larger.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, BinaryIO

from podium.errors import InvalidInput
from podium.extras import import_optional

__all__ = ["parquet_documents"]

ROWS = 64  # converted at once
MAX_BYTES, MAX_EXPANSION = 1 << 29, 100  # to how many bytes a file may expand, or to how many times its own size
CELL_BYTES = 64  # about, of a value in a dict


def parquet_documents(file: BinaryIO, source: str) -> Iterator[dict[str, Any]]:
    """Yield each row as a document. Messages call the file `source`. Raises InvalidInput."""
    arrow = import_optional("pyarrow", "parquet")
    parquet = import_optional("pyarrow.parquet", "parquet")
    file_bytes = file.seek(0, io.SEEK_END)
    try:
        parquet_file = parquet.ParquetFile(file)
        names = parquet_file.schema_arrow.names
        if len(set(names)) < len(names):
            raise InvalidInput(f"{source} has two columns of the same name; give each column its own name")
        metadata = parquet_file.metadata
        total_bytes = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
        _check_expansion(total_bytes, file_bytes, source)
        read_bytes = 0
        for batch in parquet_file.iter_batches(batch_size=ROWS):
            columns = {name: _plain_column(batch.column(name), name, source) for name in names}
            read_bytes += sum(column.nbytes + CELL_BYTES * len(column) for column in columns.values())
            _check_expansion(read_bytes, file_bytes, source)
            values = {name: _python_values(column, name, source) for name, column in columns.items()}
            for row in range(batch.num_rows):
                yield {name: _json_compatible(values[name][row]) for name in names}
    except MemoryError:  # that of pyarrow is an ArrowException, too
        raise
    except (arrow.ArrowException, OverflowError, ArithmeticError) as error:
        raise InvalidInput(f"{source} is not a Parquet file that can be read: {str(error)[:100]}") from error


def _check_expansion(size: int, file_bytes: int, source: str) -> None:
    if size > max(MAX_BYTES, MAX_EXPANSION * file_bytes):
        raise InvalidInput(
            f"{source} expands to more than {MAX_BYTES >> 20} MB and {MAX_EXPANSION} times its own size, as a damaged "
            "or hostile file does; write its documents as .jsonl"
        )


def _plain_column(column: Any, name: str, source: str) -> Any:
    """Return a column of Arrow without a dictionary, so that its size in bytes is known."""
    plain = column.dictionary_decode() if hasattr(column, "dictionary_decode") else column
    if "dictionary<" in str(plain.type):
        raise InvalidInput(f"{source}: the column {name!r:.60} has dictionaries in lists or records; write it as strings")
    return plain


def _python_values(column: Any, name: str, source: str) -> list[Any]:
    try:
        values: list[Any] = column.to_pylist()
    except (ValueError, ArithmeticError) as error:
        raise InvalidInput(
            f"{source}: the column {name!r:.60}, of type {column.type!s:.60}, has a value that Python does not have, such as "
            "an unknown time zone, a date after the year 9999, or text that is not UTF-8; convert it to strings"
        ) from error
    return values


def _json_compatible(value: Any) -> Any:
    """Return a value of a Parquet file as JSON would have it: dates and times in ISO 8601, decimals as strings."""
    if isinstance(value, dict):
        return {name: _json_compatible(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_compatible(item) for item in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
