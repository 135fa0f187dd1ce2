"""podium batch."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from batches import as_lists, expected_results, pairs, results_in, write_table
from commands import run_in_process, run_in_subprocess
from loopback import wait_until

ROWS = pairs([3, 2, 4])


@pytest.fixture
def path(tmp_path):
    return write_table(tmp_path / "in.jsonl", as_lists(ROWS))


def test_results_are_written_and_counts_are_printed(path, tmp_path, mini):
    code, stdout, stderr = run_in_subprocess("batch", path, "--to", tmp_path / "out")
    assert (code, stderr.strip()) == (0, "")  # a job that takes longer than a second shows a progress bar
    assert stdout.startswith("9 pairs of 3 queries in 1 part; ")
    assert results_in(tmp_path / "out") == expected_results(ROWS, mini)
    code, stdout, _ = run_in_process("batch", path, "--to", tmp_path / "out")
    assert code == 0
    assert stdout == "9 pairs of 3 queries in 1 part, 1 of them earlier\n"


def test_options_have_the_names_of_the_command_line(tmp_path):
    rows = [{"q": "red", "a": "red", "b": "", "n": 1}, {"q": "red", "a": "", "b": "sea", "n": 2}]
    path = write_table(tmp_path / "in.parquet", rows)
    options = ("--columns", "query=q,id=n", "--by", "a,b", "--limit", "1", "--copy", "a", "--layout", "pairs")
    code, *_ = run_in_process("batch", path, "--to", tmp_path / "out", *options)
    assert code == 0
    assert [row[:4] for row in results_in(tmp_path / "out")] == [(None, "1", 0, 1)]


def test_bad_rows_are_a_note_and_exit_code_1(tmp_path):
    path = write_table(tmp_path / "in.jsonl", [{"query": "red", "documents": ["sea", None]}])
    code, stdout, stderr = run_in_process("batch", path, "--to", tmp_path / "out")
    assert (code, stdout.split(" in ")[0]) == (1, "1 pair of 1 query")
    assert f"note: 1 bad row was not scored; see {tmp_path / 'out' / 'rejected.parquet'}" in stderr.replace("\n", "")
    code, _, stderr = run_in_process("batch", path, "--to", tmp_path / "strict", "--strict")
    assert code == 2
    assert "byte 0, document 1: the document is null" in " ".join(stderr.split())


def test_truncation_is_a_note(path, tmp_path):
    code, _, stderr = run_in_process("batch", path, "--to", tmp_path / "out", "--max-length", "5")
    assert code == 0
    assert "note: 6 of 9 documents are longer than the model reads; see dropped_tokens (in 3 of 3 queries)\n" in stderr


def test_maximum_length_that_the_model_does_not_have_is_an_error(path, tmp_path):
    code, _, stderr = run_in_process("batch", path, "--to", tmp_path / "out", "--max-length", "5000")
    assert code == 2
    assert "--max-length 5000 is more than the 512 tokens that podium-mini reads; use at most as many" in stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--limit", "3"], "limit is 3, and was not set", id="other-job"),
        pytest.param(["--limit", "3"], "delete that output with --restart", id="remedy"),
        pytest.param(["--format", "run"], "--format is run, and was not set", id="format"),
        pytest.param(["--part-size", "9"], "--part-size is 9, and was 50000", id="part-size"),
        pytest.param(["--columns", "query"], "--columns must have entries such as query=question", id="columns"),
        pytest.param(["--by", "title,title"], "--by must name at least one field, and each field once", id="by"),
    ],
)
def test_errors_name_options(path, tmp_path, arguments, message):
    assert run_in_process("batch", path, "--to", tmp_path / "out")[0] == 0
    code, _, stderr = run_in_process("batch", path, "--to", tmp_path / "out", *arguments)
    assert code == 2
    assert message in " ".join(stderr.split())


@pytest.mark.parametrize("pattern", ["run*", "run?", "run[1]"])
def test_glob_that_resembles_a_command_is_an_input(tmp_path, monkeypatch, pattern):
    write_table(tmp_path / "in.jsonl", as_lists(ROWS)).rename(tmp_path / "run1")
    monkeypatch.chdir(tmp_path)
    code, stdout, _ = run_in_process("batch", pattern, "--format", "jsonl", "--to", tmp_path / "out")
    assert (code, stdout.split(";")[0]) == (0, "9 pairs of 3 queries in 1 part")


def test_price_of_machines_without_a_plan_is_refused_before_the_model_is_loaded(path, tmp_path):
    options = ("--model", "no-such-model", "--machine-price", "1")
    code, _, stderr = run_in_process("batch", path, "--to", tmp_path / "out", *options)
    assert code == 2
    assert "only --plan has the option --machine-price; leave it out" in " ".join(stderr.split())


def test_restart_is_an_option(path, tmp_path):
    assert run_in_process("batch", path, "--to", tmp_path / "out")[0] == 0
    assert run_in_process("batch", path, "--to", tmp_path / "out", "--limit", "1", "--restart")[0] == 0
    assert len(results_in(tmp_path / "out")) == 3


def test_interrupt_leaves_complete_parts_only(tmp_path, mini):
    # No two texts are equal, and there are so many that the interrupt also reaches a busy machine before the end.
    rows = [{**row, "text": f"{row['text']} {row['id']}"} for row in pairs([20] * 1000)]
    path = write_table(tmp_path / "in.parquet", rows)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "podium", "batch", path, "--to", out, "--part-size", "40"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: process.poll() is not None or len(list((out / "parts").glob("part-*"))) >= 2)
        process.send_signal(signal.SIGINT)
        stderr = process.communicate(timeout=120)[1]
    assert process.returncode == 130, stderr
    assert "note: complete parts remain; the same command continues the job\n" in stderr
    assert "podium: interrupted" in stderr
    assert not list(out.rglob("*.unfinished"))
    complete = results_in(out)
    assert 0 < len(complete) < len(rows)
    assert complete == expected_results(rows[: len(complete)], mini)
