"""The layout of OpenAI's batch lines, with requests for /v1/rerank: the input of vLLM's run-batch and Voyage's batch API.

A line has `custom_id`, `method`, `url` and `body`. The body is a request in Cohere's dialect of `podium serve`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from podium.batch.layouts.layout import BadRow, Document, Layout, PartInput, Query, Selection, bad_row, checked_text, text_of_id
from podium.batch.tables.row import Row
from podium.documents import id_of
from podium.inputs import checked_fields
from podium.server.dialects.call import Call, Refusal
from podium.server.dialects.cohere import DIALECT

__all__ = ["Requests"]


REPEATED_ID = "the custom_id was used by an earlier request of the same part"


class Requests(Layout):
    """The id of a query is its `custom_id`. The model that a request names is not used. A bad document makes a request bad.

    So a request has one reply, as from a server: the results of all of its documents, or an error.
    """

    name = "requests"
    column_names = {"custom_id": ("custom_id",), "body": ("body",), "url": ("url",)}  # noqa: RUF012  never modified
    required = ("custom_id", "body")
    has_requests = True

    def list_path(self, columns: Mapping[str, str]) -> tuple[str, ...]:
        return columns["body"], "documents"

    def documents_of(self, values: Mapping[str, Any], source: PartInput) -> Sequence[Any]:
        body = values.get(source.selection.columns["body"])
        if not isinstance(body, Mapping) or body.get("rank_fields"):  # which takes precedence over `rank_by`
            return []
        documents = body.get("documents")
        return documents if isinstance(documents, list) else []

    def queries(self, source: PartInput) -> Iterator[Query | BadRow]:
        custom_ids: set[str | None] = set()  # of this part, because no part depends on another one
        for row in source.rows():
            if not source.is_in_part(row.position):
                return
            try:
                query = _query(row, source)
            except ValueError as error:
                yield bad_row(row, error, source.selection.columns["custom_id"])
                continue
            yield dataclasses.replace(query, notes=(REPEATED_ID,)) if query.id in custom_ids else query
            custom_ids.add(query.id)


def _query(row: Row, source: PartInput) -> Query:
    """Return the query of a request. Raises ValueError if it is not valid."""
    selection = source.selection
    row_values = source.checked_values(row)
    values = {name: row_values.get(column) for name, column in selection.columns.items()}
    custom_id = text_of_id(values["custom_id"])
    if custom_id is None:
        raise ValueError("the custom_id is missing")
    call = _call(values)
    (question,) = call.questions
    fields = Selection({}, selection.rank_by if call.rank_by is None else checked_fields(call.rank_by))
    copied = selection.copied_columns(row)
    query = Query(
        row.position,
        custom_id,
        checked_text(question.query, "query"),
        limit=call.limit,
        refuses_truncation=not call.truncate,
        request=call,
    )
    for index, document in enumerate(question.documents):
        try:
            text = fields.document_text(document)
        except ValueError as error:
            raise ValueError(f"document {index}: {error}") from error
        query.documents.append(Document(row.position, index, id_of(document), text, document, copied))
    return query


def _call(values: Mapping[str, Any]) -> Call:
    """Return the call in the body of a request. Raises ValueError."""
    if values.get("url") not in (None, *DIALECT.paths):
        raise ValueError(f"the url is none of {', '.join(DIALECT.paths)}")
    if not isinstance(values["body"], Mapping):
        raise ValueError("the body is not an object")
    try:
        return DIALECT.read_call(values["body"])
    except Refusal as refusal:
        raise ValueError(refusal.message) from refusal
