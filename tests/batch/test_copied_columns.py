"""Columns that are copied to the output keep their types and values."""

from __future__ import annotations

import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import podium
from batches import pairs, rejected_in, write_table
from podium.errors import InvalidInput

LATE = 10_000 * 366  # a date after the year 9999, which Python does not have
VALUES = {
    "nanoseconds": pa.array([1001, 2], pa.time64("ns")),
    "timestamps": pa.array([1, 2], pa.timestamp("ns")),
    "records": pa.array([{"a": datetime.time(1)}, None], pa.struct([("a", pa.time64("ns"))])),
    "lists": pa.array([["a"], []]),
    "integers": pa.array([1, None], pa.int16()),
    "dates": pa.array([LATE, 1], pa.int32()).view(pa.date32()),
    "time-zones": pa.array([1, 2], pa.timestamp("ms", "Mars/Phobos")),
    "repeated-names": pa.StructArray.from_arrays([pa.array([1, 2]), pa.array(["x", "y"])], ["a", "a"]),
    "decimals": pa.array([1, 2], pa.decimal128(5, 2)),
    "maps": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int8())),
    "views": pa.array(["a", "b"], pa.string_view()),
    "categories": pa.array(["a", "b"]).dictionary_encode(),
    "floats": pa.array([0.5, None], pa.float32()),
    "bytes": pa.array([b"\xff", b""]),
}


def write(path, column, row_count=2):
    """Write rows whose scores are in reverse order, with a column `c`."""
    texts = ["sea", "red"] * (row_count // 2)
    table = pa.table({"query": ["red"] * row_count, "text": texts, "c": column})
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_file(path, table.schema) as file:
            file.write_table(table)
    return path


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("name", ["in.parquet", "in.arrow"])
def test_values_and_types_are_kept(tmp_path, out, reranker, name, kind):
    path = write(tmp_path / name, VALUES[kind])
    assert podium.batch(path, out, reranker=reranker, copy=["c"]).pairs == 2
    (part,) = (out / "parts").iterdir()
    copied = pq.ParquetFile(part).read()["c"].combine_chunks()
    assert copied.type == VALUES[kind].type
    assert copied.equals(pa.concat_arrays([VALUES[kind].slice(1, 1), VALUES[kind].slice(0, 1)]))
    assert podium.verify_batch(out, reranker=reranker).different == ()


@pytest.mark.parametrize("part_size", [7, 1000])
@pytest.mark.parametrize("name", ["in.parquet", "in.arrow"])
def test_copied_values_belong_to_their_rows(tmp_path, out, reranker, name, part_size):
    """Queries are in several record batches, and record batches have several queries."""
    rows = [{**row, "c": f"copied {row['id']}"} for row in pairs((3, 1, 50, 2, 2, 90, 1))]
    write_table(tmp_path / name, rows, rows_per_group=20)
    podium.batch(tmp_path / name, out, reranker=reranker, copy=["c", "query"], part_size=part_size)
    results = pq.read_table(out / "parts").to_pylist()
    assert len(results) == len(rows)
    assert all(result["c"] == f"copied {result['id']}" for result in results)
    assert [result["query"] for result in results] == [row["query"] for row in rows]


@pytest.mark.parametrize(
    "column",
    [
        pytest.param(pa.RunEndEncodedArray.from_arrays([2], ["a"]), id="run-end-encoded"),
        pytest.param(pa.UnionArray.from_sparse(pa.array([0, 0], pa.int8()), [pa.array([1, 2])]), id="union"),
        pytest.param(pa.array([(1, 2, 3), None], pa.month_day_nano_interval()), id="interval"),
    ],
)
def test_type_that_parquet_does_not_have_is_refused(tmp_path, out, reranker, column):
    path = write(tmp_path / "in.arrow", column)
    with pytest.raises(InvalidInput, match="copy: a column cannot be written as Parquet, because of its type"):
        podium.batch(path, out, reranker=reranker, copy=["c"])
    assert not list((out / "parts").iterdir())
    assert podium.batch(path, out / "other", reranker=reranker).pairs == 2


def test_copied_text_that_is_not_utf8_is_a_bad_row(tmp_path, out, reranker):
    column = pa.array([b"\xff", b"a"]).view(pa.string())
    podium.batch(write(tmp_path / "in.parquet", column), out, reranker=reranker, copy=["c"])
    assert [(row["position"], row["reason"]) for row in rejected_in(out)] == [(0, "a column that is copied is not UTF-8")]
    assert pq.read_table(out / "parts")["c"].to_pylist() == ["a"]


def test_document_with_a_value_that_python_does_not_have_is_a_bad_row(tmp_path, out, reranker):
    documents = pa.StructArray.from_arrays([pa.array(["a", "b"]), VALUES["dates"]], ["text", "date"])
    pq.write_table(pa.table({"query": ["red", "red"], "document": documents}), tmp_path / "in.parquet")
    assert podium.batch(tmp_path / "in.parquet", out, reranker=reranker).pairs == 1
    reason = "the document has a value that Python does not have, such as a date after the year 9999"
    assert [row["reason"] for row in rejected_in(out)] == [reason]


def test_copied_nan_is_equal_when_a_job_is_verified(tmp_path, out, reranker):
    podium.batch(write(tmp_path / "in.parquet", pa.array([float("nan"), 1.0])), out, reranker=reranker, copy=["c"])
    assert podium.verify_batch(out, reranker=reranker).different == ()


def test_large_copied_values_are_written_in_several_row_groups(tmp_path, out, reranker):
    path = write(tmp_path / "in.parquet", pa.array(["x" * 1_000_000] * 150), row_count=150)
    podium.batch(path, out, reranker=reranker, copy=["c"])
    (part,) = (out / "parts").iterdir()
    assert pq.read_metadata(part).num_rows == 150
