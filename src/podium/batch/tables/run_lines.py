"""TREC run files: lines with a query id, Q0, a document id, a rank, a score and the name of the run."""

from __future__ import annotations

from podium.batch.files import InputFile
from podium.batch.tables.lines import LineFormat
from podium.batch.tables.row import Row

__all__ = ["RunLines"]

CELLS = 6


class RunLines(LineFormat):
    def fields(self, file: InputFile) -> list[str]:
        return ["query_id", "id"]

    def row(self, position: int, line: bytes) -> Row:
        cells = line.decode().split()
        if len(cells) != CELLS:
            return Row(position, {}, "a line of a run has query, Q0, document, rank, score and name")
        return Row(position, {"query_id": cells[0], "id": cells[2]})
