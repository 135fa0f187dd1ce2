"""podium eval: its tables, runs, report and first stages, and errors before anything is computed."""

from __future__ import annotations

import re
import threading

import pytest

from commands import run_in_process, run_in_subprocess
from fruit import write_json_lines
from lazy_modules import LazyModule
from podium.cli.first_stages import first_stage, first_stage_name, without_passwords
from podium.evaluation.collections import Collection
from redisearch import NAME, TEXT_INFO, answering
from resp import FakeRedis

ir_measures = LazyModule("ir_measures")


def test_tables_agree_with_ir_measures_on_the_written_runs(folder, tmp_path):
    code, out, err = run_in_subprocess(
        "eval", folder, "--reranker", "podium-mini", "--runs", tmp_path / "runs", "--metrics", "nDCG@10,AP"
    )
    assert code == 0, err
    table = {
        line.split()[0]: line.split()[-2:]
        for line in out.partition("Δ")[0].splitlines()
        if re.match(r"(first stage|podium-mini|ceiling) +\d", line)
    }
    qrels = {"q1": {"d1": 2, "d3": 1, "d4": 0}, "q2": {"d2": 1}}
    metrics = [ir_measures.nDCG @ 10, ir_measures.AP]
    for run_name, first_word in (("first-stage", "first"), ("podium-mini", "podium-mini")):
        run = list(ir_measures.read_trec_run(str(tmp_path / "runs" / f"{run_name}.run")))
        reference = ir_measures.calc_aggregate(metrics, qrels, run)
        assert [f"{reference[metric]:.4f}" for metric in metrics] == table[first_word]
    assert "95 % interval" in out
    assert "better/same/worse" in out
    assert all(len(line) <= 80 for line in out.splitlines())


def test_report_has_every_part_and_loads_nothing(folder, tmp_path):
    code, _, err = run_in_process("eval", folder, "--reranker", "podium-mini", "--report", tmp_path / "r.html")
    assert code == 0, err
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href|url\()=?.?(https?:)?//", page)
    for part in (
        "95 % interval",
        "Relevant documents among the first",
        "of each query against",
        "Distribution of scores",
        "Share of relevant documents at each score",
    ):
        assert part in page
    assert page.count("<svg") == page.count("</svg>")


def test_report_has_its_date_command_and_rerankers(folder, tmp_path):
    report = tmp_path / "r.html"
    code, _, err = run_in_process("eval", folder, "--reranker", "podium-mini", "--max-length", "64", "--report", report)
    assert code == 0, err
    page = report.read_text(encoding="utf-8")
    for name, value in (
        ("first stage", "BM25"),
        ("rerankers", r"podium-mini \(revision v1\)"),
        ("date", r"20\d\d-\d\d-\d\d \d\d:\d\d[+-]\d\d:\d\d"),
        ("command", f"podium eval {folder} --reranker podium-mini --max-length 64 --report {report}"),
    ):
        assert re.search(f"<dt>{name}</dt><dd>{value}</dd>", page), name


def test_report_has_no_passwords():
    text = "podium eval x --in redis://me:p@ss@host/i --embed a --in redis://host/i?db=0&password=secret --k 1"
    expected = "podium eval x --in redis://…@host/i --embed a --in redis://host/i?db=0&password=… --k 1"
    assert without_passwords(text) == expected
    name = "the index redis://…@host/i, with the embedder m"
    assert first_stage_name(None, "redis://:secret@host/i", "m") == name


def test_first_stage_can_be_a_run(folder, tmp_path):
    (tmp_path / "a.run").write_text("q1 Q0 d3 1 2.0 x\nq1 Q0 d1 2 1.0 x\n")
    code, out, err = run_in_process("eval", folder, "--run", tmp_path / "a.run", "--metrics", "RR@10")
    assert code == 0, err
    assert re.search(r"first stage +0\.5000", out)


def test_first_stage_can_be_an_index(folder, tmp_path):
    index = tmp_path / "index"
    assert run_in_process("index", folder / "corpus.jsonl", "--to", index, "--id", "_id", "--text", "text")[0] == 0
    code, out, err = run_in_process("eval", folder, "--in", index, "--metrics", "RR@10")
    assert code == 0, err
    assert re.search(r"first stage +0\.7500", out)


class ClosingServer(FakeRedis):
    """A server with an index of one document, `a:b`. `is_closed` is set when a connection is closed."""

    def __init__(self):
        super().__init__(answering({"FT.INFO": TEXT_INFO, "FT.SEARCH": [1, f"{NAME}:a:b", "2.5", ["content", "red"]]}))
        self.is_closed = threading.Event()

    def _serve(self, rfile, wfile):
        super()._serve(rfile, wfile)
        self.is_closed.set()


def test_index_of_a_first_stage_is_closed_and_its_ids_can_have_colons():
    collection = Collection("c", {"a:b": "red"}, {"q": "red"}, {"q": {"a:b": 1}})
    with ClosingServer() as server:
        with first_stage(collection, place=f"{server.url}/{NAME}") as stage:
            assert stage("q", "red", 5) == [("a:b", 2.5)]
            assert not server.is_closed.is_set()
        assert server.is_closed.wait(60)


def test_first_stage_can_be_filtered(folder, tmp_path):
    index = tmp_path / "index"
    assert run_in_process("index", folder / "corpus.jsonl", "--to", index, "--id", "_id", "--text", "text")[0] == 0
    code, out, err = run_in_process("eval", folder, "--in", index, "--filter", "@_id:{d2}", "--metrics", "RR@10")
    assert code == 0, err
    # Of the two queries, only the one whose relevant document is d2 has a result.
    assert re.search(r"first stage +0\.5000", out)


def test_unjudged_candidates_are_counted(tmp_path):
    (tmp_path / "judged.csv").write_text("query,document,grade,id\nred,apple,1,a7\nred,sea,,\nred,wine,,w1\n", encoding="utf-8")
    code, _, err = run_in_process("eval", tmp_path / "judged.csv", "--metrics", "nDCG@10")
    assert (code, err) == (0, "note: 2 of 3 candidates have no judgment; they count as not relevant\n")


def test_stored_scores_are_not_computed_again(folder, tmp_path):
    arguments = ("eval", folder, "--reranker", "podium-mini", "--metrics", "RR@10", "--scores", tmp_path / "scores")
    _, out, _ = run_in_process(*arguments)
    assert re.search(r"^podium-mini +\d+ +0\.\d+", out, re.MULTILINE)
    _, out, err = run_in_process(*arguments)
    assert re.search(r"^podium-mini +remembered", out, re.MULTILINE)
    assert "scores were remembered (in 2 of 2 queries)" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run", "{tmp}/unknown.run"], "documents that are not in the collection"),
        (["--run", "{tmp}/other.run"], "has no query that the collection judges; do their ids match?"),
        (["--run", "/dev/null"], "/dev/null has no lines"),
        (["--run", "{tmp}/a.run", "--in", "{tmp}/i"], "--run and --in are two first stages"),
        (["--filter", "x", "--timeout", "3"], "without an index to search (--in), leave out --filter, --timeout"),
        (["--metrics", "unknown"], "knows no metric"),
        (["--reranker", "unknown"], "there is no model"),
        (["--reranker", "podium-mini", "--metrics", "nDCG@0"], "cutoff must be a whole number from 1"),
        (["--reranker", "podium-mini", "--base-url", "http://127.0.0.1:9"], "--base-url is for hosted APIs"),
    ],
    ids=[
        "unknown document",
        "other queries",
        "empty run",
        "two first stages",
        "no index",
        "metric",
        "model",
        "cutoff",
        "option of hosted APIs",
    ],
)
def test_wrong_options_are_refused(folder, tmp_path, arguments, message):
    (tmp_path / "other.run").write_text("other Q0 d1 1 2.0 x\n")
    (tmp_path / "unknown.run").write_text("q1 Q0 unknown 1 2.0 x\n")
    code, _, err = run_in_process("eval", folder, *(argument.format(tmp=tmp_path) for argument in arguments))
    assert code == 2
    assert message in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--report", "{tmp}/none/x.html"], "--report: cannot write into {tmp}/none"),
        (["--report", "{tmp}"], "--report: cannot write {tmp}, which is a folder"),
        (["--runs", "{tmp}/file"], "--runs: cannot make the folder"),
    ],
    ids=["missing folder", "folder as report", "file as folder"],
)
def test_output_that_cannot_be_written_is_refused_before_scoring(folder, tmp_path, arguments, message):
    (tmp_path / "file").write_text("")
    arguments = [argument.format(tmp=tmp_path) for argument in arguments]
    code, out, err = run_in_process("eval", folder, "--reranker", "podium-mini", *arguments)
    assert (code, out) == (1, "")
    assert message.format(tmp=tmp_path) in err


def test_ids_with_spaces_are_refused_before_scoring_if_runs_are_written(folder, tmp_path):
    write_json_lines(folder / "corpus.jsonl", [{"_id": "d 1", "text": "a red apple"}])
    (folder / "qrels.tsv").write_text("q1\td 1\t1\n")
    code, out, err = run_in_process("eval", folder, "--reranker", "podium-mini", "--runs", tmp_path / "runs")
    assert (code, out) == (2, "")
    assert "the id 'd 1' has white space" in err


@pytest.mark.parametrize("name", ["ceiling", "first stage"])
def test_model_with_the_name_of_another_row_is_refused(folder, name):
    code, out, err = run_in_process("eval", folder, "--reranker", name)
    assert (code, out) == (2, "")
    assert f"two rows of the table would be named '{name}'" in err


def test_runs_that_would_have_one_file_are_refused_before_scoring(folder, tmp_path):
    code, out, err = run_in_process("eval", folder, "--reranker", "./m a", "--reranker", "./m-a", "--runs", tmp_path / "runs")
    assert (code, out) == (2, "")
    assert "--runs: ./m a and ./m-a would be written to the same file, .-m-a.run" in err
