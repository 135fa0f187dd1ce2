"""verify_batch computes parts again and compares them."""

from __future__ import annotations

import json
import os

import pyarrow.parquet as pq
import pytest

import podium
from batches import pairs, write_table
from commands import run_in_process
from podium.errors import InvalidInput


@pytest.fixture
def path(tmp_path):
    return write_table(tmp_path / "in.parquet", [*pairs([10] * 6), {"query_id": "x", "query": None}])


def test_parts_that_were_not_changed_are_equal(path, out, reranker):
    podium.batch(path, out, reranker=reranker, part_size=10)
    files = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    assert podium.verify_batch(out, reranker=reranker) == podium.Verification(parts=7, complete=7)
    assert podium.verify_batch(out, reranker=reranker, sample=2).parts == 2
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == files


def test_changed_score_is_found(path, out, reranker):
    podium.batch(path, out, reranker=reranker, part_size=10)
    part = sorted((out / "parts").iterdir())[3]
    table = pq.read_table(part)
    scores = table["score"].to_pylist()
    scores[4] += 1e-12
    pq.write_table(table.set_column(table.schema.get_field_index("score"), "score", [scores]), part)
    assert podium.verify_batch(out, reranker=reranker).different == (part,)


def test_damaged_part_and_changed_bad_rows_are_found(path, out, reranker):
    podium.batch(path, out, reranker=reranker, part_size=10)
    first, *_, last = sorted((out / "parts").iterdir())
    first.write_bytes(first.read_bytes()[:-8])
    summary = out / "summaries" / f"{last.stem}.json"
    row, counts = summary.read_text().splitlines()
    position, *reason = json.loads(row)
    summary.write_text(f"{json.dumps([position + 1, *reason])}\n{counts}")
    assert podium.verify_batch(out, reranker=reranker).different == (first, last)


def test_other_model_changed_input_and_empty_folder_are_refused(path, tmp_path, out, reranker, mini):
    with pytest.raises(InvalidInput, match="has no batch job"):
        podium.verify_batch(out, reranker=reranker)
    podium.batch(path, out, reranker=reranker)
    with pytest.raises(InvalidInput, match="model is podium-mini, and was word-overlap"):
        podium.verify_batch(out, reranker=mini)
    os.utime(path, ns=(1, 1))
    with pytest.raises(InvalidInput, match="has changed"):
        podium.verify_batch(out, reranker=reranker)


def test_command(path, out):
    assert run_in_process("batch", path, "--to", out, "--max-length", "64")[0] == 1  # one bad row
    code, stdout, _ = run_in_process("batch", "verify", out, "--sample", "3", "--max-length", "64")
    assert (code, stdout) == (0, "1 of 1 parts are equal; 1 are complete\n")
    code, _, stderr = run_in_process("batch", "verify", out)
    assert code == 2
    assert "max_length is 512, and was 64" in " ".join(stderr.split())
    (part,) = (out / "parts").iterdir()
    part.write_bytes(b"")
    code, stdout, _ = run_in_process("batch", "verify", out, "--max-length", "64")
    assert (code, stdout) == (1, f"{part} differs\n0 of 1 parts are equal; 1 are complete\n")
