"""Summary, the counts and the bad rows of a part, and their sum over all parts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from podium.batch.layouts import BadRow
from podium.batch.parts import Part
from podium.errors import InvalidInput
from podium.extras import import_optional
from podium.json_values import load_json
from podium.notes import NoteTotals
from podium.types import Ranking

__all__ = ["Summary", "write_rejected"]


@dataclass(slots=True)
class Summary:
    """What happened to the rows of a part.

    - `queries`, `pairs`, `tokens`: how many were scored. `tokens` is what the calls computed or were billed for.
    - `truncated`: number of documents that were longer than the model reads.
    - `notes`: the notes of the rankings.
    """

    queries: int = 0
    pairs: int = 0
    tokens: int = 0
    truncated: int = 0
    notes: NoteTotals = field(default_factory=NoteTotals)
    rejected: list[BadRow] = field(default_factory=list)

    def add(self, ranking: Ranking) -> None:
        """Count a query."""
        self.queries += 1
        self.pairs += ranking.usage.pairs
        self.tokens += ranking.usage.tokens or 0
        self.truncated += ranking.usage.truncated or 0
        self.notes.add(ranking.notes)

    def write(self, file: IO[bytes]) -> None:
        values = {name: getattr(self, name) for name in self.__slots__} | {"notes": self.notes.to_json()}
        file.write(json.dumps(values, ensure_ascii=False).encode("utf-8", "backslashreplace"))

    @classmethod
    def read(cls, path: Path) -> Summary:
        """Return the summary in a file. Raises InvalidInput if it is damaged."""
        try:
            values: Mapping[str, Any] = load_json(path)
            rejected = [BadRow(*row) for row in values["rejected"]]
            return cls(**{**values, "notes": NoteTotals.from_json(values["notes"]), "rejected": rejected})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InvalidInput(f"{path} is damaged; delete it and run the job again, which computes this part again") from error


def write_rejected(file: IO[bytes], rejected: Iterable[tuple[Part, str, list[BadRow]]]) -> None:
    """Write bad rows as a Parquet file, with a row group for each (part, unit of positions, bad rows)."""
    arrow = import_optional("pyarrow", "batch")
    parquet = import_optional("pyarrow.parquet", "batch")
    types = {"file": "string", "unit": "string", "position": "int64", "document": "int32", "reason": "string"}
    schema = arrow.schema([(name, arrow.type_for_alias(type_name)) for name, type_name in types.items()])
    with parquet.ParquetWriter(file, schema) as writer:
        for part, unit, rows in rejected:
            entries = [dict(zip(types, (part.file.path, unit, *row), strict=True)) for row in rows]
            writer.write_table(arrow.Table.from_pylist(entries, schema))
