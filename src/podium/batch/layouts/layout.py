"""Layout, how queries and documents are found in rows, and the values that all layouts produce."""

from __future__ import annotations

import contextlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, NoReturn

from podium.batch.collection import Collection
from podium.batch.parts import Part
from podium.batch.tables.row import ArrowRow, BadValue, Row, TableFormat
from podium.documents import TextReader, id_of, texts_of, valid_unicode
from podium.errors import Argument, InvalidInput

__all__ = [
    "BadRow",
    "Copied",
    "Document",
    "Layout",
    "PartInput",
    "Query",
    "Selection",
    "bad_row",
    "checked_text",
    "listed",
    "text_of_id",
    "type_name",
]

MAX_NAME_CHARACTERS = 40  # of a column's name in a message; a longer one is probably not a name
MAX_TEXT_CHARACTERS = 10_000_000  # a longer query or document is a bad row


NO_COLLECTION = Collection({}, {})


Copied = ArrowRow | tuple[str | None, ...]
"""The copied columns of a row: in a record batch, or as texts if the columns of the input have no types."""


class BadRow(NamedTuple):
    """A row that is not scored: its position, the document's index in a list of documents if only that is bad, and why.

    `query_id` is the id of its query, None if it has no valid one.
    """

    position: int
    document: int | None
    reason: str
    query_id: str | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """A document of a query. `position` is that of its row, `index` its position among the query's documents, from 0."""

    position: int
    index: int
    id: str | None
    text: str
    document: Any
    copied: Copied


@dataclass(frozen=True, slots=True)
class Query:
    """A query with its documents, the unit that is ranked.

    `limit` is the number of results that the input requests for this query, None if it requests none. If a document is
    truncated, a query that `refuses_truncation` is bad. `request` is the request that the query comes from, in layouts that
    have requests. `notes` are sentences about it for the user.
    """

    position: int
    id: str | None
    text: str
    documents: list[Document] = field(default_factory=list)
    limit: int | None = None
    refuses_truncation: bool = False
    request: Any = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """What is read from rows.

    - `columns`: the name that a layout gives a value ("query", "document") → the column that has the value.
    - `rank_by`: the fields of a document that are read, None for the usual ones.
    - `copied`: columns that are copied to the output.
    """

    columns: Mapping[str, str]
    rank_by: tuple[str, ...] | None = None
    copied: tuple[str, ...] = ()

    @property
    def needed_columns(self) -> set[str]:
        """The columns that have a value of the layout or a field that is read."""
        fields = self.rank_by or ()
        return {*self.columns.values(), *fields, *(name.partition(".")[0] for name in fields)}

    def copied_columns(self, row: Row) -> Copied:
        """Return the copied columns of a row. Raises ValueError if a text is not valid."""
        if isinstance(row.copied, BadValue):
            raise ValueError(f"a column that is copied {row.copied.problem}")
        return row.copied or tuple(_copied_text(row.values.get(name), name) for name in self.copied)

    def document_text(self, document: Any) -> str:
        """Return a document's text, "" if it is blank. Raises ValueError if it is missing, too long or has no text."""
        if document is None:
            raise ValueError("the document is null")
        if isinstance(document, str):
            text = document
        elif isinstance(document, BadValue):
            raise ValueError(f"the document {document.problem}")
        elif not isinstance(document, Mapping):
            raise ValueError(f"the document is {type_name(document)}, not a string or a record")
        else:
            text = self._record_text(document)
        if len(text) > MAX_TEXT_CHARACTERS:
            raise ValueError(f"the document is longer than {MAX_TEXT_CHARACTERS:,} characters")
        return text

    def _record_text(self, document: Mapping[str, Any]) -> str:
        for name in self.rank_by or ():
            value = document.get(name.partition(".")[0])
            if isinstance(value, BadValue):
                raise ValueError(f"the field {name!r:.60} of the document {value.problem}")
        reader = TextReader([document], self.rank_by)
        try:
            reader.read(range(1))
        except InvalidInput as error:
            raise ValueError(str(error).removeprefix("document 0 ")) from error
        (text,) = reader.texts
        if text is None and all(document.get(name) is None for name in self.rank_by or document):
            raise ValueError("the document is null")
        return text or ""


@dataclass(frozen=True, slots=True)
class PartInput:
    """A part, the format of its file, what is read from its rows, and the texts for layouts that need a collection.

    `unread_ids` are usual names of ids that the columns did not have when they were recognized. Lines of JSON can have them.
    """

    part: Part
    file_format: TableFormat
    selection: Selection
    unread_ids: frozenset[str] = frozenset()
    collection: Collection = NO_COLLECTION

    def rows(self) -> Iterator[Row]:
        """Yield the rows of the file from the beginning of the part on."""
        selection = self.selection
        return self.file_format.rows(self.part.file, self.part.start, selection.needed_columns, selection.copied)

    def is_in_part(self, position: int) -> bool:
        return self.part.stop is None or position < self.part.stop

    def checked_values(self, row: Row) -> Mapping[str, Any]:
        """Return the values of a row. Raises ValueError if it cannot be read, or has an id under a key that is not read."""
        if row.problem is not None:
            raise ValueError(row.problem)
        unread = self.unread_ids & row.values.keys()
        if unread:
            raise ValueError(
                f"it has the key {min(unread)!r:.60} for an id, and the rows at the beginning of the input do not have this key"
            )
        return row.values


class Layout(ABC):
    """How queries and documents are found in rows.

    `column_names` has, for each value that the layout reads, the usual names of its column. The values in `required` must have
    a column. `ids` are the values that identify queries and documents. `needs_collection`: whether texts are looked up in a
    collection. `has_requests`: whether queries have requests.
    """

    name: ClassVar[str]
    column_names: ClassVar[Mapping[str, Sequence[str]]]
    required: ClassVar[Sequence[str]]
    ids: ClassVar[Sequence[str]] = ()
    needs_collection: ClassVar[bool] = False
    has_requests: ClassVar[bool] = False

    def unread_ids(self, columns: Mapping[str, str]) -> frozenset[str]:
        """Return the usual names of the ids that have no column among `columns`."""
        return frozenset(column for name in self.ids if name not in columns for column in self.column_names[name])

    def fits(self, fields: Sequence[str]) -> bool:
        """Whether each required value has a usual name among the columns `fields`."""
        return all(set(self.column_names[name]) & set(fields) for name in self.required)

    def columns_of(
        self, fields: Sequence[str], chosen_columns: Mapping[str, str], rank_by: Sequence[str] | None
    ) -> dict[str, str]:
        """Return the column of each value, among the columns `fields`. `chosen_columns` are those that the user named.

        Raises InvalidInput if a required value has no column, or a named column does not exist.
        """
        unknown = [name for name in chosen_columns if name not in self.column_names]
        if unknown:
            raise InvalidInput(
                f"the layout {self.name!r} has no column for {unknown[0]!r:.60}; it has {', '.join(self.column_names)}"
            )
        missing = [column for column in chosen_columns.values() if column not in fields]
        if missing:
            raise InvalidInput(f"the input has no column {missing[0]!r:.60}; it has {listed(fields)}")
        usual_columns = {
            name: next((column for column in usual_names if column in fields), None)
            for name, usual_names in self.column_names.items()
        }
        columns = {name: column for name, column in {**usual_columns, **chosen_columns}.items() if column is not None}
        for name in self.required:
            if name not in columns:
                self.refuse_missing(name, fields)
        return columns

    def refuse_missing(self, name: str, fields: Sequence[str]) -> NoReturn:
        """Raise InvalidInput for a value that has no column."""
        usual = " or ".join(self.column_names[name])
        is_header = all(len(field) <= MAX_NAME_CHARACTERS and not field.isdigit() for field in fields)
        hint = "" if is_header else "If the first line is not a header, add one. "
        raise InvalidInput(
            f"the input has no column {usual}; it has {listed(fields)}. {hint}If the column has another name, use ",
            Argument("columns", {name: "…"}),
        )

    def list_path(self, columns: Mapping[str, str]) -> tuple[str, ...]:
        """Return the names that lead to the list of documents of a row, () if a row has one document."""
        return ()

    @abstractmethod
    def documents_of(self, values: Mapping[str, Any], source: PartInput) -> Sequence[Any]:
        """Return the documents of a row, as they are in the input, of which `rank_by` names fields."""

    @abstractmethod
    def queries(self, source: PartInput) -> Iterator[Query | BadRow]:
        """Yield the queries of a part, each with all of its documents, and the bad rows of the part."""


def checked_text(value: Any, name: str) -> str:
    """Return a value that must be a text that is not blank. Raises ValueError, whose message calls it `name`."""
    if value is None:
        raise ValueError(f"the {name} is missing")
    if isinstance(value, BadValue):
        raise ValueError(f"the {name} {value.problem}")
    if not isinstance(value, str):
        raise ValueError(f"the {name} is {type_name(value)}, not a string")
    if len(value) > MAX_TEXT_CHARACTERS:
        raise ValueError(f"the {name} is longer than {MAX_TEXT_CHARACTERS:,} characters")
    if texts_of([value]) == [None]:
        raise ValueError(f"the {name} is blank")
    return value


def bad_row(row: Row, error: ValueError, id_column: str | None, document: int | None = None) -> BadRow:
    """Return the bad row for an error, with the id of the query if the row has one in `id_column`."""
    query_id = None
    with contextlib.suppress(ValueError):
        query_id = text_of_id(row.values.get(id_column or ""))
    return BadRow(row.position, document, str(error), query_id)


def text_of_id(value: Any) -> str | None:
    """Return an id as a string, None if there is none. Raises ValueError unless it is a string or a number."""
    if value is None:
        return None
    if isinstance(value, BadValue):
        raise ValueError(f"an id {value.problem}")
    converted = id_of({"id": value})
    if converted is None:
        raise ValueError(f"an id is {type_name(value)}, or empty, not a string or a whole number")
    return _checked_unicode(converted, "an id")


def _copied_text(value: Any, column: str) -> str | None:
    """Return a value that is copied to a column of texts, as JSON if it is not a text. Raises ValueError if it is not valid."""
    if isinstance(value, BadValue):
        raise ValueError(f"the column {column!r:.60} {value.problem}")
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _checked_unicode(text, f"the column {column!r:.60}")


def _checked_unicode(text: str, name: str) -> str:
    """Return a text. Raises ValueError, whose message calls it `name`, if it has unpaired surrogates, which UTF-8 lacks."""
    if valid_unicode(text) != text:
        raise ValueError(f"{name} has half of a character, an unpaired surrogate such as \\ud83d")
    return text


def type_name(value: Any) -> str:
    """Return the type of a value of JSON or Arrow in words."""
    names = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list"}
    return names.get(type(value), "an object" if isinstance(value, Mapping) else f"of the type {type(value).__name__}")


def listed(fields: Sequence[str]) -> str:
    """Return the names of columns for a message."""
    names = (name if len(name) <= MAX_NAME_CHARACTERS else f"{name[:MAX_NAME_CHARACTERS]}…" for name in fields[:20])
    return ", ".join(map(repr, names)) or "no columns"
