"""The memory of a job does not depend on the size of its input. Each test reads in a process whose memory is limited."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import podium
from batches import rejected_in
from environment import ROOT
from podium.errors import InvalidInput

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not always enforce RLIMIT_AS")

LIMITED = """
import resource, sys
from pathlib import Path
import podium
import podium.batch.jobs
from fakes import WordOverlap
from podium.batch.files import InputFile
from podium.batch.tables import table_format
from podium.ranking import Reranker

reranker = Reranker(WordOverlap())
path = Path(sys.argv[1])
file = InputFile(str(path), path.stat().st_size, "")
table = table_format(str(path))
next(table.rows(file, 0, ["query"]))  # imports pyarrow's modules
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + {megabytes} * 1_000_000
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
{code}
"""
ALL_ROWS = """
for row in table.rows(file, 0, ["query", "document"], ["document"]):
    assert row.problem is None
print(row.position)
"""
ROW_BEFORE = """
row = table.row_before(file, int(sys.argv[2]), ["query"], lambda row: row.values.get("query") is not None)
print(row.values["query"][:8])
"""


def output_with_limit(code: str, megabytes: int, *arguments: object) -> str:
    """Return what a script prints. It may use this much more memory than before it reads the file.

    With one arena, malloc does not reserve 64 MB of addresses, which count as memory, when two threads allocate at once.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests" / "support"), "ARROW_DEFAULT_MEMORY_POOL": "system"}
    environment |= {"MALLOC_ARENA_MAX": "1"}
    process = subprocess.run(
        [sys.executable, "-c", LIMITED.format(code=code, megabytes=megabytes), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


def test_queries_before_a_part_of_parquet_are_not_in_memory_together(tmp_path):
    """The row group has 400 MB of queries, which are stored once for 100 rows."""
    queries = [f"query{number:03}" + "x" * 2000 for number in range(2000)]
    values = pa.DictionaryArray.from_arrays(pa.array(range(200_000)).cast("int32").to_numpy() // 100, queries)
    pq.write_table(pa.table({"query": values}), tmp_path / "in.parquet", store_schema=False)
    assert output_with_limit(ROW_BEFORE, 100, tmp_path / "in.parquet", 199_900) == "query199"


def test_long_text_that_is_stored_once_is_not_in_memory_for_each_row(tmp_path):
    """The file has a few kilobytes, and its texts 1 GB."""
    texts = pa.DictionaryArray.from_arrays([0] * 1000, ["x" * 1_000_000])
    queries = [str(number) for number in range(1000)]
    pq.write_table(pa.table({"query": queries, "document": texts}), tmp_path / "in.parquet", store_schema=False)
    assert output_with_limit(ALL_ROWS, 300, tmp_path / "in.parquet") == "999"


@pytest.mark.parametrize(("code", "output"), [(ROW_BEFORE, "99999"), (ALL_ROWS, "99999")], ids=["row-before", "rows"])
def test_record_batches_of_arrow_are_not_in_memory_together(tmp_path, code, output):
    """There are 100 of them, with 2 MB each."""
    texts = pa.array(["x" * 2000] * 1000)
    schema = pa.schema([("query", pa.string()), ("document", pa.string())])
    with pa.ipc.new_file(tmp_path / "in.arrow", schema) as file:
        for start in range(0, 100_000, 1000):
            queries = pa.array([str(number) for number in range(start, start + 1000)])
            file.write_batch(pa.record_batch([queries, texts], schema=schema))
    assert output_with_limit(code, 60, tmp_path / "in.arrow", 100_000) == output


@pytest.mark.parametrize(
    ("code", "output"),
    [
        pytest.param("print([row.problem for row in table.rows(file, 0, None)][1])", "longer than 67,108,864 bytes", id="rows"),
        pytest.param(ROW_BEFORE, "first", id="row-before"),
    ],
)
def test_long_line_is_not_in_memory(tmp_path, code, output):
    """The line has 1 GB of zero bytes, which take no space on the disk."""
    with open(tmp_path / "in.jsonl", "wb") as file:
        file.write(b'{"query": "first"}\n')
        file.seek(1_000_000_000)
        file.write(b"\n")
        size = file.tell()
    assert output_with_limit(code, 250, tmp_path / "in.jsonl", size) == output


def test_line_of_many_small_values_is_a_bad_row(tmp_path, out, reranker):
    """Its 9 MB would take 400 MB of memory as values."""
    line = b'{"query": "red", "documents": [' + b"{}," * 3_000_000 + b'""]}\n'
    (tmp_path / "in.jsonl").write_bytes(b'{"query": "red", "documents": ["sea"]}\n' + line)
    assert podium.batch(tmp_path / "in.jsonl", out, reranker=reranker).queries == 1
    assert [row["reason"] for row in rejected_in(out)] == ["its values take more than 256 MB of memory"]


def test_list_of_many_small_values_is_a_bad_row(tmp_path, out, reranker):
    """Each value takes one bit in the file, and much more in Python."""
    lists = pa.array([["sea"], ["red"]], pa.list_(pa.string()))
    numbers = pa.ListArray.from_arrays([0, 1, 5_000_000], pa.array([True] * 5_000_000))
    pq.write_table(pa.table({"query": ["a", "b"], "documents": lists, "ids": numbers}), tmp_path / "in.parquet")
    podium.batch(tmp_path / "in.parquet", out, reranker=reranker)
    assert [row["reason"] for row in rejected_in(out)] == [
        "an id is a boolean, or empty, not a string or a whole number",
        "the list of ids takes more than 256 MB of memory",
    ]


def test_file_that_declares_too_many_rows_is_refused(tmp_path, out, reranker):
    """The number of its rows is replaced by 2 to the power of 50."""
    table = pa.table({"query": ["red"] * 12_345, "text": ["sea"] * 12_345})
    pq.write_table(table, tmp_path / "in.parquet")
    content = (tmp_path / "in.parquet").read_bytes()
    footer_bytes = int.from_bytes(content[-8:-4], "little")
    data, footer = content[: -8 - footer_bytes], content[-8 - footer_bytes : -8]
    footer = footer.replace(_varint(2 * 12_345), _varint(2 << 50))  # signed numbers are doubled
    (tmp_path / "in.parquet").write_bytes(data + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(InvalidInput, match=r"would have 22,517,998,137 parts, and the most is 100,000; check the file"):
        podium.batch(tmp_path / "in.parquet", out, reranker=reranker)


def _varint(number: int) -> bytes:
    """Return a number in the variable-length encoding of Thrift."""
    encoded = bytearray()
    while number >= 128:
        encoded.append(number % 128 + 128)
        number //= 128
    return bytes([*encoded, number])


def test_bad_rows_are_not_in_memory_together(tmp_path, out):
    (tmp_path / "in.jsonl.gz").write_bytes(gzip.compress(b'{"query":"a","text":"b"}\n' + b'{"query":""}\n' * 300_000, 1))
    code = "print(podium.batch(path, sys.argv[2], reranker=reranker).rejected)"
    assert output_with_limit(code, 250, tmp_path / "in.jsonl.gz", out) == "300000"
    assert pq.read_metadata(out / "rejected.parquet").num_rows == 300_000
