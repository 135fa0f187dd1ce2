"""Damaged files are refused, and do not end the process."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import podium
from batches import pairs, write_table
from podium.errors import InvalidInput


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not always enforce RLIMIT_AS")
@pytest.mark.parametrize("name", ["parquet", "arrow"])
def test_damaged_file_is_read_or_refused(tmp_path, name):
    script = Path(__file__).with_name("damaged_files.py")
    process = subprocess.run([sys.executable, script, tmp_path, name, "300"], capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr


def test_arrow_file_whose_text_is_outside_of_it_is_refused(tmp_path, out, reranker):
    """Texts are stored together, with the position where each of them ends."""
    path = write_table(tmp_path / "in.arrow", pairs([5] * 10), rows_per_group=1000)
    content = path.read_bytes()
    offset = content.index(struct.pack("<3i", 0, 2, 4))  # of the query ids
    path.write_bytes(content[: offset + 80] + struct.pack("<i", 0x7FFFFFF0) + content[offset + 84 :])
    with pytest.raises(InvalidInput, match=r"in.arrow cannot be read as an Arrow file: .*; check that it is complete"):
        podium.batch(path, out, reranker=reranker)


def test_arrow_text_that_is_not_utf8_is_a_bad_row(tmp_path, out, reranker):
    texts = pa.array([b"sea", b"\xff", b"red"]).view(pa.string())
    table = pa.table({"query": ["red"] * 3, "text": texts})
    with pa.ipc.new_file(tmp_path / "in.arrow", table.schema) as file:
        file.write_table(table)
    result = podium.batch(tmp_path / "in.arrow", out, reranker=reranker)
    assert (result.pairs, result.rejected) == (2, 1)


@pytest.mark.parametrize("name", ["in.parquet", "in.arrow"])
def test_two_columns_of_one_name_are_refused(tmp_path, out, reranker, name):
    table = pa.Table.from_arrays([pa.array(["red"])] * 3, ["query", "text", "text"])
    with pa.OSFile(str(tmp_path / name), "wb") as file:
        if name.endswith("parquet"):
            pq.write_table(table, file)
        else:
            with pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)
    with pytest.raises(InvalidInput, match="has two columns of the same name"):
        podium.batch(tmp_path / name, out, reranker=reranker)
