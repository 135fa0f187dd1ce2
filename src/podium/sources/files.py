"""Documents from a file: a line each (text), an object each (JSON lines, a JSON array), a row each (CSV)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from podium.errors import InvalidInput

__all__ = ["FORMATS", "format_of", "parse", "read"]

Documents = list[Any]


def read(path: str | Path, kind: str | None = None) -> Documents:
    """Return the documents of a file; `kind` is one of FORMATS, told by the file's name where None.

    Raises InvalidInput, naming the line, where a file is not what its name says.
    """
    file = Path(path)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read {file}: {error.strerror or type(error).__name__}") from error
    return parse(content, kind or format_of(file.name, content), str(file))


def parse(content: bytes, kind: str, name: str) -> Documents:
    """Return the documents that `content` holds; `name` is what errors call it."""
    if kind not in FORMATS:
        raise InvalidInput(f"there is no format {kind!r}; known: {', '.join(FORMATS)}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InvalidInput(f"{name}, line {line}: not UTF-8; convert it, for example with iconv") from error
    return list(FORMATS[kind](text, name))


def format_of(name: str, content: bytes = b"") -> str:
    """Tell a format by a file's name, and where that says nothing by how its content begins."""
    ending = Path(name).suffix.lower().lstrip(".")
    if ending in ENDINGS:
        return ENDINGS[ending]
    begins = content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    return "json" if begins == b"[" else "jsonl" if begins in (b"{", b'"') else "txt"


def _lines(text: str, name: str) -> Iterator[Any]:
    """Yield each line that isn't blank: blank lines separate, they are no documents."""
    return (line.rstrip("\r") for line in text.split("\n") if line.strip())


def _json_lines(text: str, name: str) -> Iterator[Any]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield _document(line, f"{name}, line {number}")


def _json_array(text: str, name: str) -> Iterator[Any]:
    documents = _json(text, name)
    if not isinstance(documents, list):
        raise InvalidInput(f"{name} holds one {type(documents).__name__}, not a list of documents; one a line is .jsonl")
    for number, document in enumerate(documents):
        yield _checked(document, f"{name}, item {number}")


def _rows(text: str, name: str) -> Iterator[Any]:
    csv.field_size_limit(1 << 30)  # a cell may hold a whole document
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        names = rows.fieldnames or []
        if len(set(names)) < len(names):
            raise InvalidInput(f"{name}: its header names a column twice; each needs a name of its own")
        for row in rows:
            if None in row or None in row.values():
                raise InvalidInput(f"{name}, line {rows.line_num}: not as many cells as the header has")
            yield row
    except csv.Error as error:
        raise InvalidInput(f"{name}, line {rows.line_num}: {error}") from error


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


FORMATS: dict[str, Callable[[str, str], Iterator[Any]]] = {
    "txt": _lines,
    "jsonl": _json_lines,
    "json": _json_array,
    "csv": _rows,
}
ENDINGS = {"txt": "txt", "text": "txt", "jsonl": "jsonl", "ndjson": "jsonl", "json": "json", "csv": "csv"}
