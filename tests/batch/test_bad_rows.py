"""Bad rows are not scored: they are listed with their position and the reason."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import podium
from batches import as_lists, expected_results, pairs, rejected_in, results_in, write_table
from podium.batch.layouts.layout import MAX_TEXT_CHARACTERS
from podium.errors import InvalidInput

GOOD = {"query_id": "q", "query": "red", "id": "d", "text": "red sea"}


@pytest.mark.parametrize("part_size", [1, 1000])
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param(b"{", "not valid JSON", id="json"),
        pytest.param(b'"red"', "JSON, but not an object", id="no-object"),
        pytest.param(b'{"query_id": "q", "query": "\xff", "text": "a"}', "not UTF-8", id="encoding"),
        pytest.param(b'{"query": "red", "text": "a"}', "the query id is missing", id="no-id"),
        pytest.param(b'{"query_id": [1], "query": "red", "text": "a"}', "an id is a list", id="id-type"),
        pytest.param(b'{"query_id": "q", "text": "a"}', "the query is missing", id="no-query"),
        pytest.param(b'{"query_id": "q", "query": 7, "text": "a"}', "the query is a number, not a string", id="query-type"),
        pytest.param(b'{"query_id": "q", "query": " ", "text": "a"}', "the query is blank", id="blank-query"),
        pytest.param(b'{"query_id": "q", "query": "blue", "text": "a"}', "the query is another one", id="other-query"),
        pytest.param(b'{"query_id": "q", "query": "red"}', "the document is null", id="no-text"),
        pytest.param(b'{"query_id": "q", "query": "red", "text": [1]}', "the document is a list", id="text-type"),
        pytest.param(b'{"query_id": "q", "query": "red", "text": {"x": 1}}', "has none of the fields", id="record"),
    ],
)
def test_bad_line_is_rejected_and_does_not_end_the_query(tmp_path, out, reranker, line, reason, part_size):
    good = json.dumps(GOOD).encode()
    (tmp_path / "in.jsonl").write_bytes(b"\n".join([good, line, good, b""]))
    result = podium.batch(tmp_path / "in.jsonl", out, reranker=reranker, part_size=part_size)
    (rejected,) = rejected_in(out)
    assert reason in rejected.pop("reason")
    assert rejected.pop("query_id") == ("q" if b'"query_id": "q"' in line and b"\xff" not in line else None)
    assert rejected == {"file": str(tmp_path / "in.jsonl"), "unit": "byte", "position": len(good) + 1, "document": None}
    assert (result.queries, result.pairs, result.rejected) == (1, 2, 1)
    assert [(row[0], row[3]) for row in results_in(out)] == [("q", 1), ("q", 2)]


def test_text_that_is_too_long_is_rejected(tmp_path, out, reranker):
    path = write_table(tmp_path / "in.jsonl", [{**GOOD, "text": "x" * (MAX_TEXT_CHARACTERS + 1)}, GOOD])
    assert podium.batch(path, out, reranker=reranker).pairs == 1
    assert rejected_in(out)[0]["reason"] == "the document is longer than 10,000,000 characters"


@pytest.mark.parametrize("part_size", [1, 2, 3, 1000])
def test_bad_rows_at_the_borders_of_parts_are_rejected_once(tmp_path, out, reranker, part_size):
    rows = pairs([3, 2, 4, 1])
    bad = [{**rows[0], "query_id": None}, {**rows[0], "text": None}]
    mixed = [entry for row in rows for entry in (bad[0], row, {**row, "text": None}, bad[0])]
    write_table(tmp_path / "in.parquet", mixed, rows_per_group=1)
    podium.batch(tmp_path / "in.parquet", out, reranker=reranker, part_size=part_size)
    assert sorted(row["position"] for row in rejected_in(out)) == [number for number in range(len(mixed)) if number % 4 != 1]
    expected = expected_results(rows, reranker)
    assert [(row[0], row[1], row[3], row[4]) for row in results_in(out)] == [
        (row[0], row[1], row[3], row[4]) for row in expected
    ]


def test_index_counts_bad_documents(tmp_path, out, reranker):
    path = write_table(
        tmp_path / "in.jsonl", [{"query": "red", "documents": [None, "sea", 7, "red"], "ids": ["a", "b", "c", "d"]}]
    )
    podium.batch(path, out, reranker=reranker)
    assert [row[1:4] for row in results_in(out)] == [("d", 3, 1), ("b", 1, 2)]
    assert [(row["document"], row["reason"]) for row in rejected_in(out)] == [
        (0, "the document is null"),
        (2, "the document is a number, not a string or a record"),
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        pytest.param({"query": None, "documents": ["a"]}, "the query is missing", id="no-query"),
        pytest.param({"query": "a", "documents": None}, "documents is null, not a list", id="no-documents"),
        pytest.param({"query": "a", "documents": []}, "the list of documents is empty", id="no-document"),
        pytest.param({"query": "a", "documents": ["a"], "ids": []}, "does not have as many entries", id="ids"),
    ],
)
def test_bad_row_of_a_list_is_rejected(tmp_path, out, reranker, row, reason):
    good = as_lists(pairs([2]))
    path = write_table(tmp_path / "in.jsonl", [*good, row])
    assert podium.batch(path, out, reranker=reranker).rejected == 1
    assert reason in rejected_in(out)[0]["reason"]


def test_query_whose_documents_are_all_bad_is_not_counted(tmp_path, out, reranker):
    path = write_table(tmp_path / "in.jsonl", [{"qid": 7, "query": "a", "documents": [None, None]}, *as_lists(pairs([2]))])
    result = podium.batch(path, out, reranker=reranker, columns={"query_id": "qid"})
    assert (result.queries, result.rejected) == (1, 2)
    assert [row["query_id"] for row in rejected_in(out)] == ["7", "7"]


def test_text_in_parquet_that_is_not_utf8_is_rejected(tmp_path, out, reranker):
    texts = pa.array([b"sea", b"\xff", b"red"]).view(pa.string())
    pq.write_table(pa.table({"query": ["red"] * 3, "text": texts}), tmp_path / "in.parquet")
    podium.batch(tmp_path / "in.parquet", out, reranker=reranker)
    assert [(row["position"], row["reason"]) for row in rejected_in(out)] == [(1, "the document is not UTF-8")]
    assert [row[2] for row in results_in(out)] == [2, 0]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param(b"red", "has 1 cells, and the header has 2", id="cells"),
        pytest.param(b'red,"sea"x', "has a double quote in the wrong position", id="quotes"),
        pytest.param(b"red,sea\rsea", "has a carriage return inside a line", id="carriage-return"),
        pytest.param(
            b"," * 5_000_000, "takes more than 256 MB of memory, or has a line of more than 67,108,864 bytes", id="many-cells"
        ),
        pytest.param(
            b"red," + b"x" * (1 << 26),
            "takes more than 256 MB of memory, or has a line of more than 67,108,864 bytes",
            id="long-line",
        ),
        pytest.param(b"red,\xff", "the document is not UTF-8", id="encoding"),
    ],
)
def test_bad_line_of_a_csv_is_rejected(tmp_path, out, reranker, line, reason):
    (tmp_path / "in.csv").write_bytes(b"query,text\nred,sea\n" + line + b"\nred,red\n")
    assert podium.batch(tmp_path / "in.csv", out, reranker=reranker).pairs == 2
    (rejected,) = rejected_in(out)
    assert (rejected["unit"], rejected["position"], rejected["reason"]) == ("line", 3, reason)


RECORDS = [{"title": "red", "body": "sea"}, {"title": "green"}]


@pytest.mark.parametrize("name", ["in.jsonl", "in.parquet"])
@pytest.mark.parametrize(
    ("rows", "rank_by", "message"),
    [
        pytest.param([GOOD], "title", "rank_by names 'title', which no document has; the first has 'query_id'", id="pairs"),
        pytest.param([GOOD], "txt", "did you mean 'text'", id="misspelled"),
        pytest.param([{"query": "red", "document": RECORDS[0]}], "titel", "the first has 'title', 'body'; did", id="record"),
        pytest.param([{"query": "red", "documents": RECORDS}], ["title", "x"], "names 'x', which no document has", id="lists"),
        pytest.param([{"query": "red", "documents": ["sea"]}], "x", "every document is a string", id="strings"),
        pytest.param(
            [{"custom_id": "a", "body": {"model": "m", "query": "red", "documents": RECORDS}}], "x", "names 'x'", id="requests"
        ),
    ],
)
def test_field_that_no_document_has_is_refused_before_the_job(tmp_path, out, reranker, name, rows, rank_by, message):
    path = write_table(tmp_path / name, rows)
    with pytest.raises(InvalidInput, match=message):
        podium.batch(path, out, reranker=reranker, rank_by=rank_by)
    assert not out.exists()


def test_document_may_lack_some_of_the_fields(tmp_path, out, reranker):
    path = write_table(tmp_path / "in.jsonl", [{"query": "red sea", "documents": [*RECORDS, {"x": "red"}]}])
    assert podium.batch(path, out, reranker=reranker, rank_by=["title", "body"]).pairs == 2
    assert [row[2] for row in results_in(out)] == [0, 1]
    assert "has no field 'title', 'body'" in rejected_in(out)[0]["reason"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        pytest.param([{"query": "a", "text": "b"}], "columns={'query_id': '…', 'id': '…'}", id="pairs"),
        pytest.param(
            [{"query": "a", "query_id": "1", "documents": ["b"]}], "columns={'query_id': '…', 'ids': '…'}", id="lists"
        ),
        pytest.param(
            [{"custom_id": "a", "body": {"model": "m", "query": "red", "documents": ["b"]}}], "have no field id", id="requests"
        ),
    ],
)
def test_run_as_output_without_ids_is_refused_before_the_job(tmp_path, out, reranker, rows, message):
    path = write_table(tmp_path / "in.jsonl", rows)
    with pytest.raises(InvalidInput, match="output='run' needs") as refusal:
        podium.batch(path, out, reranker=reranker, output="run")
    assert message in str(refusal.value)
    assert not out.exists()


def test_run_as_output_can_have_ids_of_records(tmp_path, out, reranker):
    documents = [{"id": "x", "text": "sea"}, {"id": "y", "text": "red"}]
    path = write_table(tmp_path / "in.jsonl", [{"qid": 1, "query": "red", "documents": documents}])
    assert podium.batch(path, out, reranker=reranker, output="run").pairs == 2


def test_double_quote_that_is_not_closed_makes_one_bad_row(tmp_path, out, reranker):
    (tmp_path / "in.csv").write_bytes(b'query,text\nred,sea\nred,"sea\nred,sea\n')
    assert podium.batch(tmp_path / "in.csv", out, reranker=reranker).pairs == 1
    assert [row["reason"] for row in rejected_in(out)] == ["has a double quote that is not closed"]


def test_strict_job_stops_at_the_first_bad_row(tmp_path, out, reranker):
    path = write_table(tmp_path / "in.jsonl", [GOOD, {**GOOD, "text": None}])
    with pytest.raises(InvalidInput, match=r"in.jsonl, byte \d+: the document is null; correct or remove it"):
        podium.batch(path, out, reranker=reranker, strict=True)
    assert not list((out / "parts").iterdir())


def test_bad_rows_are_counted_again_by_a_job_that_is_continued(tmp_path, out, reranker):
    path = write_table(tmp_path / "in.jsonl", [{**GOOD, "text": None}, GOOD])
    first, second = (podium.batch(path, out, reranker=reranker) for _ in range(2))
    assert (first.rejected, second.rejected, second.complete_before) == (1, 1, 1)
