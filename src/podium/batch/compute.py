"""Compute one part of a batch job: read its rows, score its queries in windows, and write its results."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeGuard

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

__all__ = ["PartProgress", "compute_part", "part_queries"]

PartProgress = Callable[[int, int], None]
"""A function that is called after each window with the number of pairs that it added and the position of its last query."""


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

    Raises InvalidInput if the input cannot be read or has changed, or for a bad row if `is_strict`; PodiumError if the output
    cannot be written; and the errors of the scorer.
    """
    summary = Summary()
    # The summary is closed first, so it gets its name before the output does, as JobFolder promises.
    with folder.writing(folder.part_path(part)) as file, folder.writing(folder.summary_path(part)) as summary_file:
        output = find_output(options.output)
        target = Target(file, part.file.path, reranker.model, _copied_types(part, options))
        with output.writer(target) as writer:

            def reject(row: BadRow) -> None:
                if is_strict:
                    document = "" if row.document is None else f", document {row.document}"
                    location = _location(part, options, row.position) + document
                    raise InvalidInput(f"{location}: {row.reason}; correct or remove it")
                summary.reject(row, summary_file)
                writer.write_error(row)

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
        rows = f"the rows from {_location(part, options, window[0].position)} to {window[-1].position}: "
        raise RequestRejected(rows, *error.args, status=error.status) from error


def _location(part: Part, options: Options, position: int) -> str:
    """Return the name of a file and a position in it, for a message."""
    return f"{part.file.path}, {table_format(part.file.path, options.format_name).unit} {position}"


def part_queries(part: Part, options: Options, reject: Callable[[BadRow], None]) -> Iterator[Query]:
    """Yield the queries of a part that have documents, and call `reject` with its bad rows."""
    selection = Selection(options.columns, options.rank_by, options.copy)
    layout = LAYOUTS[options.layout]
    file_format = table_format(part.file.path, options.format_name)
    # The columns of a file were checked before the job; each line of JSON can have other keys.
    unread_ids = frozenset() if file_format.has_columns else layout.unread_ids(options.columns)
    source = PartInput(part, file_format, selection, unread_ids=unread_ids)
    if options.collection is not None:
        source = dataclasses.replace(source, collection=load_collection(options.collection))
    needs_ids = find_output(options.output).needs_ids
    for entry in layout.queries(source):
        if isinstance(entry, BadRow):
            reject(entry)
            continue
        query = _query_for_run(entry, reject) if needs_ids else entry
        if query.documents:
            yield query


def _query_for_run(query: Query, reject: Callable[[BadRow], None]) -> Query:
    """Return the query with only the documents that a run can have, and call `reject` with the others.

    A run needs ids without white space, of the query and of its documents, and has each document of a query once.
    """
    documents: dict[str, Document] = {}
    for document in query.documents:
        if not (_fits_run(query.id) and _fits_run(document.id)):
            reason = "the query or the document has no id, or one with white space, and a run needs both ids"
            reject(BadRow(document.position, document.index, reason, query.id))
        elif document.id in documents:
            reason = "the query has an earlier document with this id, and a run can have only one of them"
            reject(BadRow(document.position, document.index, reason, query.id))
        else:
            documents[document.id] = document
    return dataclasses.replace(query, documents=list(documents.values()))


def _fits_run(name: str | None) -> TypeGuard[str]:
    """Whether a run can have an id: it has no white space, and is not empty."""
    return name is not None and name.split() == [name]


def _model_notes(query: Query, model: str) -> Iterator[str]:
    """Yield a note if the request of a query names another model than the one that scores it."""
    requested = None if query.request is None else query.request.model
    # A request for "rerank-v3.5" or "bge-small" may be scored by "cohere:rerank-v3.5" or "BAAI/bge-small".
    if requested is not None and requested != model and not model.endswith((f":{requested}", f"/{requested}")):
        yield f"the request names another model than {model}, which scored it"


def _copied_types(part: Part, options: Options) -> dict[str, Any]:
    """Return the Arrow types of the copied columns. Columns of files without types are strings."""
    arrow = import_optional("pyarrow", "batch")
    file_format = table_format(part.file.path, options.format_name)
    return {name: file_format.arrow_type(part.file, name) or arrow.string() for name in options.copy}
