"""Read documents from the rows of a Parquet file.

A small file can expand to more than the memory holds, because repeated values take almost no space in it. So the sizes of
the values are added up before the values are converted to Python objects, which are even larger, and a file that expands too
much is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from podium.errors import InvalidInput
from podium.expansion import VALUE_BYTES, Expansion
from podium.extras import import_optional

__all__ = ["parquet_documents"]

BATCH_ROWS = 64  # the number of rows that are converted at a time


def parquet_documents(file: BinaryIO, source: str, file_bytes: int) -> Iterator[dict[str, Any]]:
    """Yield each row as a dict. Raises InvalidInput, whose message calls the file `source`, and MissingPackage.

    `file_bytes` is the size of the file, before it was decompressed if its name ends in .gz.
    """
    arrow = import_optional("pyarrow", "parquet")
    parquet = import_optional("pyarrow.parquet", "parquet")
    expansion = Expansion(source, file_bytes, "write its documents as .jsonl")
    try:
        parquet_file = parquet.ParquetFile(file)
        names = parquet_file.schema_arrow.names
        if len(set(names)) < len(names):
            raise InvalidInput(f"{source} has two columns of the same name; give each column its own name")
        metadata = parquet_file.metadata
        total_bytes = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
        expansion.check(total_bytes)
        for batch in parquet_file.iter_batches(batch_size=BATCH_ROWS):
            columns = {name: _plain_column(batch.column(name), name, source) for name in names}
            expansion.add(sum(column.nbytes + VALUE_BYTES * len(column) for column in columns.values()))
            values_by_name = {name: _python_values(column, name, source) for name, column in columns.items()}
            for row in range(batch.num_rows):
                yield {name: _json_compatible(values_by_name[name][row]) for name in names}
    except MemoryError:  # pyarrow's is also an ArrowException, so it would be reported as an unreadable file below
        raise
    except (arrow.ArrowException, ArithmeticError) as error:
        raise InvalidInput(f"{source} cannot be read as a Parquet file: {str(error)[:100]}") from error


def _plain_column(column: Any, name: str, source: str) -> Any:
    """Return an Arrow column that stores the value of every row, so that its size is known.

    Arrow can also store each different value once, in a "dictionary", to which rows refer.
    """
    plain = column.dictionary_decode() if hasattr(column, "dictionary_decode") else column
    if "dictionary<" in str(plain.type):
        raise InvalidInput(
            f"{source}: the column {name!r:.60} has dictionary-encoded values in lists or structs; write them as plain values"
        )
    return plain


def _python_values(column: Any, name: str, source: str) -> list[Any]:
    try:
        return column.to_pylist()  # type: ignore[no-any-return]  # pyarrow has no types
    except (ValueError, ArithmeticError) as error:
        raise InvalidInput(
            f"{source}: the column {name!r:.60}, of type {column.type!s:.60}, has a value that Python does not have, such as "
            "an unknown time zone, a date after the year 9999, or text that is not UTF-8; convert it to strings"
        ) from error


def _json_compatible(value: Any) -> Any:
    """Return a value of a Parquet file as a type that JSON has: dates and times in ISO 8601, decimals and bytes as strings."""
    if isinstance(value, dict):
        return {name: _json_compatible(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_compatible(item) for item in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
