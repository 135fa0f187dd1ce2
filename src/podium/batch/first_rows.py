"""Checks of the first rows of a new job's input, so that a mistake in its options is found before anything is scored."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from podium.batch.layouts import LAYOUTS, Layout, PartInput, Query, Selection
from podium.batch.options import Options
from podium.batch.outputs import find_output
from podium.batch.parts import Part
from podium.batch.tables import table_format
from podium.documents import has_field, unknown_fields
from podium.errors import Argument, InvalidInput
from podium.inputs import fields_to_read

__all__ = ["check_first_rows"]

FIRST_ROWS = 1000  # reading ends earlier if all that is checked was found


def check_first_rows(part: Part, options: Options) -> None:
    """Raise InvalidInput if the first rows of a part do not have the fields that are read, or ids that the output needs."""
    selection = Selection(options.columns, options.rank_by, options.copy)
    source = PartInput(part, table_format(part.file.path, options.format_name), selection)
    layout = LAYOUTS[options.layout]
    if options.rank_by is not None:
        _check_fields(source, layout, options.rank_by)
    if find_output(options.output).needs_ids and not layout.needs_collection:
        _check_ids(source, layout)


def _check_fields(source: PartInput, layout: Layout, rank_by: tuple[str, ...]) -> None:
    """Raise InvalidInput, as `Reranker.rerank` does, for a field that no document has, and if all documents are strings."""
    unseen = list(rank_by)
    first_text: str | None = None
    first_record: Mapping[str, Any] | None = None
    rows = itertools.islice(source.file_format.rows(source.part.file, source.part.start, None), FIRST_ROWS)
    valid_values = (row.values for row in rows if row.problem is None)
    for document in itertools.chain.from_iterable(layout.documents_of(values, source) for values in valid_values):
        if isinstance(document, str):
            first_text = document
        elif isinstance(document, Mapping):
            first_record = document if first_record is None else first_record
            unseen = [name for name in unseen if not has_field(document, name)]
            if not unseen:
                return
    if first_record is not None:
        raise unknown_fields(unseen, [first_record])
    if first_text is not None:
        fields_to_read([first_text], rank_by)  # raises InvalidInput


def _check_ids(source: PartInput, layout: Layout) -> None:
    """Raise InvalidInput if the first queries have documents, but not both their own ids and those of documents."""
    has_documents = False
    for entry in itertools.islice(layout.queries(source), FIRST_ROWS):
        if isinstance(entry, Query) and entry.documents:
            has_documents = True
            if entry.id is not None and any(document.id is not None for document in entry.documents):
                return
    if not has_documents:
        return
    output = Argument("output", "run")
    if layout.has_requests:
        raise InvalidInput(output, " needs ids, and the documents of the first requests have no field id; add one to each")
    columns = Argument("columns", {"query_id": "…", "ids" if "ids" in layout.column_names else "id": "…"})
    problem = " needs an id for each query and document, and the first rows do not have both; name their columns with "
    raise InvalidInput(output, problem, columns)
