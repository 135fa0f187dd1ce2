"""Part, the unit of work of a batch job, and the division of input files into parts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podium.batch.files import InputFile
from podium.batch.tables import table_format
from podium.errors import InvalidInput

__all__ = ["Part", "divided", "parts_from_json", "parts_to_json"]


@dataclass(frozen=True, slots=True)
class Part:
    """A file and a range of positions in it: the queries whose first row is at a position from `start` up to `stop`.

    Positions are those of the file's format: rows, lines or bytes. A `stop` of None is the end of the file. `number` is the
    part's position in the job, from 0.
    """

    number: int
    file: InputFile
    start: int = 0
    stop: int | None = None

    @property
    def name(self) -> str:
        """The name of the part's files: its number, so that they sort by input, and a digest of its input and range."""
        identity = json.dumps([self.file.path, self.file.size, self.file.version, self.start, self.stop])
        return f"part-{self.number:06}-{hashlib.blake2b(identity.encode(), digest_size=6).hexdigest()}"


def divided(files: Iterable[InputFile], format_name: str | None, part_size: int, list_path: Sequence[str] = ()) -> list[Part]:
    """Return the parts of files, each with about `part_size` pairs. `list_path` is explained at `TableFormat.ranges`.

    Only the sizes that files declare, or a sample of their lines, are read.
    """
    tables = [(file, table_format(file.path, format_name)) for file in files]
    ranges = [(file, *limits) for file, table in tables for limits in table.ranges(file, part_size, list_path)]
    return [Part(number, file, start, stop) for number, (file, start, stop) in enumerate(ranges)]


def parts_to_json(parts: Iterable[Part]) -> list[dict[str, Any]]:
    """Return the files of a job and the ranges of their parts as values for JSON."""
    ranges_by_file: dict[InputFile, list[list[int | None]]] = {}
    for part in parts:
        ranges_by_file.setdefault(part.file, []).append([part.start, part.stop])
    return [
        {"path": file.path, "size": file.size, "version": file.version, "ranges": ranges}
        for file, ranges in ranges_by_file.items()
    ]


def parts_from_json(entries: Iterable[Mapping[str, Any]]) -> list[Part]:
    """Return the parts that `parts_to_json` described. Raises InvalidInput if the description is damaged."""
    try:
        ranges = [
            (InputFile(str(entry["path"]), int(entry["size"]), str(entry["version"])), start, stop)
            for entry in entries
            for start, stop in entry["ranges"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput("the list of input files in the manifest is damaged; start again with a new folder") from error
    return [Part(number, file, start, stop) for number, (file, start, stop) in enumerate(ranges)]
