"""Documents from a file: a line each (text), an object each (JSON lines, a JSON array), a row each (CSV, TSV, Parquet).

Files are read as a stream, as far as their format allows. A file whose name ends with .gz is unpacked.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from podium.errors import InvalidInput
from podium.extras import needed
from podium.inputs import checked_path

__all__ = ["ENDINGS", "FORMATS", "csv_rows", "format_of", "parse", "read", "stream"]

PEEKED = 4096
DELIMITERS = ",;\t"
"""What may stand between the cells of a CSV: spreadsheets write semicolons where the comma is the decimal mark."""
CONVERT = {
    "pdf": "convert it to text first, for example with pdftotext",
    "docx": "save it as plain text (.txt) first",
    "xlsx": "save it as CSV (.csv) first",
}
"""What to do with files that hold documents in a form that is not read."""
MAGIC = {b"%PDF-": "pdf", b"PK\x03\x04": "docx"}
"""How such files begin, where their name does not say what they are."""


@dataclass(frozen=True, slots=True)
class Format:
    """How documents are read. `text` formats get lines, split at `newline` as `open` does; others get the file itself."""

    documents: Callable[[Any, str], Iterator[Any]]
    newline: str = "\n"
    text: bool = True


def read(path: str | Path, kind: str | None = None) -> list[Any]:
    """Return the documents of a file; `kind` is one of FORMATS, taken from the file's name where None.

    Raises InvalidInput for a file of another kind, and, with the line, for one that is not what its name says.
    """
    return list(stream(path, kind))


def stream(path: str | Path, kind: str | None = None) -> Iterator[Any]:
    """Yield what `read` returns, one after the other, without holding the whole file where its format allows that."""
    file = checked_path(path)
    if file.is_dir():
        raise InvalidInput(
            f"{file} is a folder; name a file of documents, or join several: cat FOLDER/*.txt | podium rank QUERY -"
        )
    try:
        with _opened(file) as content:
            known = kind or format_of(file.name, content.peek(PEEKED)[:PEEKED])
            yield from _documents(content, known, str(file))
    except UnicodeDecodeError as error:
        with _opened(file) as content:
            raise InvalidInput(f"{file}, line {_bad_line(content)}: not UTF-8; convert it, for example with iconv") from error
    except (EOFError, zlib.error) as error:
        raise InvalidInput(f"{file} is not whole: unpacking it failed; download or copy it again") from error
    except OSError as error:
        raise InvalidInput(f"cannot read {file}: {error.strerror or error}") from error


def parse(content: bytes, kind: str, name: str) -> list[Any]:
    """Return the documents that `content` holds; `name` is what errors call it."""
    try:
        return list(_documents(io.BytesIO(content), kind, name))
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{name}, line {_bad_line(io.BytesIO(content))}: not UTF-8; convert it, for example with iconv"
        ) from error


def format_of(name: str, content: bytes = b"") -> str:
    """Return the format that a file's name stands for; of a name without an ending, what its content begins like.

    Raises InvalidInput for any other ending, and for a PDF or an office document.
    """
    ending = Path(name.lower().removesuffix(".gz")).suffix.lstrip(".")
    if ending in ENDINGS:
        return ENDINGS[ending]
    foreign = ending if ending in CONVERT else next((kind for mark, kind in MAGIC.items() if content.startswith(mark)), None)
    if foreign is not None:
        raise InvalidInput(f"{name or 'standard input'} is a {foreign.upper()} file, not text: {CONVERT[foreign]}")
    if ending:
        known = ", ".join(f".{each}" for each in ENDINGS)
        raise InvalidInput(
            f"{name} ends in .{ending}, which is not a known kind of file; known: {known}, each also with .gz. "
            "If it is text with a document a line, read it with --format txt"
        )
    begins = content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    return "json" if begins == b"[" else "jsonl" if begins in (b"{", b'"') else "txt"


def _opened(file: Path) -> Any:
    return io.BufferedReader(gzip.open(file)) if file.name.lower().endswith(".gz") else file.open("rb")


def _documents(content: BinaryIO, kind: str, name: str) -> Iterator[Any]:
    if kind not in FORMATS:
        raise InvalidInput(f"there is no format {kind!r}; known: {', '.join(FORMATS)}")
    known = FORMATS[kind]
    with io.TextIOWrapper(content, encoding="utf-8-sig", newline=known.newline) if known.text else content as given:
        yield from known.documents(given, name)


def _bad_line(content: Any) -> int:
    for number, line in enumerate(content, start=1):
        try:
            line.decode("utf-8-sig")
        except UnicodeDecodeError:
            return number
    return 0


def _lines(lines: Iterable[str], name: str) -> Iterator[Any]:
    """Yield each line that is not blank, without its end."""
    return (line.rstrip("\r\n") for line in lines if line.strip())


def _json_lines(lines: Iterable[str], name: str) -> Iterator[Any]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _document(line, f"{name}, line {number}")


def _json_array(file: Any, name: str) -> Iterator[Any]:
    documents = _json(file.read(), name)
    if not isinstance(documents, list):
        raise InvalidInput(f"{name} holds one {type(documents).__name__}, not a list of documents; one a line is .jsonl")
    for number, document in enumerate(documents):
        yield _checked(document, f"{name}, item {number}")


def csv_rows(lines: Iterable[str], name: str, required: Sequence[str] = ()) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a CSV, each with the number of its last line, by the column names in the header.

    The delimiter is the one that splits the header into the most names. Raises InvalidInput, which names the line, for a row
    that has more or fewer cells than the header, and for a header without the `required` columns.
    """
    remaining = iter(lines)
    first = next(remaining, "")
    yield from _delimited(itertools.chain([first], remaining), name, max(DELIMITERS, key=first.count), required=required)


def _rows(lines: Iterable[str], name: str) -> Iterator[Any]:
    return (row for _, row in csv_rows(lines, name))


def _tab_rows(lines: Iterable[str], name: str) -> Iterator[Any]:
    """Yield the rows of a TSV. Its format has no quoting: a quotation mark is a letter like any other."""
    return (row for _, row in _delimited(lines, name, "\t", is_quoted=False))


def _delimited(
    lines: Iterable[str], name: str, delimiter: str, *, is_quoted: bool = True, required: Sequence[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    csv.field_size_limit(1 << 30)  # a cell may hold a whole document
    rows = csv.DictReader(lines, strict=True, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if is_quoted else csv.QUOTE_NONE)
    try:
        names = rows.fieldnames or []
        if len(set(names)) < len(names):
            raise InvalidInput(f"{name}: its header names a column twice; each needs a name of its own")
        if missing := [column for column in required if column not in names]:
            raise InvalidInput(f"{name} has no column {', '.join(missing)}; it has {', '.join(names)}")
        for row in rows:
            if None in row or None in row.values():
                between = {",": "commas", ";": "semicolons", "\t": "tabs"}[delimiter]
                quote = f"put a cell that contains {between} in double quotes"
                remedy = quote if is_quoted else "no cell may contain a tab or a line break"
                raise InvalidInput(
                    f"{name}, line {rows.line_num}: not as many cells as the header has, which has {between} between its "
                    f"names; {remedy}"
                )
            yield rows.line_num, row
    except csv.Error as error:
        raise InvalidInput(f"{name}, line {rows.line_num}: {error}") from error


def _parquet(file: BinaryIO, name: str) -> Iterator[Any]:
    parquet, arrow = needed("pyarrow.parquet", "parquet"), needed("pyarrow", "parquet")
    try:
        opened = parquet.ParquetFile(file)
        if len(set(opened.schema_arrow.names)) < len(opened.schema_arrow.names):
            raise InvalidInput(f"{name} has two columns of one name; each needs a name of its own")
        for batch in opened.iter_batches():
            yield from map(_plain, batch.to_pylist())
    except (arrow.ArrowException, OverflowError, ArithmeticError) as error:
        raise InvalidInput(f"{name} is no Parquet file that can be read: {str(error)[:100]}") from error


def _plain(value: Any) -> Any:
    """Return what a Parquet file holds as JSON has it: dates and times as ISO 8601 writes them, decimals as strings."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _document(line: str, where: str) -> Any:
    return _checked(_json(line, where), where)


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{where}: not valid JSON; for lines of plain text use the format txt") from error


def _checked(document: Any, where: str) -> Any:
    if document is not None and not isinstance(document, str | dict):
        raise InvalidInput(f"{where}: a document is a JSON string or object, not {type(document).__name__}")
    return document


FORMATS = {
    "txt": Format(_lines),
    "jsonl": Format(_json_lines),
    "json": Format(_json_array),
    "csv": Format(_rows, newline=""),
    "tsv": Format(_tab_rows, newline=""),
    "parquet": Format(_parquet, text=False),
}
ENDINGS = {
    "txt": "txt",
    "text": "txt",
    "md": "txt",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "json": "json",
    "csv": "csv",
    "tsv": "tsv",
    "tab": "tsv",
    "parquet": "parquet",
}
