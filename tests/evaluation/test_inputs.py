"""Evaluation with files, metrics and outputs that are not what they should be: found out before anything is computed."""

from __future__ import annotations

import json
import resource
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import podium
from commands import command
from fakes import WordOverlap
from podium.compose.stores.sqlite import SqliteScores
from podium.errors import InvalidInput, PodiumError
from podium.evaluation import collections, evaluate, metrics, runs


@pytest.mark.parametrize(
    "name",
    [
        "nDCG@0", "P@0", "RR@0", "Judged@0", "nDCG(dcg='exp-log2')@0", "nDCG@99999999999999999999", "nDCG@2.5", "AP@0.5",
        "nDCG@1e9", "P(rel=0)@5", "R(rel=99999999999)@10", "RBP(p=2)", "IPrec@5", "INST", "P@True",
    ],
)  # fmt: skip
def test_metric_that_cannot_be_computed_is_refused(name):
    with pytest.raises(InvalidInput, match=r"cutoff|rel |cannot compute|knows no metric"):
        metrics.checked_metrics([name])


def test_metrics_with_parameters_are_computed():
    names = ["nDCG@10", "P(rel=2)@5", "RR", "SetP", "Success@1"]
    assert metrics.checked_metrics(names) == tuple(names)


def test_command_refuses_a_cutoff_of_zero_before_it_scores(folder):
    code, out, err = command("eval", folder, "--reranker", "podium-mini", "--metrics", "nDCG@0")
    assert (code, out) == (2, "")
    assert "cutoff must be a whole number from 1" in err


@pytest.mark.parametrize("grade", ["10" + "0" * 30, "2147483647", "1e300", "-99999"])
def test_grade_out_of_range_is_refused(tmp_path, folder, grade):
    (tmp_path / "judged.csv").write_text(f"query,document,grade\na,b,{grade}\n")
    with pytest.raises(InvalidInput, match=r"line 2: grade must be empty or a whole number up to 10,000"):
        collections.read_collection(tmp_path / "judged.csv")
    (folder / "qrels.tsv").write_text(f"q1\td1\t{grade}\n")
    with pytest.raises(InvalidInput, match="line 1"):
        collections.read_qrels(folder / "qrels.tsv")


def test_candidates_without_a_header_keep_their_first_line(folder):
    for header in ("", "query-id\tcorpus-id\n", "query\n"):
        (folder / "candidates.tsv").write_text(f"{header}q1\td1\nq1\td4\n\nq2\td2\n")
        assert collections.read_collection(folder).candidates == {"q1": ["d1", "d4"], "q2": ["d2"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("q1\td1\nq1\n", "line 2: a candidate is"),
        ("q1 d1\nq1 d4\n", "line 2: a candidate is"),
        ("q1\n", "line 1: a candidate is"),
        ("q1\td9\n", "line 1: there is no document 'd9'"),
        ("q1\td1\nq1\td9\n", "line 2: there is no document 'd9'"),
    ],
)
def test_wrong_line_of_candidates_is_named(folder, content, message):
    (folder / "candidates.tsv").write_text(content)
    with pytest.raises(InvalidInput, match=message):
        collections.read_collection(folder)


def test_candidate_that_the_collection_lacks_is_named(folder):
    with pytest.raises(InvalidInput, match="q1' has the candidate 'd9'"):
        evaluate.rerank_run(collections.read_collection(folder), {"q1": {"d9": 1.0}}, podium.Reranker(WordOverlap()), "x", int)


def test_empty_query_is_named(folder, tmp_path):
    queries = [{"_id": "q1", "text": "red fruit"}, {"_id": "q2", "text": " "}]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    with pytest.raises(InvalidInput, match="the query 'q2' is empty"):
        collections.read_collection(folder)
    (tmp_path / "judged.csv").write_text("query,document,grade\na,b,1\n,b,1\n")
    with pytest.raises(InvalidInput, match="line 3: the query is empty"):
        collections.read_collection(tmp_path / "judged.csv")


@pytest.mark.parametrize("run", [{"q 1": {"a": 1.0}}, {"q": {"a b": 1.0}}, {"q": {"": 1.0}}, {"q": {"a\u2003b": 1.0}}])
def test_id_with_white_space_is_not_written_into_a_run(tmp_path, run):
    with pytest.raises(InvalidInput, match="white space"):
        runs.write_run(tmp_path / "x.run", run, "x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--report", "{tmp}/nope/x.html"), "--report: cannot write into {tmp}/nope"),
        (("--report", "{tmp}"), "--report: cannot write {tmp}, which is a folder"),
        (("--runs", "{tmp}/file"), "--runs: cannot make the folder"),
    ],
)
def test_place_that_cannot_be_written_is_found_before_anything_is_computed(folder, tmp_path, arguments, message):
    (tmp_path / "file").write_text("")
    arguments = [argument.format(tmp=tmp_path) for argument in arguments]
    code, out, err = command("eval", folder, "--reranker", "podium-mini", *arguments)
    assert (code, out) == (1, "")
    assert message.format(tmp=tmp_path) in err


def test_command_refuses_runs_with_ids_that_hold_spaces(folder, tmp_path):
    (folder / "corpus.jsonl").write_text('{"_id": "d 1", "text": "a red apple"}\n')
    (folder / "qrels.tsv").write_text("q1\td 1\t1\n")
    code, out, err = command("eval", folder, "--reranker", "podium-mini", "--runs", tmp_path / "runs")
    assert (code, out) == (2, "")
    assert "the id 'd 1' has white space" in err


def test_run_that_cannot_be_written_leaves_nothing(tmp_path):
    script = (
        "import resource, sys, podium\nfrom podium.evaluation.runs import write_run\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))\n"
        "try:\n    write_run(sys.argv[1], {'q': {str(number): 1.0 for number in range(1000)}}, 'x')\n"
        "except podium.PodiumError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "x.run")], capture_output=True, text=True, timeout=120)
    assert "cannot write" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_file_of_scores_that_fails_later_is_an_error_of_podium(tmp_path: Path):
    store = SqliteScores(tmp_path / "scores")
    store.put({b"a": (0.5, None, None, None, None, None)})
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limit[1]))
    try:
        with pytest.raises(PodiumError, match="not stored"):
            store.put({bytes([number]) * 20: (0.5, None, None, None, None, None) for number in range(200)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert store.get([b"a"]) == {b"a": (0.5, None, None, None, None, None)}
    store.close()


def test_file_of_scores_of_an_earlier_version_is_read(tmp_path):
    with sqlite3.connect(tmp_path / "old") as file:
        file.execute(
            "CREATE TABLE scores (key BLOB PRIMARY KEY, value REAL NOT NULL, raw REAL, tokens INTEGER, dropped INTEGER) "
            "WITHOUT ROWID"
        )
        file.execute("INSERT INTO scores VALUES (?, 0.5, 1.5, 3, 4)", (b"a",))
    file.close()
    store = SqliteScores(tmp_path / "old")
    store.put({b"b": (1.0, None, None, None, 2, 3)})
    assert store.get([b"a", b"b"]) == {b"a": (0.5, 1.5, 3, 4, None, None), b"b": (1.0, None, None, None, 2, 3)}
    store.close()


CSV_HEADER = "query,document,grade\n"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("what color,It is red, blue or green,1\n", "line 2: not as many cells as the header has"),
        ("red,apple\n", "line 2: not as many cells as the header has"),
        ('red,apple,1\nred,"sea,0\n', "unexpected end of data"),
        ("red,apple,1\nred,apple,0\n", "line 3: the document 'd1' has another grade for this query above"),
    ],
    ids=["unquoted comma", "missing cell", "unclosed quote", "two grades"],
)
def test_damaged_row_of_a_csv_is_refused(tmp_path, rows, message):
    (tmp_path / "judged.csv").write_text(CSV_HEADER + rows)
    with pytest.raises(InvalidInput, match=message):
        collections.read_collection(tmp_path / "judged.csv")


def test_csv_cell_may_hold_a_long_document(tmp_path):
    document = "apple " * 40_000
    (tmp_path / "judged.csv").write_text(f"{CSV_HEADER}red,{document},1\n")
    assert collections.read_collection(tmp_path / "judged.csv").documents == {"d1": document}


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
        collections.read_collection(folder)


@pytest.mark.parametrize("depth", [900, 990, 100_000])
def test_deeply_nested_json_is_an_error_or_a_text(folder, depth):
    (folder / "corpus.jsonl").write_text(f'{{"_id": "d1", "text": {"[" * depth}{"]" * depth}}}\n')
    code, _, error = command("eval", folder, "--metrics", "RR@10")
    assert code in (0, 2)
    assert "Traceback" not in error
    if depth == 100_000:
        assert "corpus.jsonl, line 1: not valid JSON, or nested too deeply" in error
