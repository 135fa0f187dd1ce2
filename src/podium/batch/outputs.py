"""Kinds of output of batch jobs: Parquet with a row per result, TREC runs, and replies to batch requests."""

from __future__ import annotations

import dataclasses
import filecmp
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from podium.batch.layouts import BadRow, Copied, Query
from podium.batch.tables.row import ArrowRow
from podium.errors import Argument, InvalidInput
from podium.evaluation.runs import run_lines
from podium.extras import import_optional
from podium.server.dialects.cohere import DIALECT
from podium.types import Ranking, Result

__all__ = ["OUTPUTS", "Output", "PartWriter", "Target", "find_output"]

# A row group of the output ends with the query that brings it to this number of rows, or its copied columns to this size.
ROW_GROUP_ROWS = 1 << 16
ROW_GROUP_BYTES = 1 << 26
COMPARED_ROWS = 64  # how many rows of two files are in memory while they are compared


@dataclass(frozen=True, slots=True)
class Target:
    """What a PartWriter writes to: the file of a part, its input file's path, and the copied columns with their types."""

    file: IO[bytes]
    input_path: str
    model: str
    copied_types: Mapping[str, Any]


class PartWriter(ABC):
    """Writes the results of a part's queries. It is a context manager, and completes the file if there was no error."""

    def __init__(self, target: Target) -> None:
        self.target = target

    @abstractmethod
    def write(self, query: Query, ranking: Ranking) -> None:
        """Write the results of a query. The index of a result is a position in the query's list of documents."""

    def write_error(self, row: BadRow) -> None:  # noqa: B027  most kinds of output have no errors
        """Write the error of a bad row."""

    def close(self) -> None:  # noqa: B027  most writers have nothing to complete
        """Complete the file."""

    def abandon(self) -> None:  # noqa: B027  as above
        """Release what is in memory, after an error."""

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if error is None:
                self.close()
        except BaseException:
            self.abandon()
            raise
        if error is not None:
            self.abandon()


class ParquetResults(PartWriter):
    """Columns of identification, the result, its position in the input, and then the copied columns."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._arrow = import_optional("pyarrow", "batch")
        parquet = import_optional("pyarrow.parquet", "batch")
        types = {name: self._arrow.type_for_alias(type_name) for name, type_name in RESULT_COLUMNS.items()}
        self._result_schema = self._arrow.schema(list(types.items()))
        self._copied_schema = self._arrow.schema(list(target.copied_types.items()))
        self._schema = self._arrow.schema([*self._result_schema, *self._copied_schema])
        try:
            self._writer = parquet.ParquetWriter(target.file, self._schema, compression="zstd")
        except self._arrow.ArrowNotImplementedError as error:
            raise InvalidInput(
                Argument("copy"),
                f": a column cannot be written as Parquet, because of its type: {str(error)[:200]}; leave it out",
            ) from error
        self._rows: list[tuple[Any, ...]] = []
        self._copied: list[Any] = []  # record batches with the copied columns of these rows
        self._copied_bytes = 0

    def write(self, query: Query, ranking: Ranking) -> None:
        for result in ranking:
            self._rows.append(_result_row(query, result, self.target.input_path))
        if self._copied_schema.names and len(ranking):
            copied = self._copied_batch([query.documents[result.index].copied for result in ranking])
            self._copied.append(copied)
            self._copied_bytes += copied.nbytes
        if len(self._rows) >= ROW_GROUP_ROWS or self._copied_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def abandon(self) -> None:
        self._writer.is_open = False  # or it would write the end of the file when it is deleted

    def _copied_batch(self, rows: Sequence[Copied]) -> Any:
        """Return a record batch with the copied columns of rows. It does not refer to the record batches of the input."""
        slices = [row.batch.slice(row.number, 1) for row in rows if isinstance(row, ArrowRow)]
        return self._arrow.concat_batches(slices) if slices else self._batch(rows, self._copied_schema)

    def _flush(self) -> None:
        results = self._arrow.Table.from_batches([self._batch(self._rows, self._result_schema)])
        copied = self._arrow.Table.from_batches(self._copied, None if self._copied else self._copied_schema).combine_chunks()
        columns = [*results.columns, *copied.columns]
        self._writer.write_table(self._arrow.Table.from_arrays(columns, schema=self._schema))
        self._rows = []
        self._copied = []
        self._copied_bytes = 0

    def _batch(self, rows: Sequence[Any], schema: Any) -> Any:
        columns = zip(*rows, strict=True) if rows else [()] * len(schema)
        arrays = [self._arrow.array(values, kind) for values, kind in zip(columns, schema.types, strict=True)]
        return self._arrow.RecordBatch.from_arrays(arrays, schema=schema)


class RunResults(PartWriter):
    """Lines of a TREC run."""

    def write(self, query: Query, ranking: Ranking) -> None:
        document_ids = [query.documents[result.index].id or "" for result in ranking]
        scores = [result.score for result in ranking]
        for line in run_lines(query.id or "", document_ids, scores, self.target.model):
            self.target.file.write(line.encode())


class Replies(PartWriter):
    """Lines of replies to batch requests, in the format of OpenAI's batch API."""

    def write(self, query: Query, ranking: Ranking) -> None:
        results = tuple(dataclasses.replace(result, document=query.documents[result.index].document) for result in ranking)
        request_id = self._request_id(query.position, query.id)
        call = dataclasses.replace(query.request, model=None)  # the reply names the model that scored
        body = DIALECT.reply_body(call, [dataclasses.replace(ranking, results=results)], request_id)
        response = {"status_code": 200, "request_id": request_id, "body": body}
        self._write_line({"id": request_id, "custom_id": query.id, "response": response, "error": None})

    def write_error(self, row: BadRow) -> None:
        """Write the error of a request, unless it has no id by which a client can tell it."""
        if row.query_id is not None:
            request_id = self._request_id(row.position, row.query_id)
            error = {"code": "invalid_request", "message": row.reason}
            self._write_line({"id": request_id, "custom_id": row.query_id, "response": None, "error": error})

    def _request_id(self, position: int, custom_id: str | None) -> str:
        identity = f"{self.target.input_path}:{position}:{custom_id}"
        return f"podium-{hashlib.blake2b(identity.encode(), digest_size=8).hexdigest()}"

    def _write_line(self, values: Mapping[str, Any]) -> None:
        self.target.file.write(json.dumps(values, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")


RESULT_COLUMNS = {
    "query_id": "string",
    "id": "string",
    "index": "int32",
    "rank": "int32",
    "score": "float64",
    "scored_by": "string",
    "tokens": "int32",
    "dropped_tokens": "int32",
    "no_text": "bool",
    "passage_start": "int32",
    "passage_end": "int32",
    "passage_score": "float64",
    "file": "string",
    "position": "int64",
}
"""Column of the Parquet output → its type. `file` and `position` are those of the document's row in the input.

The score of a document that was not scored is null.
"""


def _result_row(query: Query, result: Result, input_path: str) -> tuple[Any, ...]:
    """Return the values of a result in the order of RESULT_COLUMNS."""
    document = query.documents[result.index]
    passage = result.passage
    return (
        query.id,
        document.id,
        document.index,
        result.rank,
        result.score_or_none,
        result.scored_by,
        result.tokens,
        result.dropped_tokens,
        result.no_text,
        None if passage is None else passage.start,
        None if passage is None else passage.end,
        None if passage is None else passage.score,
        input_path,
        document.position,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A kind of output.

    - `ending`: the ending of the names of its files.
    - `has_equal_content`: whether two of its files have the same content.
    - `copies_columns`: whether it has columns of the input.
    - `needs_ids`: whether queries and documents must have ids, without white space.
    - `needs_requests`: whether the input must be batch requests.
    """

    name: str
    ending: str
    writer: type[PartWriter]
    has_equal_content: Callable[[Path, Path], bool]
    copies_columns: bool = False
    needs_ids: bool = False
    needs_requests: bool = False


def _has_equal_bytes(path: Path, other: Path) -> bool:
    return filecmp.cmp(path, other, shallow=False)


def _has_equal_table(path: Path, other: Path) -> bool:
    """Whether two Parquet files have the same columns and rows, whichever version of pyarrow wrote them."""
    arrow = import_optional("pyarrow", "batch")
    parquet = import_optional("pyarrow.parquet", "batch")
    try:
        with parquet.ParquetFile(path) as table, parquet.ParquetFile(other) as other_table:
            if not table.schema_arrow.equals(other_table.schema_arrow):
                return False
            batches = zip(*(file.iter_batches(COMPARED_ROWS) for file in (table, other_table)), strict=True)
            return all(_with_bits(batch).equals(_with_bits(other_batch)) for batch, other_batch in batches)
    except (arrow.ArrowException, ValueError):  # ValueError: one of them has more batches
        return False


def _with_bits(batch: Any) -> Any:
    """Return a record batch with the bits of floats as whole numbers, because NaN is not equal to itself."""
    arrow = import_optional("pyarrow", "batch")
    kinds = {arrow.float16(): arrow.int16(), arrow.float32(): arrow.int32(), arrow.float64(): arrow.int64()}
    columns = [column.view(kinds.get(column.type, column.type)) for column in batch.columns]
    return arrow.RecordBatch.from_arrays(columns, names=batch.schema.names)


OUTPUTS = (
    Output(
        name="parquet",
        ending=".parquet",
        writer=ParquetResults,
        has_equal_content=_has_equal_table,
        copies_columns=True,
    ),
    Output(name="run", ending=".run", writer=RunResults, has_equal_content=_has_equal_bytes, needs_ids=True),
    Output(name="replies", ending=".jsonl", writer=Replies, has_equal_content=_has_equal_bytes, needs_requests=True),
)


def find_output(name: str) -> Output:
    """Return the kind of output called `name`. Raises InvalidInput."""
    for output in OUTPUTS:
        if output.name == name:
            return output
    raise InvalidInput(f"there is no output {name!r:.60}; known: {', '.join(output.name for output in OUTPUTS)}")
