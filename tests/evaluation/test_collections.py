"""Test collections from BEIR folders, TREC files and CSVs, and the errors for damaged ones."""

from __future__ import annotations

import gzip

import pytest

from fruit import write_json_lines
from podium.errors import InvalidInput
from podium.evaluation.collections import read_collection, read_qrels, read_queries

CSV_HEADER = "query,document,grade\n"


@pytest.fixture
def csv_file(tmp_path):
    return tmp_path / "judged.csv"


def test_beir_folder_is_read(folder):
    collection = read_collection(folder)
    assert collection.name == "fruit"
    assert collection.documents == {
        "d1": "Apples a ripe red apple",
        "d2": "the red sea at night",
        "d3": "a green pear",
        "d4": "red red wine",
    }
    assert collection.queries == {"q1": "red fruit", "q2": "night sea"}
    assert collection.qrels == {"q1": {"d1": 2, "d3": 1, "d4": 0}, "q2": {"d2": 1}}


def test_other_files_of_a_beir_folder_are_read(folder):
    before = read_collection(folder)
    corpus = folder / "corpus.jsonl"
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress(corpus.read_bytes()))
    corpus.unlink()
    (folder / "candidates.tsv").write_text("query-id\tcorpus-id\nq1\td1\nq1\td4\n", encoding="utf-8")
    (folder / "qrels").mkdir()
    (folder / "qrels.tsv").rename(folder / "qrels" / "test.tsv")
    collection = read_collection(folder)
    assert (collection.documents, collection.qrels) == (before.documents, before.qrels)
    assert collection.candidates == {"q1": ["d1", "d4"]}


def test_trec_files_are_read(folder, tmp_path):
    topics, qrels = tmp_path / "topics", tmp_path / "qrels.txt"
    topics.write_text(
        "<top>\n<num> Number: q1\n<title> red\n fruit\n<desc> Description:\nlong\n</top>\n<top><num>q2<title>sea</top>"
    )
    qrels.write_text("q1 0 d1 2\nq1 0 d3 -1\n\nq2 0 d2 1\n")
    collection = read_collection(folder, queries=topics, qrels=qrels)
    assert collection.queries == {"q1": "red fruit", "q2": "sea"}
    assert collection.qrels == {"q1": {"d1": 2, "d3": -1}, "q2": {"d2": 1}}


def test_title_of_a_trec_topic_may_have_a_less_than_sign(folder, tmp_path):
    topics = tmp_path / "topics"
    topics.write_text("<top><num>q1<title>ph < 7 or <5 mm</title><desc>x</top><top><num>q2<title>a<b</top>")
    assert read_collection(folder, queries=topics).queries == {"q1": "ph < 7 or <5 mm", "q2": "a<b"}


def test_tag_of_trec_topics_in_a_json_query_is_text(tmp_path):
    (tmp_path / "q.jsonl").write_text('{"_id": "q1", "text": "what is <top><num>1<title> in html"}\n')
    assert read_queries(tmp_path / "q.jsonl") == {"q1": "what is <top><num>1<title> in html"}


def test_tab_separated_queries_are_read(tmp_path):
    (tmp_path / "q.tsv").write_text("q1\tred fruit\n\nq2\tthe sea\n")
    assert read_queries(tmp_path / "q.tsv") == {"q1": "red fruit", "q2": "the sea"}


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_csv_is_read(csv_file, delimiter):
    lines = ["query,document,grade", 'red,"apple, ripe; red",2', "red,sea,0", "blue,sea,1"]
    rows = [lines[0].replace(",", delimiter), f'red{delimiter}"apple, ripe; red"{delimiter}2']
    rows += [line.replace(",", delimiter) for line in lines[2:]]
    csv_file.write_text("\n".join(rows), encoding="utf-8")
    collection = read_collection(csv_file)
    assert collection.documents == {"d1": "apple, ripe; red", "d2": "sea"}
    assert collection.qrels == {"q1": {"d1": 2, "d2": 0}, "q2": {"d2": 1}}
    assert collection.candidates == {"q1": ["d1", "d2"], "q2": ["d2"]}


def test_csv_may_name_documents_and_leave_some_unjudged(csv_file):
    csv_file.write_text("query,document,grade,id\nred,apple,1,a7\nred,sea,,\nred,wine,,w1\n", encoding="utf-8")
    collection = read_collection(csv_file)
    assert collection.documents == {"a7": "apple", "d2": "sea", "w1": "wine"}
    assert (collection.qrels, collection.candidates) == ({"q1": {"a7": 1}}, {"q1": ["a7", "d2", "w1"]})


def test_csv_cell_may_hold_a_long_document(csv_file):
    document = "apple " * 40_000
    csv_file.write_text(f"{CSV_HEADER}red,{document},1\n")
    assert read_collection(csv_file).documents == {"d1": document}


def test_repeated_row_of_a_csv_is_read_once(csv_file):
    csv_file.write_text(f"{CSV_HEADER}red,apple,1\nred,apple,1\n")
    assert read_collection(csv_file).qrels == {"q1": {"d1": 1}}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("what color,It is red, blue or green,1\n", "line 2: not as many cells as the header"),
        ("red,apple\n", "line 2: not as many cells as the header"),
        ('red,apple,1\nred,"sea,0\n', "unexpected end of data"),
        ("red,apple,1\nred,apple,0\n", "line 3: the document 'd1' has another grade for this query above"),
        ("a,b,1\n,b,1\n", "line 3: the query is empty"),
        ("a,b,high\n", "line 2: a grade must be a whole number up to 10,000"),
    ],
    ids=["unquoted comma", "missing cell", "unclosed quote", "two grades", "empty query", "grade"],
)
def test_damaged_row_of_a_csv_is_refused(csv_file, rows, message):
    csv_file.write_text(CSV_HEADER + rows)
    with pytest.raises(InvalidInput, match=message):
        read_collection(csv_file)


def test_csv_id_of_two_documents_is_refused(csv_file):
    csv_file.write_text("query,document,grade,id\nred,apple,1,a7\nred,sea,0,a7\n", encoding="utf-8")
    with pytest.raises(InvalidInput, match="line 3: the id 'a7' is used for two documents"):
        read_collection(csv_file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("q,d\n", "has no column query, document, grade; it has q, d"),
        ("\n", "its first line is blank or missing; name the columns query, document, grade there"),
        ("", "its first line is blank or missing; name the columns query, document, grade there"),
    ],
    ids=["other columns", "blank line", "empty file"],
)
def test_csv_without_the_columns_is_refused(csv_file, content, message):
    csv_file.write_text(content)
    with pytest.raises(InvalidInput, match=message):
        read_collection(csv_file)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("qrels.tsv", "q1\td1\t1\nq1\td1\n", "line 2: a judgment is query, document and grade"),
        ("qrels.tsv", "q1\td1\t1\nq1\td2\thigh\n", "line 2: a grade must be a whole number"),
        ("qrels.tsv", "q9\td1\t1\n", "no query has a relevant document"),
        ("qrels.tsv", "", "has no judgments"),
        ("corpus.jsonl", "{", "line 1: not valid JSON"),
        ("corpus.jsonl", f'{{"_id": "d1", "text": {"[" * 100_000}{"]" * 100_000}}}', "line 1: .* nested too deeply"),
        ("corpus.jsonl", '{"_id": 1}', "line 1: has no 'text'"),
        ("corpus.jsonl", '{"text": "x"}', "line 1: has no '_id'"),
        ("queries.jsonl", "no tab here", "line 1: a line of queries has an id, a tab and the text"),
    ],
    ids=[
        "qrels of two columns",
        "grade",
        "unknown query",
        "no qrels",
        "JSON",
        "nested JSON",
        "no text",
        "no id",
        "queries without tabs",
    ],
)
def test_damaged_line_is_named(folder, name, content, message):
    (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(InvalidInput, match=message):
        read_collection(folder)


@pytest.mark.parametrize("depth", [900, 950, 990])
def test_text_nested_to_the_recursion_limit_is_read_or_refused(folder, depth):
    (folder / "corpus.jsonl").write_text(f'{{"_id": "d1", "text": {"[" * depth}{"]" * depth}}}\n')
    try:
        read_collection(folder)
    except InvalidInput as error:
        assert "nested too deeply" in str(error)  # noqa: PT017  the other outcome is right, too


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("corpus.jsonl", '{"_id": "d1", "text": "a"}\n{"_id": "d1", "text": "b"}\n', "line 2: the id 'd1' was used before"),
        ("queries.jsonl", '{"_id": "q1", "text": "a"}\n{"_id": "q1", "text": "b"}\n', "line 2: the id 'q1' was used before"),
        ("queries.jsonl", "q1\ta\nq1\tb\n", "line 2: the id 'q1' was used before"),
        ("queries.jsonl", "<top><num>q1<title>a</top><top><num>q1<title>b</top>", "the id 'q1' was used before"),
        ("qrels.tsv", "q1\td1\t1\nq2\td1\t1\nq1\td1\t0\n", "line 3: the document 'd1' is judged twice for the query 'q1'"),
    ],
    ids=["corpus", "queries as JSON lines", "queries as TSV", "TREC topics", "qrels"],
)
def test_repeated_id_is_refused(folder, name, content, message):
    (folder / name).write_text(content)
    with pytest.raises(InvalidInput, match=message):
        read_collection(folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [("none", "there is no "), ("", "has no qrels.tsv or .*name a folder in BEIR"), ("a.csv", "there is no file .*a.csv")],
    ids=["folder", "qrels", "CSV"],
)
def test_missing_file_is_named(tmp_path, name, message):
    with pytest.raises(InvalidInput, match=message):
        read_collection(tmp_path / name)


def test_damaged_gzip_file_is_refused(folder):
    compressed = gzip.compress((folder / "corpus.jsonl").read_bytes())
    (folder / "corpus.jsonl").unlink()
    (folder / "corpus.jsonl.gz").write_bytes(compressed[:20] + bytes(20) + compressed[40:])
    with pytest.raises(InvalidInput, match=r"cannot read .*corpus.jsonl.gz"):
        read_collection(folder)


@pytest.mark.parametrize("grade", ["10" + "0" * 30, "2147483647", "1e300", "-99999"])
def test_grade_out_of_range_is_refused(csv_file, folder, grade):
    csv_file.write_text(f"{CSV_HEADER}a,b,{grade}\n")
    with pytest.raises(InvalidInput, match=r"line 2: a grade must be a whole number up to 10,000"):
        read_collection(csv_file)
    (folder / "qrels.tsv").write_text(f"q1\td1\t{grade}\n")
    with pytest.raises(InvalidInput, match="line 1"):
        read_qrels(folder / "qrels.tsv")


@pytest.mark.parametrize("header", ["", "query-id\tcorpus-id\n", "query\n"], ids=["none", "two columns", "one column"])
def test_header_of_candidates_is_optional(folder, header):
    (folder / "candidates.tsv").write_text(f"{header}q1\td1\nq1\td4\n\nq2\td2\n")
    assert read_collection(folder).candidates == {"q1": ["d1", "d4"], "q2": ["d2"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("q1\td1\nq1\n", "line 2: a candidate is"),
        ("q1 d1\nq1 d4\n", "line 2: a candidate is"),
        ("q1\n", "line 1: a candidate is"),
        ("q1\td9\n", "line 1: there is no document 'd9'"),
        ("q1\td1\nq1\td9\n", "line 2: there is no document 'd9'"),
    ],
    ids=["no document", "spaces", "no document in line 1", "unknown document in line 1", "unknown document"],
)
def test_wrong_line_of_candidates_is_named(folder, content, message):
    (folder / "candidates.tsv").write_text(content)
    with pytest.raises(InvalidInput, match=message):
        read_collection(folder)


def test_empty_query_is_named(folder):
    write_json_lines(folder / "queries.jsonl", [{"_id": "q1", "text": "red fruit"}, {"_id": "q2", "text": " "}])
    with pytest.raises(InvalidInput, match="the query 'q2' is empty"):
        read_collection(folder)


def test_query_that_mentions_a_tag_of_topics_is_a_query(tmp_path):
    (tmp_path / "queries.tsv").write_text("q1\twhat does the <top> tag mean\n")
    assert read_queries(tmp_path / "queries.tsv") == {"q1": "what does the <top> tag mean"}
