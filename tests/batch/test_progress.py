"""The progress of a job, from which the remaining time is estimated: the share of the input that has been read."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

import podium
from batches import pairs, write_table
from podium.batch.files import input_files
from podium.batch.parts import divided
from podium.batch.progress import part_bytes, share_before

ROWS = pairs([10] * 300)


@pytest.mark.parametrize("name", ["in.parquet", "in.arrow", "in.jsonl", "in.jsonl.gz", "in.jsonl.zst", "in.csv", "in.csv.gz"])
def test_share_at_the_middle_of_a_file_is_a_half(tmp_path, out, reranker, name):
    path = write_table(tmp_path / name, ROWS, rows_per_group=5000)
    podium.batch(path, out, reranker=reranker)
    position = pq.read_table(out / "parts")["position"][len(ROWS) // 2].as_py()
    (part,) = divided(input_files([path]), None, part_size=50_000)
    assert share_before(part, position, None) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("name", ["in.parquet", "in.jsonl"])
def test_weights_of_parts_are_shares_of_their_files(tmp_path, name):
    files = input_files([write_table(tmp_path / f"{number}{name}", ROWS, rows_per_group=50) for number in (1, 2)])
    parts = divided(files, None, part_size=100)
    sizes = part_bytes(parts)
    assert len(sizes) == len(parts) > 4
    assert sum(sizes.values()) == pytest.approx(sum(file.size for file in files), rel=0.01)
    assert max(sizes.values()) == pytest.approx(min(sizes.values()), rel=0.1)
