"""Summary, the counts of a part. Its file has a line of JSON for each bad row of the part, and the counts in the last line.

So the bad rows of a part need not be in memory together.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO

from podium.batch.layouts import BadRow
from podium.batch.parts import Part
from podium.documents import valid_unicode
from podium.errors import InvalidInput
from podium.extras import import_optional
from podium.json_values import parse_json
from podium.notes import NoteTotals
from podium.regular_files import open_regular_file
from podium.types import Ranking

__all__ = ["Summary", "rejected_rows", "write_rejected"]

ROW_GROUP_ROWS = 10_000
MAX_LINE_BYTES = 100_000_000


@dataclass(slots=True)
class Summary:
    """What happened to the rows of a part.

    - `rejected`: number of bad rows.
    - `queries`, `pairs`, `tokens`: how many were scored. `tokens` is what the calls computed or were billed for.
    - `truncated`: number of documents that were longer than the model reads.
    - `notes`: the notes of the rankings.
    """

    queries: int = 0
    pairs: int = 0
    tokens: int = 0
    truncated: int = 0
    notes: NoteTotals = field(default_factory=NoteTotals)
    rejected: int = 0

    def add(self, ranking: Ranking, notes: Iterable[str] = ()) -> None:
        """Count a query. `notes` are added to those of the ranking."""
        self.queries += 1
        self.pairs += ranking.usage.pairs
        self.tokens += ranking.usage.tokens or 0
        self.truncated += ranking.usage.truncated or 0
        self.notes.add((*notes, *ranking.notes))

    def reject(self, row: BadRow, file: IO[bytes]) -> None:
        """Count a bad row, and write it."""
        self.rejected += 1
        file.write(json.dumps(row._replace(reason=valid_unicode(row.reason))).encode() + b"\n")

    def write(self, file: IO[bytes]) -> None:
        """Write the counts, after the bad rows."""
        values = {name: getattr(self, name) for name in self.__slots__} | {"notes": self.notes.to_json()}
        file.write(json.dumps(values, ensure_ascii=False).encode("utf-8", "backslashreplace"))

    @classmethod
    def read(cls, path: Path) -> Summary:
        """Return the summary in a file. Raises InvalidInput if it is damaged."""
        with _reading(path) as file:
            line_count = 0
            last_line = b""
            for last_line in _lines(file):  # noqa: B007  it is used after the loop
                line_count += 1
            values: Mapping[str, Any] = parse_json(last_line)
            summary = cls(**{**values, "notes": NoteTotals.from_json(values["notes"])})
            if summary.rejected != line_count - 1:
                raise ValueError("bad rows are missing")
            return summary


def rejected_rows(path: Path) -> Iterator[BadRow]:
    """Yield the bad rows in the file of a summary. Raises InvalidInput if it is damaged."""
    with _reading(path) as file:
        for line in _lines(file):
            entry = parse_json(line)
            if isinstance(entry, list):  # not the counts
                yield BadRow(*entry)


def write_rejected(file: IO[bytes], summaries: Iterable[tuple[Part, str, Path]]) -> None:
    """Write the bad rows of (part, unit of positions, file of the summary) as a Parquet file."""
    arrow = import_optional("pyarrow", "batch")
    parquet = import_optional("pyarrow.parquet", "batch")
    types = {
        "file": "string",
        "unit": "string",
        "position": "int64",
        "document": "int32",
        "reason": "string",
        "query_id": "string",
    }
    schema = arrow.schema([(name, arrow.type_for_alias(type_name)) for name, type_name in types.items()])
    rows = ((part.file.path, unit, *row) for part, unit, path in summaries for row in rejected_rows(path))
    with parquet.ParquetWriter(file, schema) as writer:
        while group := list(itertools.islice(rows, ROW_GROUP_ROWS)):
            entries = [dict(zip(types, row, strict=True)) for row in group]
            writer.write_table(arrow.Table.from_pylist(entries, schema))


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    """Open the file of a summary for the block. Raises InvalidInput if it is damaged, also in the block."""
    try:
        with open_regular_file(path) as file:
            yield file
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InvalidInput(f"{path} is damaged; delete it and run the job again, which computes this part again") from error


def _lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(MAX_LINE_BYTES):
        yield line
