"""Compute one part of a batch job: read its rows, score its queries in windows, and write its results."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from podium.batch.collection import load_collection
from podium.batch.folder import JobFolder
from podium.batch.layouts import LAYOUTS, BadRow, Document, PartInput, Query, Selection
from podium.batch.manifest import check_unchanged
from podium.batch.options import Options
from podium.batch.outputs import Target, find_output
from podium.batch.parts import Part
from podium.batch.scoring import ranked, windows
from podium.batch.summaries import Summary
from podium.batch.tables import table_format
from podium.errors import InvalidInput, RequestRejected
from podium.extras import import_optional
from podium.ranking import Reranker
from podium.types import Ranking

__all__ = ["PartProgress", "compute_part", "location", "part_queries"]

PartProgress = Callable[[int, int], None]
"""A function that is called after each window with its number of pairs and the position of its last query."""


def compute_part(
    part: Part,
    options: Options,
    reranker: Reranker,
    folder: JobFolder,
    *,
    is_strict: bool = False,
    progress: PartProgress | None = None,
) -> Summary:
    """Write the output and the summary of a part, and return the summary.

    Raises InvalidInput if the input cannot be read, or for a bad row if `is_strict`; PodiumError if the output cannot be
    written; and the errors of the scorer.
    """
    summary = Summary()

    def reject(row: BadRow) -> None:
        if is_strict:
            document = "" if row.document is None else f", document {row.document}"
            raise InvalidInput(f"{location(part, options, row.position)}{document}: {row.reason}; correct or remove it")
        summary.reject(row, summary_file)
        writer.write_error(row)

    with folder.writing(folder.part_path(part)) as file, folder.writing(folder.summary_path(part)) as summary_file:
        output = find_output(options.output)
        target = Target(file, part.file.path, reranker.model, _copied_types(part, options))
        with output.writer(target) as writer:
            for window in windows(part_queries(part, options, reject)):
                pairs_before = summary.pairs
                for query, ranking in zip(window, _rankings(window, reranker, part, options), strict=True):
                    if query.refuses_truncation and ranking.usage.truncated:
                        reject(BadRow(query.position, None, "a document is longer than the model reads", query.id))
                        continue
                    summary.add(ranking, [*query.notes, *_model_notes(query, reranker.model)])
                    writer.write(query, dataclasses.replace(ranking, results=ranking.results[: query.limit or options.limit]))
                if progress:
                    progress(summary.pairs - pairs_before, window[-1].position)
        check_unchanged(part.file)
        summary.write(summary_file)
    return summary


def _rankings(window: Sequence[Query], reranker: Reranker, part: Part, options: Options) -> list[Ranking]:
    """Return the ranking of each query. If a provider refuses a request, the error names the rows of the window."""
    try:
        return ranked(window, reranker)
    except RequestRejected as error:
        rows = f"the rows from {location(part, options, window[0].position)} to {window[-1].position}: "
        raise RequestRejected(rows, *error.args, status=error.status) from error


def location(part: Part, options: Options, position: int) -> str:
    """Return the name of a file and a position in it, for a message."""
    return f"{part.file.path}, {table_format(part.file.path, options.format_name).unit} {position}"


def part_queries(part: Part, options: Options, reject: Callable[[BadRow], None]) -> Iterator[Query]:
    """Yield the queries of a part, and call `reject` with its bad rows."""
    selection = Selection(options.columns, options.rank_by, options.copy)
    layout = LAYOUTS[options.layout]
    table = table_format(part.file.path, options.format_name)
    source = PartInput(part, table, selection, frozenset() if table.has_columns else layout.unread_ids(options.columns))
    if options.collection is not None:
        source = dataclasses.replace(source, collection=load_collection(options.collection))
    needs_ids = find_output(options.output).needs_ids
    for entry in layout.queries(source):
        if isinstance(entry, BadRow):
            reject(entry)
            continue
        query = _with_ids(entry, reject) if needs_ids else entry
        if query.documents:
            yield query


def _with_ids(query: Query, reject: Callable[[BadRow], None]) -> Query:
    """Return a query with the first document of each id without white space. Without a query id, it has none of them."""
    with_ids: dict[str | None, Document] = {}
    for document in query.documents:
        if not all(name is not None and name.split() == [name] for name in (query.id, document.id)):
            reason = "the query or the document has no id, or one with white space, and a run needs both ids"
            reject(BadRow(document.position, document.index, reason, query.id))
        elif document.id in with_ids:
            reason = "the query has an earlier document with this id, and a run has one"
            reject(BadRow(document.position, document.index, reason, query.id))
        else:
            with_ids[document.id] = document
    return dataclasses.replace(query, documents=list(with_ids.values()))


def _model_notes(query: Query, model: str) -> Iterator[str]:
    """Yield a note if the request of a query names another model than the one that scores it."""
    requested = None if query.request is None else query.request.model
    if requested is not None and requested != model and not model.endswith((f":{requested}", f"/{requested}")):
        yield f"the request names another model than {model}, which scored it"


def _copied_types(part: Part, options: Options) -> dict[str, Any]:
    """Return the Arrow types of the copied columns. Columns of files without types are strings."""
    arrow = import_optional("pyarrow", "batch")
    table = table_format(part.file.path, options.format_name)
    return {name: table.arrow_type(part.file, name) or arrow.string() for name in options.copy}
