"""Lines of JSON, each an object."""

from __future__ import annotations

import itertools

from podium.batch.files import InputFile
from podium.batch.tables.lines import LineFormat
from podium.batch.tables.row import Row
from podium.errors import InvalidInput
from podium.json_values import parse_json

__all__ = ["JsonLines"]

FIRST_LINES = 1000  # the keys are those of the first object in this many lines


class JsonLines(LineFormat):
    bytes_per_pair = 1000
    has_columns = False

    def fields(self, file: InputFile) -> list[str]:
        for row in itertools.islice(self.rows(file, 0, None), FIRST_LINES):
            if row.problem is None:
                return list(row.values)
        raise InvalidInput(f"{file.path}: none of its first {FIRST_LINES:,} lines is a JSON object; check the format")

    def row(self, position: int, text: str) -> Row:
        try:
            values = parse_json(text)
        except ValueError:
            return Row(position, {}, "not valid JSON, or nested too deeply")
        if not isinstance(values, dict):
            return Row(position, {}, f"a JSON {type(values).__name__}, not an object")
        return Row(position, values)
