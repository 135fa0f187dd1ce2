"""Kinds of input files of batch jobs, one per module. The ending of a file's name tells its kind."""

from __future__ import annotations

import os

from podium.batch.files import compression_of, file_name
from podium.batch.tables.arrow import ArrowFile
from podium.batch.tables.delimited import DelimitedText
from podium.batch.tables.json_lines import JsonLines
from podium.batch.tables.parquet import ParquetFile
from podium.batch.tables.row import TableFormat
from podium.batch.tables.run_lines import RunLines
from podium.errors import InvalidInput

__all__ = ["TABLE_FORMATS", "can_read", "table_format"]

TABLE_FORMATS: dict[str, TableFormat] = {
    "parquet": ParquetFile(),
    "arrow": ArrowFile(),
    "jsonl": JsonLines(),
    "csv": DelimitedText(),
    "tsv": DelimitedText("\t"),
    "run": RunLines(),
}
"""Name of a format → how it is read."""
ENDINGS = {name: name for name in TABLE_FORMATS} | {
    "ndjson": "jsonl",
    "tab": "tsv",
    "feather": "arrow",
    "ipc": "arrow",
    "trec": "run",
}
COMPRESSED = ("jsonl", "csv", "tsv", "run")  # formats whose files may end in .gz or .zst


def can_read(path: str, format_name: str | None) -> bool:
    """Whether the format of a file is known: all files have the format `format_name`, or if that is None, names tell it."""
    if format_name is not None:
        return True
    try:
        table_format(path)
    except InvalidInput:
        return False
    return True


def table_format(path: str, name: str | None = None) -> TableFormat:
    """Return the format called `name`, or if that is None the format by the ending of a file's name. Raises InvalidInput."""
    if name is not None:
        if name not in TABLE_FORMATS:
            raise InvalidInput(f"there is no format {name!r:.60} of batch inputs; known: {', '.join(TABLE_FORMATS)}")
        return TABLE_FORMATS[name]
    stem, ending = os.path.splitext(file_name(path))
    is_compressed = compression_of(path) is not None
    if is_compressed:
        ending = os.path.splitext(stem)[1]
    format_name = ENDINGS.get(ending.lstrip("."))
    if format_name is None or (is_compressed and format_name not in COMPRESSED):
        known = ", ".join(f".{known_ending}" for known_ending in ENDINGS)
        raise InvalidInput(
            f"{path}: a batch job cannot tell the format of this file by its name; known: {known}, and .gz or .zst after "
            f"{', '.join(f'.{text_format}' for text_format in COMPRESSED)}. Rename it, or use --format"
        )
    return TABLE_FORMATS[format_name]
