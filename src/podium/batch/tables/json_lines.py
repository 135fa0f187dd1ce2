"""Lines of JSON, each an object."""

from __future__ import annotations

import itertools

from podium.batch.files import InputFile
from podium.batch.tables.lines import LineFormat
from podium.batch.tables.row import MAX_VALUE_BYTES, Row
from podium.documents import valid_unicode
from podium.errors import InvalidInput
from podium.json_values import decoded_bytes, parse_json

__all__ = ["JsonLines"]

FIRST_LINES = 1000  # the columns are the keys of the objects in this many lines
LONG_LINE_BYTES = 1 << 20  # the values of a shorter line take little memory


class JsonLines(LineFormat):
    has_columns = False

    def fields(self, file: InputFile) -> list[str]:
        names: dict[str, None] | None = None
        for row in itertools.islice(self.rows(file, 0, None), FIRST_LINES):
            if row.problem is None:
                names = names or {}
                names.update((name, None) for name in row.values if valid_unicode(name) == name)
        if names is None:
            raise InvalidInput(f"{file.path}: none of its first {FIRST_LINES:,} lines is a JSON object; check the format")
        return list(names)

    def row(self, position: int, line: bytes) -> Row:
        if len(line) > LONG_LINE_BYTES and decoded_bytes(line) > MAX_VALUE_BYTES:
            return Row(position, {}, f"its values take more than {MAX_VALUE_BYTES >> 20} MB of memory")
        text = line.decode()
        try:
            values = parse_json(text)
        except ValueError:
            return Row(position, {}, "not valid JSON, or nested too deeply")
        if not isinstance(values, dict):
            return Row(position, {}, "JSON, but not an object")
        return Row(position, values)
