"""Read documents from a file: one per line (text, JSON lines), per item (JSON array) or per row (CSV, TSV, Parquet).

A file is read as a stream, unless it is a JSON array. A file whose name ends in .gz is decompressed.
A small file can decompress to more than the memory holds. So lines, cells and JSON arrays have maximum sizes, and a
compressed file is refused if its documents would take much more memory than the file has bytes (see Expansion).
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import io
import itertools
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, TextIO

from podium.errors import InvalidInput, unreadable
from podium.expansion import DOCUMENT_BYTES, VALUE_BYTES, Expansion
from podium.inputs import checked_path
from podium.parquet import parquet_documents

__all__ = ["ENDINGS", "FORMATS", "csv_rows", "format_of", "parse_documents", "read_documents", "stream_documents"]

PEEKED_BYTES = 4096  # the format is recognized from the first bytes of a file, up to this number
MAX_CHARACTERS = 1 << 26  # maximum length of a line or a cell: about 67 million
MAX_ARRAY_CHARACTERS = 1 << 30  # maximum length of a JSON array, which is read completely before it is parsed
PART_CHARACTERS = 1 << 20  # a JSON array is read in parts of this length, and their memory is checked before the next is read
BLOCK_BYTES = 1 << 20  # a file that is not UTF-8 is read again in blocks of this size, to find the line
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
"""Delimiter of a CSV → its name in the plural. Spreadsheets write semicolons in countries whose decimal mark is a comma."""
CONVERSIONS = {
    "pdf": "convert it to text first, for example with pdftotext",
    "docx": "save it as plain text (.txt) first",
    "xlsx": "save it as CSV (.csv) first",
    "zip": "unpack it; if it is an office document, save it as plain text (.txt) or as CSV (.csv)",
}
"""The ending of a format that is not supported → how to convert such a file."""
MAGIC = {b"%PDF-": "pdf", b"PK\x03\x04": "zip"}
"""The first bytes of a file → its format, which is not supported. They are compared if the ending is unknown or missing.

Office documents are ZIP files.
"""


@dataclass(frozen=True, slots=True)
class Format:
    """A file format.

    - `parse`: a function of `content` and `source` that yields documents. `source` is the content's name in error messages.
      If `content` is a binary file, its third argument is the size of the file before decompression.
    - `newline`: which characters end a line, as in `open`.
    - `reads`: the type of `content`: "lines" (an iterable), "text" (the complete file) or "bytes" (a binary file).
    - `value_marks`: characters that are counted to estimate memory. A text with n of them has at most n + 1 values.
    """

    parse: Callable[..., Iterator[Any]]
    newline: str = "\n"
    reads: Literal["lines", "text", "bytes"] = "lines"
    value_marks: str = ""

    def memory_bytes(self, text: str) -> int:
        """Return about how many bytes of memory the documents in a line or a part of a file take."""
        return len(text) + DOCUMENT_BYTES + VALUE_BYTES * sum(map(text.count, self.value_marks))


def read_documents(path: str | Path, format_name: str | None = None) -> list[Any]:
    """Return the documents of a file. `format_name` is a key of FORMATS, or None to recognize the format as `format_of` does.

    Raises InvalidInput if the file is not of this format (with the number of the line or item, if known), cannot be read,
    does not fit into memory, or is compressed and expands too much.
    """
    with _memory_errors_as_invalid_input(str(path)):
        return list(_file_documents(path, format_name, is_streamed=False))


def stream_documents(path: str | Path, format_name: str | None = None) -> Iterator[Any]:
    """Yield the documents that `read_documents` returns, without loading the whole file if its format allows that.

    The limit for a compressed file applies to each line alone, because the caller does not hold all documents together.
    For a JSON array or a Parquet file, it applies to all documents together.
    """
    return _file_documents(path, format_name, is_streamed=True)


def _file_documents(path: str | Path, format_name: str | None, *, is_streamed: bool) -> Iterator[Any]:
    """Yield the documents of a file. If not `is_streamed`, the caller holds all of them in memory together."""
    file = checked_path(path)
    if file.is_dir():
        raise InvalidInput(
            f"{file} is a folder; name a file of documents, or join several: cat FOLDER/*.txt | podium rank QUERY -"
        )
    with _read_errors_as_invalid_input(file):
        try:
            with _open_file(file) as stream:
                name = format_name or format_of(file.name, stream.peek(PEEKED_BYTES)[:PEEKED_BYTES])
                file_bytes = file.stat().st_size
                is_compressed = _is_compressed(file)
                yield from _documents(stream, name, str(file), file_bytes, is_compressed=is_compressed, is_streamed=is_streamed)
        except UnicodeDecodeError as error:
            with _open_file(file) as stream:
                raise _utf8_error(stream, str(file)) from error


def parse_documents(content: bytes, format_name: str, source: str) -> list[Any]:
    """Return the documents in `content`. Raises InvalidInput. `source` is the content's name in error messages."""
    try:
        with _memory_errors_as_invalid_input(source):
            return list(_documents(io.BytesIO(content), format_name, source, len(content)))
    except UnicodeDecodeError as error:
        raise _utf8_error(io.BytesIO(content), source) from error


def format_of(name: str, first_bytes: bytes = b"") -> str:
    """Return the name of a file's format: by the ending of its name, or by its first bytes if the name has no ending.

    `name` is "" for standard input. Raises InvalidInput for an unknown ending, and for a PDF or an office document, which is
    recognized by its ending or, if that is unknown or missing, by its first bytes.
    """
    ending = Path(name.lower().removesuffix(".gz")).suffix.lstrip(".")
    if ending in ENDINGS:
        return ENDINGS[ending]
    unsupported = ending if ending in CONVERSIONS else _unsupported_format(first_bytes)
    if unsupported is not None:
        raise _not_text(name or "standard input", unsupported)
    if ending:
        known = ", ".join(f".{known_ending}" for known_ending in ENDINGS)
        raise InvalidInput(
            f"{name} ends in .{ending}, which is not a known kind of file; known: {known}, each also with .gz. "
            "If it is text with one document per line, use --format txt"
        )
    first_character = first_bytes.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]  # after a byte order mark and white space
    if first_character == b"[":
        return "json"
    return "jsonl" if first_character in (b"{", b'"') else "txt"


def _open_file(file: Path) -> Any:
    """Return the file, opened for reading bytes. If its name ends in .gz, they are decompressed."""
    return io.BufferedReader(gzip.open(file)) if _is_compressed(file) else file.open("rb")


def _is_compressed(file: Path) -> bool:
    return file.name.lower().endswith(".gz")


def _documents(
    stream: BinaryIO,
    format_name: str,
    source: str,
    file_bytes: int,
    *,
    is_compressed: bool = False,
    is_streamed: bool = False,
) -> Iterator[Any]:
    """Yield the documents in a stream. Raises InvalidInput, UnicodeDecodeError, and the errors of reading the stream.

    `file_bytes` is the size of the file before decompression.
    """
    if format_name not in FORMATS:
        raise InvalidInput(f"there is no format {format_name!r}; known: {', '.join(FORMATS)}")
    file_format = FORMATS[format_name]
    if file_format.reads == "bytes":
        yield from file_format.parse(stream, source, file_bytes)
        return
    expansion = Expansion(source, file_bytes, "decompress it, or split it into smaller files")

    def check_expansion(text: str) -> None:
        """Raise InvalidInput if a compressed file expands too much: this line if lines are streamed, else all text so far."""
        if is_compressed and is_streamed and file_format.reads == "lines":
            expansion.check(file_format.memory_bytes(text))
        elif is_compressed:
            expansion.add(file_format.memory_bytes(text))

    with io.TextIOWrapper(stream, encoding="utf-8-sig", newline=file_format.newline) as text_stream:
        if file_format.reads == "lines":
            yield from file_format.parse(_bounded_lines(text_stream, source, check_expansion), source)
        else:
            yield from file_format.parse(_bounded_text(text_stream, source, check_expansion), source)


def _bounded_lines(text_stream: TextIO, source: str, check: Callable[[str], None]) -> Iterator[str]:
    """Yield each line of a stream, after calling `check` with it.

    Raises InvalidInput for a line longer than MAX_CHARACTERS, without reading the rest of the line.
    """
    for number in itertools.count(1):
        line = text_stream.readline(MAX_CHARACTERS + 1)
        if not line:
            return
        if len(line) > MAX_CHARACTERS:
            raise InvalidInput(
                f"{source}, line {number}: longer than {MAX_CHARACTERS:,} characters; write one document per line, and split "
                "this one"
            )
        check(line)
        yield line


def _bounded_text(text_stream: TextIO, source: str, check: Callable[[str], None]) -> str:
    """Return the text of a stream. It is read in parts, and `check` is called with each part.

    Raises InvalidInput if the text is longer than MAX_ARRAY_CHARACTERS, without reading the rest.
    """
    parts = []
    length = 0
    while part := text_stream.read(PART_CHARACTERS):
        check(part)
        length += len(part)
        if length > MAX_ARRAY_CHARACTERS:
            raise InvalidInput(
                f"{source} is longer than {MAX_ARRAY_CHARACTERS:,} characters; write one document per line, as .jsonl"
            )
        parts.append(part)
    return "".join(parts)


@contextlib.contextmanager
def _memory_errors_as_invalid_input(source: str) -> Iterator[None]:
    """If the block raises a MemoryError, raise InvalidInput instead."""
    try:
        yield
    except MemoryError:
        raise InvalidInput(f"{source} does not fit into memory; split it into smaller files") from None


@contextlib.contextmanager
def _read_errors_as_invalid_input(file: Path) -> Iterator[None]:
    """Raise InvalidInput if in the block the file cannot be read or decompressed, or does not fit into memory."""
    try:
        with _memory_errors_as_invalid_input(str(file)):
            yield
    except (EOFError, zlib.error) as error:
        raise InvalidInput(f"{file} is damaged: it cannot be decompressed; download or copy it again") from error
    except OSError as error:
        raise unreadable(file, error) from error


def _unsupported_format(first_bytes: bytes) -> str | None:
    """Return the ending of the unsupported format whose files begin with these bytes, None if there is none."""
    return next((ending for magic, ending in MAGIC.items() if first_bytes.startswith(magic)), None)


def _not_text(source: str, ending: str) -> InvalidInput:
    """Return the error for a file of an unsupported format. `ending` is a key of CONVERSIONS."""
    return InvalidInput(f"{source} is a {ending.upper()} file, not text: {CONVERSIONS[ending]}")


def _utf8_error(stream: BinaryIO, source: str) -> InvalidInput:
    """Return the error for a stream that is not UTF-8.

    The message has the number of the first line that is not UTF-8, or says how to convert a PDF or an office document.
    """
    if unsupported := _unsupported_format(stream.read(PEEKED_BYTES)):
        return _not_text(source, unsupported)
    stream.seek(0)
    decoder = codecs.getincrementaldecoder("utf-8")()  # a block can end inside a character
    number = 1
    try:
        while block := stream.read(BLOCK_BYTES):
            decoder.decode(block)
            number += block.count(b"\n")
    except UnicodeDecodeError as error:
        number += error.object[: error.start].count(b"\n")
    return InvalidInput(f"{source}, line {number}: not UTF-8; convert it, for example with iconv")


def _lines(lines: Iterable[str], source: str) -> Iterator[Any]:
    """Yield each line that is not blank, without its line break."""
    return (line.rstrip("\r\n") for line in lines if line.strip())


def _json_lines(lines: Iterable[str], source: str) -> Iterator[Any]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            location = f"{source}, line {number}"
            yield _checked_document(_json_value(line, location), location)


def _json_array(text: str, source: str) -> Iterator[Any]:
    documents = _json_value(text, source)
    if not isinstance(documents, list):
        raise InvalidInput(
            f"{source}: its JSON value is not a list but of type {type(documents).__name__}; put the documents into a list, or "
            "write one document per line and use the format jsonl"
        )
    for index, document in enumerate(documents):  # from 0, as in JSON Pointer; lines count from 1
        yield _checked_document(document, f"{source}, item {index}")


def csv_rows(lines: Iterable[str], source: str, required: Sequence[str] = ()) -> Iterator[tuple[int, dict[str, str]]]:
    """For each row of a CSV, yield the number of its last line, from 1, and its cells by column name.

    The delimiter is the character of DELIMITERS that is most frequent in the header. Raises InvalidInput if the header is
    blank or lacks a column in `required`, or if a row has more or fewer cells than the header (with the number of its last
    line).
    """
    remaining = iter(lines)
    header = list(itertools.islice(remaining, 1))  # [] if there are no lines
    delimiter = max(DELIMITERS, key="".join(header).count)  # a comma if none occurs
    yield from _delimited_rows(itertools.chain(header, remaining), source, delimiter, required=required)


def _csv_documents(lines: Iterable[str], source: str) -> Iterator[Any]:
    return (row for _, row in csv_rows(lines, source))


def _tsv_documents(lines: Iterable[str], source: str) -> Iterator[Any]:
    """Yield the rows of a TSV, a format in which cells cannot be quoted."""
    return (row for _, row in _delimited_rows(lines, source, "\t", is_quoted=False))


def _delimited_rows(
    lines: Iterable[str], source: str, delimiter: str, *, is_quoted: bool = True, required: Sequence[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """For each row, yield what `csv_rows` yields. If not `is_quoted`, a quotation mark is an ordinary character."""
    csv.field_size_limit(MAX_CHARACTERS)  # a cell may contain a whole document
    rows = csv.DictReader(lines, strict=True, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if is_quoted else csv.QUOTE_NONE)
    try:
        names = rows.fieldnames or []
        has_lines = rows.fieldnames is not None
        if not any(map(str.strip, names)) and (has_lines or required):
            columns = f"the columns {', '.join(required)}" if required else "its columns"
            raise InvalidInput(f"{source}: its first line is blank or missing; name {columns} there")
        if len(set(names)) < len(names):
            raise InvalidInput(f"{source}: its header has the same name for two columns; give each column its own name")
        if missing := [column for column in required if column not in names]:
            raise InvalidInput(f"{source} has no column {', '.join(missing)}; it has {', '.join(names)}. Rename its columns")
        for row in rows:
            has_too_many_cells = None in row  # csv puts them into a list under the key None
            has_too_few_cells = None in row.values()
            if has_too_many_cells or has_too_few_cells:
                raise _cell_count_error(f"{source}, line {rows.line_num}", delimiter, is_quoted=is_quoted)
            yield rows.line_num, row
    except csv.Error as error:
        raise InvalidInput(f"{source}, line {rows.line_num}: {error}") from error


def _cell_count_error(location: str, delimiter: str, *, is_quoted: bool) -> InvalidInput:
    delimiter_name = DELIMITERS[delimiter]
    if is_quoted:
        remedy = f"put a cell that contains {delimiter_name} in double quotes"
    else:
        remedy = "no cell may contain a tab or a line break"
    return InvalidInput(f"{location}: not as many cells as the header, whose names are separated by {delimiter_name}; {remedy}")


def _json_value(text: str, location: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise InvalidInput(f"{location}: nested too deeply; leave its inner lists and objects out") from error
    except ValueError as error:
        raise InvalidInput(f"{location}: not valid JSON; for lines of plain text use the format txt") from error


def _checked_document(document: Any, location: str) -> Any:
    """Return the document. It may be null: such a document has no text. Raises InvalidInput for a list, number or boolean."""
    if document is not None and not isinstance(document, str | dict):
        raise InvalidInput(f"{location}: a document is a JSON string or object, not {type(document).__name__}")
    return document


FORMATS = {
    "txt": Format(_lines),
    "jsonl": Format(_json_lines, value_marks=",[{"),
    "json": Format(_json_array, reads="text", value_marks=",[{"),
    "csv": Format(_csv_documents, newline="", value_marks=",;\t"),
    "tsv": Format(_tsv_documents, newline="", value_marks="\t"),
    "parquet": Format(parquet_documents, reads="bytes"),
}
ENDINGS = {name: name for name in FORMATS} | {"text": "txt", "md": "txt", "ndjson": "jsonl", "tab": "tsv"}
"""The ending of a file's name → the name of its format."""
