"""Read randomly damaged files as a batch job does. The process ends with code 0 if each is read or refused with InvalidInput.

python damaged_files.py FOLDER FORMAT COUNT
"""

from __future__ import annotations

import random
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from podium.batch.files import InputFile
from podium.batch.tables import TABLE_FORMATS
from podium.batch.tables.row import ArrowRow
from podium.errors import InvalidInput

END_BYTES = 1600  # they describe the others
MAX_ROWS = 10_000  # a file can claim to have any number of rows


def write_table(path: Path) -> None:
    numbers = range(150)
    table = pa.table(
        {
            "query_id": [f"q{number // 7}" for number in numbers],
            "query": [f"text {number // 7}" for number in numbers],
            "document": [{"title": f"t{number}", "text": f"some text {number}"} for number in numbers],
            "list": [[str(number), None] for number in numbers],
            "kind": pa.array([str(number % 3) for number in numbers]).dictionary_encode(),
        }
    )
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=100)
    else:
        with pa.ipc.new_file(path, table.schema) as file:
            file.write_table(table, max_chunksize=100)


def read(path: Path, number: int) -> None:
    table = TABLE_FORMATS[path.suffix.lstrip(".")]
    file = InputFile(str(path), path.stat().st_size, str(number))
    fields = table.fields(file)
    for start, _ in table.ranges(file, 20)[:5]:
        table.row_before(file, start, fields[:1], lambda row: row.position < 0)
        for count, row in enumerate(table.rows(file, start, fields[:3], fields[3:])):
            if isinstance(row.copied, ArrowRow):
                row.copied.batch.slice(row.copied.number, 1).validate(full=True)
            if count > MAX_ROWS:
                break


def damaged_contents(content: bytes, count: int) -> Iterator[bytes]:
    """Yield a file's content with 16 added to one byte of its end, for each of these bytes, and with `count` random damages."""
    for offset in range(max(0, len(content) - END_BYTES), len(content)):
        yield content[:offset] + bytes([(content[offset] + 16) % 256]) + content[offset + 1 :]
    for seed in range(count):
        damage = random.Random(seed)
        length = damage.choice([1, 4, 8])
        offset = damage.randrange(len(content) - length)
        values = damage.choice([damage.randbytes(length), b"\xff" * (length - 1) + b"\x7f", b"\0" * length])
        yield content[:offset] + values + content[offset + length :]


def main(folder: Path, format_name: str, count: int) -> None:
    intact = folder / f"intact.{format_name}"
    write_table(intact)
    path = folder / f"damaged.{format_name}"
    for number, damaged in enumerate(damaged_contents(intact.read_bytes(), count)):
        path.write_bytes(damaged)
        try:
            read(path, number)
        except InvalidInput:
            continue


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))  # a file can claim to have any size
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
