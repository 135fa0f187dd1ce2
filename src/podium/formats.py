"""Read documents from a file: one per line (text, JSON lines), per item (JSON array) or per row (CSV, TSV, Parquet).

Files are read as a stream as far as their format allows. A file whose name ends in .gz is decompressed.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from podium.errors import InvalidInput
from podium.extras import import_optional
from podium.inputs import checked_path
from podium.json_values import parse_json

__all__ = ["ENDINGS", "FORMATS", "csv_rows", "format_of", "parse_documents", "read_documents", "stream_documents"]

PEEKED_BYTES = 4096  # from which the format is recognized
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
"""Delimiters of a CSV, with their names: spreadsheets write semicolons if the decimal mark is a comma."""
CONVERSIONS = {
    "pdf": "convert it to text first, for example with pdftotext",
    "docx": "save it as plain text (.txt) first",
    "xlsx": "save it as CSV (.csv) first",
}
"""How to convert files of formats that are not supported."""
MAGIC = {b"%PDF-": "pdf", b"PK\x03\x04": "docx"}
"""The first bytes of such files, to recognize those whose name has no ending."""


@dataclass(frozen=True, slots=True)
class Format:
    """A file format. `parse` yields documents from lines of text, split at `newline` as by `open`, or from a binary file."""

    parse: Callable[[Any, str], Iterator[Any]]
    newline: str = "\n"
    is_text: bool = True


def read_documents(path: str | Path, format_name: str | None = None) -> list[Any]:
    """Return the documents of a file. `format_name` is one of FORMATS; None recognizes it by the file's name.

    Raises InvalidInput, with the line, if the file is not of this format.
    """
    return list(stream_documents(path, format_name))


def stream_documents(path: str | Path, format_name: str | None = None) -> Iterator[Any]:
    """Yield what `read_documents` returns, without loading the whole file if its format allows that."""
    file = checked_path(path)
    if file.is_dir():
        raise InvalidInput(
            f"{file} is a folder; name a file of documents, or join several: cat FOLDER/*.txt | podium rank QUERY -"
        )
    try:
        with _open_file(file) as content:
            name = format_name or format_of(file.name, content.peek(PEEKED_BYTES)[:PEEKED_BYTES])
            yield from _documents(content, name, str(file))
    except UnicodeDecodeError as error:
        with _open_file(file) as content:
            raise _utf8_error(content, str(file)) from error
    except (EOFError, zlib.error) as error:
        raise InvalidInput(f"{file} is damaged: it cannot be decompressed; download or copy it again") from error
    except OSError as error:
        raise InvalidInput(f"cannot read {file}: {error.strerror or error}") from error


def parse_documents(content: bytes, format_name: str, source: str) -> list[Any]:
    """Return the documents in `content`, which error messages call `source`."""
    try:
        return list(_documents(io.BytesIO(content), format_name, source))
    except UnicodeDecodeError as error:
        raise _utf8_error(io.BytesIO(content), source) from error


def format_of(name: str, content: bytes = b"") -> str:
    """Return the name of a file's format, by the ending of its name, or by its first bytes if the name has no ending.

    Raises InvalidInput for an unknown ending, and for a PDF or an office document.
    """
    ending = Path(name.lower().removesuffix(".gz")).suffix.lstrip(".")
    if ending in ENDINGS:
        return ENDINGS[ending]
    by_content = next((ending for magic, ending in MAGIC.items() if content.startswith(magic)), None)
    unsupported = ending if ending in CONVERSIONS else by_content
    if unsupported is not None:
        file = name or "standard input"
        raise InvalidInput(f"{file} is a {unsupported.upper()} file, not text: {CONVERSIONS[unsupported]}")
    if ending:
        known = ", ".join(f".{known_ending}" for known_ending in ENDINGS)
        raise InvalidInput(
            f"{name} ends in .{ending}, which is not a known kind of file; known: {known}, each also with .gz. "
            "If it is text with one document per line, use --format txt"
        )
    first_character = content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]  # after a byte order mark and white space
    if first_character == b"[":
        return "json"
    return "jsonl" if first_character in (b"{", b'"') else "txt"


def _open_file(file: Path) -> Any:
    return io.BufferedReader(gzip.open(file)) if file.name.lower().endswith(".gz") else file.open("rb")


def _documents(content: BinaryIO, format_name: str, source: str) -> Iterator[Any]:
    if format_name not in FORMATS:
        raise InvalidInput(f"there is no format {format_name!r}; known: {', '.join(FORMATS)}")
    kind = FORMATS[format_name]
    with io.TextIOWrapper(content, encoding="utf-8-sig", newline=kind.newline) if kind.is_text else content as file:
        yield from kind.parse(file, source)


def _utf8_error(content: BinaryIO, source: str) -> InvalidInput:
    """Return the error for content that is not UTF-8, with the number of the first bad line."""
    bad_line = 0
    for number, line in enumerate(content, start=1):
        try:
            line.decode("utf-8-sig")
        except UnicodeDecodeError:
            bad_line = number
            break
    return InvalidInput(f"{source}, line {bad_line}: not UTF-8; convert it, for example with iconv")


def _lines(lines: Iterable[str], source: str) -> Iterator[Any]:
    """Yield each line that is not blank, without its end."""
    return (line.rstrip("\r\n") for line in lines if line.strip())


def _json_lines(lines: Iterable[str], source: str) -> Iterator[Any]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            location = f"{source}, line {number}"
            yield _checked_document(_json_value(line, location), location)


def _json_array(file: Any, source: str) -> Iterator[Any]:
    documents = _json_value(file.read(), source)
    if not isinstance(documents, list):
        raise InvalidInput(
            f"{source} has one {type(documents).__name__}, not a list of documents; one document per line is .jsonl"
        )
    for index, document in enumerate(documents):
        yield _checked_document(document, f"{source}, item {index}")


def csv_rows(lines: Iterable[str], source: str, required: Sequence[str] = ()) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a CSV by column name, each with the number of its last line.

    The delimiter is the one that splits the header into the most names. Raises InvalidInput, which names the line, for a row
    that has more or fewer cells than the header, and for a header without the `required` columns.
    """
    remaining = iter(lines)
    header = next(remaining, "")
    delimiter = max(DELIMITERS, key=header.count)
    yield from _delimited_rows(itertools.chain([header], remaining), source, delimiter, required=required)


def _csv_documents(lines: Iterable[str], source: str) -> Iterator[Any]:
    return (row for _, row in csv_rows(lines, source))


def _tsv_documents(lines: Iterable[str], source: str) -> Iterator[Any]:
    """Yield the rows of a TSV. The format has no quoting: a quotation mark is an ordinary character."""
    return (row for _, row in _delimited_rows(lines, source, "\t", is_quoted=False))


def _delimited_rows(
    lines: Iterable[str], source: str, delimiter: str, *, is_quoted: bool = True, required: Sequence[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    csv.field_size_limit(1 << 30)  # a cell may contain a whole document
    rows = csv.DictReader(lines, strict=True, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if is_quoted else csv.QUOTE_NONE)
    try:
        names = rows.fieldnames or []
        if len(set(names)) < len(names):
            raise InvalidInput(f"{source}: its header has a column twice; give each column its own name")
        if missing := [column for column in required if column not in names]:
            raise InvalidInput(f"{source} has no column {', '.join(missing)}; it has {', '.join(names)}")
        for row in rows:
            if None in row or None in row.values():
                delimiters = DELIMITERS[delimiter]
                remedy = f"put a cell that contains {delimiters} in double quotes"
                remedy = remedy if is_quoted else "no cell may contain a tab or a line break"
                raise InvalidInput(
                    f"{source}, line {rows.line_num}: not as many cells as the header, whose names are separated by "
                    f"{delimiters}; {remedy}"
                )
            yield rows.line_num, row
    except csv.Error as error:
        raise InvalidInput(f"{source}, line {rows.line_num}: {error}") from error


def _parquet_documents(file: BinaryIO, source: str) -> Iterator[Any]:
    arrow = import_optional("pyarrow", "parquet")
    parquet = import_optional("pyarrow.parquet", "parquet")
    try:
        parquet_file = parquet.ParquetFile(file)
        names = parquet_file.schema_arrow.names
        if len(set(names)) < len(names):
            raise InvalidInput(f"{source} has two columns of the same name; give each column its own name")
        for batch in parquet_file.iter_batches():
            yield from map(_json_compatible, batch.to_pylist())
    except (arrow.ArrowException, OverflowError, ArithmeticError) as error:
        raise InvalidInput(f"{source} is not a Parquet file that can be read: {str(error)[:100]}") from error


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


def _json_value(text: str, location: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise InvalidInput(f"{location}: not valid JSON; for lines of plain text use the format txt") from error


def _checked_document(document: Any, location: str) -> Any:
    if document is not None and not isinstance(document, str | dict):
        raise InvalidInput(f"{location}: a document is a JSON string or object, not {type(document).__name__}")
    return document


FORMATS = {
    "txt": Format(_lines),
    "jsonl": Format(_json_lines),
    "json": Format(_json_array),
    "csv": Format(_csv_documents, newline=""),
    "tsv": Format(_tsv_documents, newline=""),
    "parquet": Format(_parquet_documents, is_text=False),
}
ENDINGS = {name: name for name in FORMATS} | {"text": "txt", "md": "txt", "ndjson": "jsonl", "tab": "tsv"}
"""The ending of a file's name → the name of its format."""
