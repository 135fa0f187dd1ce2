"""The layout with a row per pair of a query and a document. The rows of a query are adjacent."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from podium.batch.layouts.layout import BadRow, Document, Layout, PartInput, Query, bad_row, checked_text, text_of_id
from podium.batch.tables.row import Row
from podium.errors import Argument, InvalidInput

__all__ = ["Pairs"]


class Pairs(Layout):
    """Adjacent rows with the same key are one query. The key is the query's id, or its text if there is no column of ids.

    A row without a valid key is bad, and does not end the query before it. A query belongs to the part in which its first row
    is: a part skips leading rows whose key is that of the last row before it, and reads beyond its end to complete its last
    query. So the parts of a file can be computed independently of each other. If the document is not in a column of records,
    `rank_by` names columns.
    """

    name = "pairs"
    column_names = {  # noqa: RUF012  never modified
        "query": ("query", "question"),
        "document": ("document", "text", "passage", "content"),
        "query_id": ("query_id", "qid", "query-id"),
        "id": ("id", "_id", "document_id", "doc_id", "docid", "docno", "pid"),
    }
    required: ClassVar[Sequence[str]] = ("query",)
    ids = ("query_id", "id")

    def columns_of(
        self, fields: Sequence[str], chosen_columns: Mapping[str, str], rank_by: Sequence[str] | None
    ) -> dict[str, str]:
        columns = super().columns_of(fields, chosen_columns, rank_by)
        if "document" not in columns:
            missing = [name for name in rank_by or () if not {name, name.partition(".")[0]} & set(fields)]
            if rank_by is None:
                self.refuse_missing("document", fields)
            if missing:
                raise InvalidInput(Argument("rank_by"), f" names {missing[0]!r:.60}, which is not a column of the input")
        return columns

    def documents_of(self, values: Mapping[str, Any], source: PartInput) -> Sequence[Any]:
        return [self.document(values, source)]

    def queries(self, source: PartInput) -> Iterator[Query | BadRow]:
        previous_key = _key_before(source)
        group: _Group | None = None
        id_column = source.selection.columns.get("query_id")
        for row in source.rows():
            is_in_part = source.is_in_part(row.position)
            if group is None and not is_in_part:
                return
            try:
                key = _key(row, source)
            except ValueError as error:
                if is_in_part:
                    yield bad_row(row, error, id_column)
                continue
            if group is None and key == previous_key:
                continue
            if group is None or key != group.key:
                if group is not None and group.query is not None:
                    yield group.query
                group = None
                if not is_in_part:
                    return
                previous_key = None
                group = _Group(key)
            try:
                self._add(row, group, source)
            except ValueError as error:
                yield bad_row(row, error, id_column)
        if group is not None and group.query is not None:
            yield group.query

    def query_text(self, values: Mapping[str, Any], source: PartInput) -> str:
        """Return the query of a row. Raises ValueError if it has none."""
        return checked_text(values.get(source.selection.columns["query"]), "query")

    def document(self, values: Mapping[str, Any], source: PartInput) -> Any:
        """Return the document of a row: the value of its column, or the row itself if `rank_by` names columns."""
        selection = source.selection
        document = values.get(selection.columns.get("document", ""))
        return values if selection.rank_by is not None and not isinstance(document, Mapping) else document

    def _add(self, row: Row, group: _Group, source: PartInput) -> None:
        """Add a row to the query of its group. Raises ValueError if the row is bad."""
        selection = source.selection
        index = group.row_count
        group.row_count += 1
        text = self.query_text(row.values, source)
        query = group.query
        if query is not None and text != query.text:
            raise ValueError("the query is another one than in the rows before, which have the same query id")
        document = self.document(row.values, source)
        document_text = selection.document_text(document)
        document_id = text_of_id(row.values.get(selection.columns.get("id", "")))
        copied = selection.copied_columns(row)
        if query is None:
            query_id = group.key if "query_id" in selection.columns else None
            group.query = query = Query(row.position, query_id, text)
        query.documents.append(Document(row.position, index, document_id, document_text, document, copied))


@dataclass(slots=True)
class _Group:
    """Adjacent rows with the same key: their number so far, and their query, None until a row is valid."""

    key: str
    row_count: int = 0
    query: Query | None = None


def _key(row: Row, source: PartInput) -> str:
    """Return what adjacent rows of a query have in common. Raises ValueError if the row does not have it."""
    columns = source.selection.columns
    value = source.checked_values(row).get(_key_column(columns))
    if "query_id" not in columns:
        return checked_text(value, "query")
    query_id = text_of_id(value)
    if query_id is None:
        raise ValueError("the query id is missing")
    return query_id


def _key_before(source: PartInput) -> str | None:
    """Return the key of the last row before a part that has a valid key, None if there is none."""

    def has_key(row: Row) -> bool:
        with contextlib.suppress(ValueError):
            _key(row, source)
            return True
        return False

    if not source.part.start:
        return None
    row = source.file_format.row_before(source.part.file, source.part.start, [_key_column(source.selection.columns)], has_key)
    return None if row is None else _key(row, source)


def _key_column(columns: Mapping[str, str]) -> str:
    return columns.get("query_id", columns.get("query", ""))
