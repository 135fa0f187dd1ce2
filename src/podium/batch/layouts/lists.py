"""The layout with a row per query, which has a list of documents: strings or records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from podium.batch.layouts.layout import BadRow, Document, Layout, PartInput, Query, bad_row, checked_text, text_of_id, type_name
from podium.batch.tables.row import BadValue, Row
from podium.documents import id_of

__all__ = ["Lists"]


class Lists(Layout):
    """A document's id is in the list of ids, or else in its record (`_id` or `id`)."""

    name = "lists"
    column_names = {  # noqa: RUF012  never modified
        "query": ("query", "question"),
        "documents": ("documents", "passages", "texts"),
        "query_id": ("query_id", "qid", "id", "_id"),
        "ids": ("ids", "document_ids", "doc_ids"),
    }
    required = ("query", "documents")
    ids = ("query_id", "ids")

    def list_path(self, columns: Mapping[str, str]) -> tuple[str, ...]:
        return (columns["documents"],)

    def documents_of(self, values: Mapping[str, Any], source: PartInput) -> Sequence[Any]:
        documents = values.get(source.selection.columns["documents"])
        return documents if isinstance(documents, list) else []

    def queries(self, source: PartInput) -> Iterator[Query | BadRow]:
        for row in source.rows():
            if not source.is_in_part(row.position):
                return
            try:
                yield from self._query(row, source)
            except ValueError as error:
                yield bad_row(row, error, source.selection.columns.get("query_id"))

    def _query(self, row: Row, source: PartInput) -> Iterator[Query | BadRow]:
        """Yield the bad documents of a row, and its query with the others. Raises ValueError if the row is bad."""
        selection = source.selection
        row_values = source.checked_values(row)
        values = {name: row_values.get(column) for name, column in selection.columns.items()}
        query = Query(row.position, text_of_id(values.get("query_id")), checked_text(values["query"], "query"))
        documents = values["documents"]
        if isinstance(documents, BadValue):
            raise ValueError(f"the list of documents {documents.problem}")
        if not isinstance(documents, list):
            raise ValueError(f"documents is {type_name(documents)}, not a list")
        if not documents:
            raise ValueError("the list of documents is empty")
        ids = _ids(values.get("ids"), len(documents))
        copied = selection.copied_columns(row)
        for index, document in enumerate(documents):
            try:
                text = selection.document_text(document)
                document_id = id_of(document) if ids is None else text_of_id(ids[index])
                query.documents.append(Document(row.position, index, document_id, text, document, copied))
            except ValueError as error:
                yield bad_row(row, error, selection.columns.get("query_id"), index)
        yield query


def _ids(values: Any, count: int) -> Sequence[Any] | None:
    if values is None:
        return None
    if isinstance(values, BadValue):
        raise ValueError(f"the list of ids {values.problem}")
    if not isinstance(values, list) or len(values) != count:
        raise ValueError("the list of ids does not have as many entries as the list of documents")
    return values
