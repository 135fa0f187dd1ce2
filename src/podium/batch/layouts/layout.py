"""Layout, how queries and documents are found in rows, and the values that all layouts produce."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, NoReturn

from podium.batch.collection import Collection
from podium.batch.parts import Part
from podium.batch.tables.row import BAD_ENCODING, TableFormat
from podium.documents import TextReader, id_of, texts_of
from podium.errors import Argument, InvalidInput

__all__ = [
    "BadRow",
    "Document",
    "Layout",
    "PartInput",
    "Query",
    "Selection",
    "checked_text",
    "listed",
    "text_of_id",
]

MAX_TEXT_CHARACTERS = 10_000_000  # a longer query or document is a bad row


NO_COLLECTION = Collection({}, {})


class BadRow(NamedTuple):
    """A row that is not scored: its position, the document's index in a list of documents if only that is bad, and why."""

    position: int
    document: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Document:
    """A document of a query. `position` is that of its row, `index` its position among the query's documents, from 0."""

    position: int
    index: int
    id: str | None
    text: str
    document: Any
    copied: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """A query with its documents, the unit that is ranked.

    `limit` is the number of results that the input requests for this query, None if it requests none. If a document is
    truncated, a query that `refuses_truncation` is bad. `request` is the request that the query comes from, in layouts that
    have requests.
    """

    position: int
    id: str | None
    text: str
    documents: list[Document] = field(default_factory=list)
    limit: int | None = None
    refuses_truncation: bool = False
    request: Any = None


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
        """The columns that have a value of the layout, a field that is read, or a value that is copied."""
        fields = self.rank_by or ()
        return {*self.columns.values(), *self.copied, *fields, *(name.partition(".")[0] for name in fields)}

    def copied_values(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return the values of the copied columns. Raises ValueError if one cannot be represented."""
        copied = tuple(values.get(name) for name in self.copied)
        if BAD_ENCODING in copied:
            raise ValueError(f"the column {self.copied[copied.index(BAD_ENCODING)]!r:.60} is not valid text")
        return copied

    def document_text(self, document: Any) -> str:
        """Return a document's text, "" if it is blank. Raises ValueError if it is missing, too long or has no text."""
        if document is None:
            raise ValueError("the document is null")
        if isinstance(document, str):
            text = document
        elif document is BAD_ENCODING:
            raise ValueError("the document is not UTF-8")
        elif not isinstance(document, Mapping):
            raise ValueError(f"the document is a {type(document).__name__}, not a string or a record")
        else:
            text = self._record_text(document)
        if len(text) > MAX_TEXT_CHARACTERS:
            raise ValueError(f"the document is longer than {MAX_TEXT_CHARACTERS:,} characters")
        return text

    def _record_text(self, document: Mapping[str, Any]) -> str:
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
    """A part, the format of its file, what is read from its rows, and the texts for layouts that need a collection."""

    part: Part
    table: TableFormat
    selection: Selection
    collection: Collection = NO_COLLECTION

    def is_in_part(self, position: int) -> bool:
        return self.part.stop is None or position < self.part.stop


class Layout(ABC):
    """How queries and documents are found in rows.

    `names` has, for each value that the layout reads, the usual names of its column. The values in `required` must have a
    column. `needs_collection`: whether texts are looked up in a collection. `has_requests`: whether queries have requests.
    """

    name: ClassVar[str]
    names: ClassVar[Mapping[str, Sequence[str]]]
    required: ClassVar[Sequence[str]]
    needs_collection: ClassVar[bool] = False
    has_requests: ClassVar[bool] = False

    def fits(self, fields: Sequence[str]) -> bool:
        """Whether each required value has a usual name among the columns `fields`."""
        return all(set(self.names[name]) & set(fields) for name in self.required)

    def columns_of(
        self, fields: Sequence[str], chosen_columns: Mapping[str, str], rank_by: Sequence[str] | None
    ) -> dict[str, str]:
        """Return the column of each value, among the columns `fields`. `chosen_columns` are those that the user named.

        Raises InvalidInput if a required value has no column, or a named column does not exist.
        """
        unknown = [name for name in chosen_columns if name not in self.names]
        if unknown:
            raise InvalidInput(f"the layout {self.name!r} has no column for {unknown[0]!r:.60}; it has {', '.join(self.names)}")
        missing = [column for column in chosen_columns.values() if column not in fields]
        if missing:
            raise InvalidInput(f"the input has no column {missing[0]!r:.60}; it has {listed(fields)}")
        usual = {
            name: next((column for column in usual_names if column in fields), None) for name, usual_names in self.names.items()
        }
        columns = {name: column for name, column in {**usual, **chosen_columns}.items() if column is not None}
        for name in self.required:
            if name not in columns:
                self.refuse_missing(name, fields)
        return columns

    def refuse_missing(self, name: str, fields: Sequence[str]) -> NoReturn:
        """Raise InvalidInput for a value that has no column."""
        usual = " or ".join(self.names[name])
        raise InvalidInput(
            f"the input has no column {usual}; it has {listed(fields)}. Name the column of the {name} with ",
            Argument("columns", {name: "…"}),
        )

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
    if value is BAD_ENCODING:
        raise ValueError(f"the {name} is not UTF-8")
    if not isinstance(value, str):
        raise ValueError(f"the {name} is a {type(value).__name__}, not a string")
    if len(value) > MAX_TEXT_CHARACTERS:
        raise ValueError(f"the {name} is longer than {MAX_TEXT_CHARACTERS:,} characters")
    if texts_of([value]) == [None]:
        raise ValueError(f"the {name} is blank")
    return value


def text_of_id(value: Any) -> str | None:
    """Return an id as a string, None if there is none. Raises ValueError unless it is a string or a number."""
    if value is None:
        return None
    if value is BAD_ENCODING:
        raise ValueError("an id is not UTF-8")
    converted = id_of({"id": value})
    if converted is None:
        raise ValueError(f"an id is a {type(value).__name__}, or empty, not a string or a whole number")
    return converted


def listed(fields: Sequence[str]) -> str:
    return ", ".join(f"{name!r:.40}" for name in fields[:20]) or "no columns"
