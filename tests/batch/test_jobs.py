"""The results of batch jobs: equal to those of a plain loop, in every format and layout, however the input is divided."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import podium
from batches import as_lists, expected_results, pairs, rejected_in, results_in, write_table
from podium.batch.files import input_files
from podium.batch.parts import divided
from podium.batch.tables.lines import MAX_LINE_BYTES
from podium.errors import InvalidInput

SIZES = (3, 1, 30, 2, 2, 9, 1, 1, 1, 25)


@pytest.mark.parametrize("part_size", [1, 7, 1000])
@pytest.mark.parametrize(
    "name", ["in.parquet", "in.arrow", "in.jsonl", "in.jsonl.gz", "in.jsonl.zst", "in.csv", "in.csv.gz", "in.tsv"]
)
def test_pairs_in_every_format(tmp_path, out, reranker, name, part_size):
    rows = pairs(SIZES)
    path = write_table(tmp_path / name, rows)
    result = podium.batch(path, out, reranker=reranker, part_size=part_size)
    assert results_in(out) == expected_results(rows, reranker)
    assert (result.queries, result.pairs, result.rejected) == (len(SIZES), sum(SIZES), 0)


@pytest.mark.parametrize("part_size", [1, 7, 1000])
@pytest.mark.parametrize("name", ["in.parquet", "in.arrow", "in.jsonl", "in.jsonl.gz"])
def test_lists_in_every_format(tmp_path, out, reranker, name, part_size):
    rows = pairs(SIZES)
    path = write_table(tmp_path / name, as_lists(rows), rows_per_group=3)
    podium.batch(path, out, reranker=reranker, part_size=part_size)
    assert results_in(out) == expected_results(rows, reranker)


@pytest.mark.parametrize("name", ["in.parquet", "in.jsonl"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=12),
    rows_per_group=st.integers(1, 20),
    part_size=st.integers(1, 30),
)
def test_no_division_splits_loses_or_repeats_a_query(tmp_path_factory, reranker, name, sizes, rows_per_group, part_size):
    folder = tmp_path_factory.mktemp("job")
    rows = pairs(sizes)
    # The lines of JSON are padded, because the parts of such a file are thousands of bytes long.
    padded = [{**row, "other": "x" * 400} for row in rows]
    path = write_table(folder / name, padded, rows_per_group=rows_per_group)
    podium.batch(path, folder / "out", reranker=reranker, part_size=part_size)
    assert results_in(folder / "out") == expected_results(rows, reranker)


def test_large_input_has_many_parts_and_a_query_is_in_one_of_them(tmp_path, out, reranker):
    path = write_table(tmp_path / "in.parquet", pairs([10] * 20), rows_per_group=25)
    result = podium.batch(path, out, reranker=reranker, part_size=25)
    tables = [pq.read_table(part) for part in sorted((out / "parts").iterdir())]
    assert result.parts == len(tables) == 8
    queries = [set(table["query_id"].to_pylist()) for table in tables]
    assert sum(map(len, queries)) == 20


@pytest.mark.parametrize("rows_per_group", [1_000_000, 170, 7])
@pytest.mark.parametrize("characters", [10, 4000])
@pytest.mark.parametrize("layout", ["pairs", "lists", "records"])
@pytest.mark.parametrize("name", ["in.parquet", "in.jsonl"])
def test_parts_have_about_the_size_that_is_named(tmp_path, name, layout, characters, rows_per_group):
    """Neither the length of texts nor the number of rows per row group changes it."""
    rows = [{**row, "text": row["text"] + " x" * (characters // 2)} for row in pairs([10] * 100)]
    if layout != "pairs":
        rows = as_lists(rows)
    if layout == "records":
        rows = [{**row, "documents": [{"text": text, "tags": ["a"] * 5} for text in row["documents"]]} for row in rows]
    path = write_table(tmp_path / name, rows, rows_per_group=rows_per_group)
    lists = () if layout == "pairs" else ("documents",)
    parts = divided(input_files([path]), None, 200, lists)
    assert len(parts) in (5, 6)
    lengths = [part.stop - part.start for part in parts]
    assert max(lengths) < 1.3 * min(lengths)


@pytest.mark.parametrize("length", [100_000, 3_000_000, MAX_LINE_BYTES + 1_000], ids=["100 KB", "3 MB", "too-long"])
def test_long_first_line_does_not_change_the_size_of_parts(tmp_path, length):
    rows = pairs([10] * 2000)
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(json.dumps(row | {"text": row["text"] + " x" * 200}) for row in rows) + "\n")
    parts_without = len(divided(input_files([path]), None, 1000, ()))
    long_line = json.dumps({"query_id": "q", "query": "q", "doc_id": "d", "text": "x" * length})
    path.write_text(long_line + "\n" + path.read_text())
    assert len(divided(input_files([path]), None, 1000, ())) <= 2 * parts_without
    if length < path.stat().st_size / 4:
        assert len(divided(input_files([path]), None, 1000, ())) >= parts_without / 2


def test_file_with_one_line_that_is_too_long_is_one_part(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps({"text": "x" * MAX_LINE_BYTES}) + '\n{"text": "a"}\n')
    assert len(divided(input_files([path]), None, 1000, ())) == 1


def test_several_files_and_globs_are_read_in_order(tmp_path, out, reranker):
    rows = pairs([2, 3, 4])
    for number, name in enumerate(("b", "a", "c")):
        write_table(tmp_path / f"{name}.jsonl", [row for row in rows if row["query_id"] == f"q{number}"])
    podium.batch([tmp_path / "b.jsonl", tmp_path / "[ac].jsonl"], out, reranker=reranker)
    assert results_in(out) == expected_results(rows, reranker)
    assert set(pq.read_table(out / "parts")["file"].to_pylist()) == {str(tmp_path / f"{name}.jsonl") for name in "abc"}


def test_folder_has_its_files_as_input_without_hidden_ones(tmp_path, out, reranker):
    (tmp_path / "data" / "x=1").mkdir(parents=True)
    write_table(tmp_path / "data" / "x=1" / "a.parquet", pairs([2]))
    (tmp_path / "data" / "_SUCCESS").touch()
    assert podium.batch(tmp_path / "data", out, reranker=reranker).pairs == 2


def test_file_url_is_an_input(tmp_path, out, reranker):
    rows = pairs([2, 3])
    write_table(tmp_path / "a.parquet", rows)
    podium.batch(f"file://{tmp_path}/*.parquet", out, reranker=reranker)
    assert results_in(out) == expected_results(rows, reranker)


def test_limit_keeps_the_best_results_of_each_query(tmp_path, out, reranker):
    rows = pairs(SIZES)
    result = podium.batch(write_table(tmp_path / "in.csv", rows), out, reranker=reranker, limit=2)
    assert results_in(out) == expected_results(rows, reranker, limit=2)
    assert result.pairs == len(rows)


def test_columns_are_copied_with_their_types(tmp_path, out, reranker):
    table = pa.table({"query": ["red", "red"], "text": ["sea", "red"], "n": pa.array([1, None], pa.int16()), "t": [["a"], []]})
    pq.write_table(table, tmp_path / "in.parquet")
    podium.batch(tmp_path / "in.parquet", out, reranker=reranker, copy=["n", "t"])
    results = pq.read_table(out / "parts")
    assert results.schema.field("n").type == pa.int16()
    assert results.select(["index", "n", "t"]).to_pylist() == [
        {"index": 1, "n": None, "t": []},
        {"index": 0, "n": 1, "t": ["a"]},
    ]


def test_columns_of_json_are_copied_as_text(tmp_path, out, reranker):
    row = {"query": "red", "documents": ["sea"], "tag": "a", "n": 1.5, "r": {"a": None}, "none": None}
    podium.batch(write_table(tmp_path / "in.jsonl", [row]), out, reranker=reranker, copy=["tag", "n", "r", "none"])
    copied = pq.read_table(out / "parts").select(["tag", "n", "r", "none"]).to_pylist()
    assert copied == [{"tag": "a", "n": "1.5", "r": '{"a": null}', "none": None}]


def test_one_copied_column_can_be_a_string(tmp_path, out, reranker):
    path = write_table(tmp_path / "in.parquet", [{"query": "red", "text": "sea", "label": 1}])
    podium.batch(path, out, reranker=reranker, copy="label")
    assert pq.read_table(out / "parts")["label"].to_pylist() == [1]


@pytest.mark.parametrize(
    ("inputs", "to", "message"),
    [
        pytest.param(123, "out", "inputs must be a name or a list of names, not 123", id="number"),
        pytest.param([None], "out", "inputs must be a name", id="none"),
        pytest.param("in.jsonl", None, "None is not a valid path", id="output"),
    ],
)
def test_input_or_output_of_a_wrong_type_is_refused(reranker, inputs, to, message):
    with pytest.raises(InvalidInput, match=message):
        podium.batch(inputs, to, reranker=reranker)


def test_computed_pairs_are_those_that_were_scored(tmp_path, out, reranker):
    path = write_table(tmp_path / "in.jsonl", [{"query": "red", "documents": ["sea", " ", "red"]}])
    result = podium.batch(path, out, reranker=reranker)
    assert (result.pairs, result.computed_pairs) == (2, 2)


def test_other_names_of_columns(tmp_path, out, reranker):
    rows = [{"a": "red", "b": "red sea", "c": 7}, {"a": "red", "b": "sea", "c": 8}]
    path = write_table(tmp_path / "in.parquet", rows)
    podium.batch(path, out, reranker=reranker, columns={"query": "a", "document": "b", "id": "c"})
    assert results_in(out) == [(None, "7", 0, 1, 1.0), (None, "8", 1, 2, 0.0)]


def test_rank_by_reads_columns_of_pairs(tmp_path, out, reranker):
    rows = [{"query": "red sea", "title": "red", "body": "sea"}, {"query": "red sea", "title": "sea", "body": "blue"}]
    podium.batch(write_table(tmp_path / "in.csv", rows), out, reranker=reranker, rank_by=["title", "body"])
    assert [score for *_, score in results_in(out)] == [2.0, 1.0]


def test_records_in_lists_have_fields_and_ids(tmp_path, out, reranker):
    documents = [{"_id": "x", "title": "sea", "text": "nothing"}, {"_id": "y", "title": "red sea", "text": "red"}]
    path = write_table(tmp_path / "in.parquet", [{"qid": 5, "query": "red sea", "documents": documents}])
    podium.batch(path, out, reranker=reranker, rank_by="title")
    assert results_in(out) == [("5", "y", 1, 1, 2.0), ("5", "x", 0, 2, 1.0)]


def test_blank_document_is_last_and_marked(tmp_path, out, reranker):
    path = write_table(tmp_path / "in.jsonl", [{"query": "red", "documents": [" ", "sea"]}])
    assert podium.batch(path, out, reranker=reranker).rejected == 0
    rows = pq.read_table(out / "parts").select(["index", "no_text"]).to_pylist()
    assert rows == [{"index": 1, "no_text": False}, {"index": 0, "no_text": True}]


def test_position_is_that_of_the_row_in_its_file(tmp_path, out, reranker):
    rows = pairs([3, 2])
    path = write_table(tmp_path / "in.jsonl", rows)
    podium.batch(path, out, reranker=reranker)
    lines = path.read_bytes()
    for result in pq.read_table(out / "parts").to_pylist():
        assert lines[result["position"] :].startswith(b'{"query_id": "%s"' % result["query_id"].encode())
        assert result["id"].encode() in lines[result["position"] :].split(b"\n")[0]


def test_empty_input_has_an_empty_output(tmp_path, out, reranker):
    schema = pa.schema([("query", pa.string()), ("text", pa.string())])
    pq.write_table(schema.empty_table(), tmp_path / "in.parquet")
    assert podium.batch(tmp_path / "in.parquet", out, reranker=reranker).pairs == 0
    assert results_in(out) == []
    assert rejected_in(out) == []


def test_bundled_model_gives_the_scores_of_a_plain_loop(tmp_path, out, mini):
    rows = pairs([8, 20, 5])
    podium.batch(write_table(tmp_path / "in.parquet", rows), out, reranker=mini, part_size=10)
    assert results_in(out) == expected_results(rows, mini)
    tokens = pq.read_table(out / "parts").select(["tokens", "dropped_tokens"]).to_pylist()
    assert all(row["tokens"] > 0 and row["dropped_tokens"] == 0 for row in tokens)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"columns": {"query": "nope"}}, "no column 'nope'; it has 'query_id', 'query', 'id', 'text'", id="column"),
        pytest.param({"columns": {"documents": "text"}}, "has no column for 'documents'", id="value"),
        pytest.param({"layout": "lists"}, "no column documents or passages or texts", id="layout"),
        pytest.param({"copy": ["nope"]}, "copy names 'nope', which the input does not have; it has 'query_id'", id="copy"),
        pytest.param({"copy": ["id"]}, "already has a column 'id'", id="copy-taken"),
        pytest.param({"part_size": 0}, "part_size must be a positive whole number", id="part-size"),
        pytest.param({"format_name": "xml"}, "there is no format 'xml'", id="format"),
        pytest.param({"limit": 0}, "limit must be a positive whole number", id="limit"),
        pytest.param({"columns": "query=question"}, "columns must be a mapping", id="columns-string"),
        pytest.param({"copy": 7}, "copy must be a name or a list of names, not 7", id="copy-number"),
        pytest.param({"engine": "spark"}, "engine must be 'local' or 'ray', not 'spark'", id="engine"),
        pytest.param({"ray_actors": 2}, "only the engine ray has the option ray_actors; leave it out", id="ray-option"),
        pytest.param({"engine": "ray", "ray_cpus": 0}, "ray_cpus must be a positive whole number", id="ray-cpus"),
        pytest.param({"layuot": "lists"}, "did you mean layout", id="misspelled"),
    ],
)
def test_invalid_option_is_refused_before_the_folder_has_a_job(tmp_path, out, reranker, options, message):
    path = write_table(tmp_path / "in.parquet", pairs([2]))
    with pytest.raises(InvalidInput, match=message):
        podium.batch(path, out, reranker=reranker, **options)
    assert not (out / "manifest.json").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param("a.txt", b"x", "cannot tell the format of this file", id="unknown-ending"),
        pytest.param("a.parquet.gz", b"x", "cannot tell the format", id="compressed-parquet"),
        pytest.param("a.parquet", b"x" * 100, "cannot be read as a Parquet file", id="parquet"),
        pytest.param("a.arrow", b"x" * 100, "cannot be read as an Arrow file", id="arrow"),
        pytest.param("a.jsonl", b"x\n" * 100, "none of its first 1,000 lines is a JSON object", id="jsonl"),
        pytest.param("a.jsonl.gz", b"x" * 100, "cannot read", id="gzip"),
        pytest.param("a.csv", b"a,a\n1,2\n", "must name each column once", id="csv"),
    ],
)
def test_file_that_is_not_of_its_format_is_an_error(tmp_path, out, reranker, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInput, match=message):
        podium.batch(tmp_path / name, out, reranker=reranker)


def test_csv_without_a_header_is_refused_with_a_hint(tmp_path, out, reranker):
    text = "what is the longest sentence that has ever been written by anyone"
    (tmp_path / "in.csv").write_text(f"1,{text}?,a\n2,b,c\n")
    with pytest.raises(InvalidInput, match="If the first line is not a header, add one") as refusal:
        podium.batch(tmp_path / "in.csv", out, reranker=reranker)
    assert f"it has '1', '{text[:40]}…', 'a'." in str(refusal.value)


def test_file_without_the_columns_of_the_first_one_is_an_error(tmp_path, out, reranker):
    write_table(tmp_path / "a.parquet", pairs([1]))
    write_table(tmp_path / "b.parquet", [{"query_id": "q", "query": "a", "text": "b"}])
    with pytest.raises(InvalidInput, match=r"b.parquet has no column 'id', which .*a.parquet has"):
        podium.batch(tmp_path / "*.parquet", out, reranker=reranker)
    with pytest.raises(InvalidInput, match=r"a.parquet has ids in the column 'id', which .*b.parquet does not have"):
        podium.batch([tmp_path / "b.parquet", tmp_path / "a.parquet"], out, reranker=reranker)


def test_missing_and_repeated_inputs_are_errors(tmp_path, out, reranker):
    path = write_table(tmp_path / "a.jsonl", pairs([1]))
    with pytest.raises(InvalidInput, match=r"there is no file .*b\*\.jsonl"):
        podium.batch(tmp_path / "b*.jsonl", out, reranker=reranker)
    with pytest.raises(InvalidInput, match="is named twice"):
        podium.batch([path, tmp_path / "*.jsonl"], out, reranker=reranker)
    with pytest.raises(InvalidInput, match="must not have a user or a key"):
        podium.batch("s3://key:secret@bucket/a.jsonl", out, reranker=reranker)
    with pytest.raises(InvalidInput, match="cannot be opened"):
        podium.batch("nope://bucket/a.jsonl", out, reranker=reranker)


@pytest.mark.parametrize("name", ["in.parquet", "in.arrow"])
def test_file_that_is_damaged_in_the_middle_is_an_error_of_the_input(tmp_path, out, reranker, name):
    """The beginning and the end are intact, so the damage is found while rows are read."""
    path = write_table(tmp_path / name, pairs([20] * 20), rows_per_group=100)
    content = bytearray(path.read_bytes())
    content[200:-4000] = bytes(len(content) - 4200)
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=f"{name} cannot be read as an? (Parquet|Arrow) file"):
        podium.batch(path, out, reranker=reranker)
