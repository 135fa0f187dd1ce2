"""podium compare: TREC runs, which queries are compared, and agreement with podium eval."""

from __future__ import annotations

import re

import pytest

from commands import run_in_process, run_in_subprocess
from fruit import QRELS, QUERIES, write_json_lines


@pytest.fixture
def written_runs(folder, tmp_path):
    """The output of podium eval, and the files of the runs that it wrote. The collection has judgments of other queries."""
    write_json_lines(folder / "queries.jsonl", QUERIES[:2])
    (folder / "qrels.tsv").write_text(QRELS + "".join(f"other{n}\td1\t1\n" for n in range(50)), encoding="utf-8")
    runs = tmp_path / "runs"
    code, out, err = run_in_process("eval", folder, "--reranker", "podium-mini", "--runs", runs, "--metrics", "nDCG@10,RR@10")
    assert code == 0, err
    return out, [runs / "first-stage.run", runs / "podium-mini.run"]


def test_runs_are_compared(folder, tmp_path):
    for name, ranked in (("a", ("d4", "d1")), ("b", ("d1", "d4"))):
        lines = [f"q1 Q0 {document} {rank} {1 / rank} {name}" for rank, document in enumerate(ranked, start=1)]
        (tmp_path / f"{name}.run").write_text("\n".join(lines))
    arguments = ["compare", tmp_path / "a.run", tmp_path / "b.run", "--qrels", folder / "qrels.tsv", "--metrics", "RR@10"]
    code, out, err = run_in_subprocess(*arguments, "--queries", folder / "queries.jsonl")
    assert (code, err) == (0, "note: 1 of 2 judged queries have no documents in any run; their metrics are 0\n")
    assert re.search(r"^a +0\.2500", out, re.MULTILINE)
    assert re.search(r"^b +0\.5000", out, re.MULTILINE)
    assert re.search(r"q1 +0\.50 → 1\.00 +2 → 1 +red fruit", out)


@pytest.mark.parametrize(
    ("names", "message"),
    [(["a"], "two or more runs"), (["a", "none"], "there is no file"), (["a", "other"], "no run has a query that")],
    ids=["one run", "missing file", "other queries"],
)
def test_wrong_runs_are_refused(folder, tmp_path, names, message):
    for name in ("a", "other"):
        (tmp_path / f"{name}.run").write_text("unknown Q0 d1 1 1.0 x\n")
    code, _, err = run_in_process("compare", *(tmp_path / f"{name}.run" for name in names), "--qrels", folder / "qrels.tsv")
    assert code == 2
    assert message in err


def test_runs_of_eval_have_the_means_that_eval_printed(folder, written_runs):
    eval_out, files = written_runs
    means = re.search(r"first stage +(\S+) +(\S+)\npodium-mini +(\S+) +(\S+)", eval_out).groups()
    arguments = ["compare", *files, "--qrels", folder / "qrels.tsv", "--metrics", "nDCG@10,RR@10"]
    code, out, err = run_in_process(*arguments, "--queries", folder / "queries.jsonl")
    assert (code, err) == (0, "")
    assert re.search(r"first-stage +(\S+) +(\S+)\npodium-mini +(\S+) +(\S+)", out).groups() == means


def test_judged_queries_that_are_in_no_run_count_as_0_as_in_eval(folder, tmp_path, written_runs):
    _, files = written_runs
    (tmp_path / "half.run").write_text(
        "".join(line for line in files[1].read_text().splitlines(True) if line.startswith("q1 "))
    )
    arguments = ["compare", files[1], tmp_path / "half.run", "--qrels", folder / "qrels.tsv", "--metrics", "RR@10"]
    code, out, err = run_in_process(*arguments)
    assert code == 0, err
    assert "52 queries" in out
    assert re.search(r"podium-mini +0\.0385\nhalf +0\.0192", out)  # 2 / 52 and 1 / 52
    assert "50 of 52 judged queries have no documents in any run; their metrics are 0" in err
    code, out, err = run_in_process("eval", folder, "--run", tmp_path / "half.run", "--metrics", "RR@10")
    assert code == 0, err
    assert re.search(r"first stage +0\.5000", out)
    assert "1 of 2 judged queries have no documents in any run; their metrics are 0" in err


def test_output_of_a_batch_job_is_a_run(folder, tmp_path, written_runs):
    _, files = written_runs
    out = tmp_path / "reranked"
    job = ["batch", files[0], "--collection", folder, "--output", "run", "--to", out, "--part-size", "1"]
    assert run_in_process(*job)[0] == 0
    arguments = ["compare", files[1], out, "--qrels", folder / "qrels.tsv", "--queries", folder / "queries.jsonl"]
    code, table, err = run_in_process(*arguments)
    assert code == 0, err
    means = re.search(r"podium-mini +(.+)\nreranked +(.+)\n", table)
    assert means[1] == means[2]
    assert run_in_process("eval", folder, "--run", out)[0] == 0


def test_only_the_named_queries_are_compared(folder, tmp_path, written_runs):
    _, files = written_runs
    (tmp_path / "one.tsv").write_text("q2\tnight sea\n", encoding="utf-8")
    (tmp_path / "unknown.tsv").write_text("q9\tunknown\n", encoding="utf-8")
    arguments = ["compare", *files, "--qrels", folder / "qrels.tsv", "--queries"]
    assert "1 queries" in run_in_process(*arguments, tmp_path / "one.tsv")[1]
    code, _, err = run_in_process(*arguments, tmp_path / "unknown.tsv")
    assert (code, "has no query that" in err) == (2, True)
