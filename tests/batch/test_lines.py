"""Lines of JSON and of runs: byte order marks inside a file, keys that only some objects have, and unpaired surrogates."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest

import podium
from batches import expected_results, pairs, rejected_in, results_in, write_table

MARK = b"\xef\xbb\xbf"


@pytest.mark.parametrize("padding", range(0, 1000, 50))
def test_files_with_byte_order_marks_can_be_joined(tmp_path, out, reranker, padding):
    """With some of the paddings, a part ends inside the line with the second mark."""
    rows = pairs([10, 10])
    lines = [json.dumps(row | {"other": "x" * 100}).encode() + b"\n" for row in rows]
    lines[0] = MARK + json.dumps(rows[0] | {"other": "x" * padding}).encode() + b"\n"
    lines[10] = MARK + lines[10]
    (tmp_path / "in.jsonl").write_bytes(b"".join(lines))
    result = podium.batch(tmp_path / "in.jsonl", out, reranker=reranker, part_size=1)
    assert results_in(out) == expected_results(rows, reranker)
    assert result.rejected == 0
    assert result.parts > 1


@pytest.mark.parametrize("padding", range(0, 40, 5))
def test_runs_with_byte_order_marks_can_be_joined(tmp_path, out, reranker, padding):
    collection = tmp_path / "beir"
    collection.mkdir()
    write_table(collection / "queries.jsonl", [{"_id": query_id, "text": "red"} for query_id in ("A", "B")])
    write_table(collection / "corpus.jsonl", [{"_id": f"d{number}", "text": "sea"} for number in range(5)])
    lines = [f"{query_id} Q0 d{number} 1 1 x\n".encode() for query_id in ("A", "B") for number in range(5)]
    lines[5] = MARK + lines[5]
    (tmp_path / "in.run").write_bytes(MARK + lines[0].replace(b"x", b"x" * (padding + 1)) + b"".join(lines[1:]))
    podium.batch(tmp_path / "in.run", out, reranker=reranker, collection=collection, part_size=1)
    assert [row[:2] for row in results_in(out)] == [(query_id, f"d{number}") for query_id in ("A", "B") for number in range(5)]


def test_keys_of_all_first_objects_are_columns(tmp_path, out, reranker):
    rows = [{"query": "red", "document": "sea"}] + [
        {"query_id": str(number), "query": "red", "id": f"d{number}", "document": "red", "tag": "x"} for number in (1, 2)
    ]
    podium.batch(write_table(tmp_path / "in.jsonl", rows), out, reranker=reranker, copy=["tag"])
    assert [row[:3] for row in results_in(out)] == [("1", "d1", 0), ("2", "d2", 0)]
    assert [row["reason"] for row in rejected_in(out)] == ["the query id is missing"]
    assert pq.read_table(out / "parts")["tag"].to_pylist() == ["x", "x"]


@pytest.mark.parametrize("part_size", [1, 2, 3, 1000])
@pytest.mark.parametrize("key", ["query_id", "_id"])
def test_row_with_an_id_that_the_first_objects_do_not_have_is_a_bad_row(tmp_path, out, reranker, key, part_size):
    """It could be of another query, with the same text."""
    write_table(tmp_path / "a.jsonl", [{"query": "red", "text": "sea"}] * 20)
    other = {"query": "blue", "text": "sea"}
    write_table(tmp_path / "b.jsonl", [{"query": "red", "text": "sea"}, *[{**other, key: "1"}] * 20, *[other] * 50])
    result = podium.batch([tmp_path / "a.jsonl", tmp_path / "b.jsonl"], out, reranker=reranker, part_size=part_size)
    assert (result.queries, result.pairs, result.rejected) == (3, 71, 20)
    reason = f"it has the key '{key}' for an id, and the rows at the beginning of the input do not have this key"
    assert {row["reason"] for row in rejected_in(out)} == {reason}


SURROGATE = "sea \ud83d"  # half of an emoji, as in a text that was cut


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        pytest.param({"query_id": SURROGATE}, "an id has half of a character, an unpaired surrogate", id="query-id"),
        pytest.param({"id": SURROGATE}, "an id has half of a character", id="id"),
        pytest.param({"c": SURROGATE}, "the column 'c' has half of a character", id="copied-text"),
        pytest.param({"c": [SURROGATE]}, "the column 'c' has half of a character", id="copied-value"),
        pytest.param({"text": {SURROGATE: 1}}, "has none of the fields", id="field"),
    ],
)
def test_unpaired_surrogate_makes_a_bad_row(tmp_path, out, reranker, row, reason):
    good = {"query_id": "q", "query": "red", "id": "d", "text": "sea", "c": "x"}
    path = write_table(tmp_path / "in.jsonl", [good, {**good, **row}])
    assert podium.batch(path, out, reranker=reranker, copy=["c"]).pairs == 1
    assert reason in rejected_in(out)[0]["reason"]


def test_unpaired_surrogate_in_a_text_is_replaced(tmp_path, out, reranker):
    path = write_table(tmp_path / "in.jsonl", [{"query": "sea", "text": SURROGATE, SURROGATE: 1}])
    assert podium.batch(path, out, reranker=reranker).rejected == 0
    assert results_in(out) == [(None, None, 0, 1, 1.0)]


@pytest.mark.parametrize("output", ["run", "replies"])
def test_unpaired_surrogate_in_an_id_of_a_run_or_a_request_makes_a_bad_row(tmp_path, out, reranker, output):
    bodies = [{"query": "red", "documents": [{"text": "sea", "id": "d"}]}] * 2
    requests = [{"custom_id": name, "body": body} for name, body in zip(("a", SURROGATE), bodies, strict=True)]
    path = write_table(tmp_path / "in.jsonl", requests)
    assert podium.batch(path, out, reranker=reranker, output=output).rejected == 1
    assert "an id has half of a character" in rejected_in(out)[0]["reason"]
