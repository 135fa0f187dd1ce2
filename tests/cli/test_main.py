"""The command line as a process: exit codes, error messages, closed streams, interrupts and help."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import podium
from commands import run_in_process, run_in_subprocess
from environment import PARITY_MODELS


@pytest.mark.parametrize(
    ("arguments", "expected_code", "message"),
    [
        (["rank", "q", "nowhere.txt"], 2, "there is no file nowhere.txt; check its name"),
        (["rank", "q", "."], 2, "is a folder; name a file of documents"),
        (["rank", "", "-"], 2, "the query is empty"),
        (["rank", "q"], 2, "Missing argument"),
        (["rank", "q", "-", "--limit", "0"], 2, "limit"),
        (["rank", "q", "-", "--by", ""], 2, "--by must name at least one field"),
        (["search", "q", "--in", "no-such-index", "--by", ""], 2, "--by must name at least one field"),
        (["rank", "q", "-", "--model", "coher:x"], 2, "did you mean cohere:x?"),
        (["rank", "q", "-", "--model", "cohere:x"], 2, "COHERE_API_KEY"),
        (["rank", "q", "-", "--model", "cohere:x", "--precision", "int8"], 2, "does not have the option --precision"),
        (["rank", "q", "-", "--base-url", "http://x"], 2, "does not have the option --base-url"),
        (["serve", "--base-url", "http://x"], 2, "--base-url is for hosted APIs"),
        (["serve", "--model", "cohere:m", "--max-length", "9"], 2, "--max-length is for models on this machine"),
        (["rank", "q", "-", "--format", "jsonl"], 2, "line 1: not valid JSON"),
        (["rank", "q", "-", "--model", "cohere:x", "--base-url", "http://127.0.0.1:9"], 1, "could not be reached"),
        (["rank", "q", "-", "--model", "acme/none"], 1, "check the connection"),
        (["check", "cohere:x"], 2, "check describes models on this machine"),
        (["check", "podium-mino"], 2, "did you mean podium-mini?"),
        (["check", PARITY_MODELS / "bert" / "nowhere"], 2, "no folder"),
        (["check", "minilm"], 2, "there is no model 'minilm'; name a bundled one"),
        (["check", "acme/none:latest"], 2, "no name on the hub has a colon; name 'acme/none'"),
        (["search", "--in", "folder", "capital", "city"], 2, "Put quotation marks around a query of several words."),
        (["nonsense"], 2, "No such command"),
    ],
    ids=str,
)
def test_error_is_one_line_with_a_remedy_and_an_exit_code(arguments, expected_code, message):
    code, out, err = run_in_process(*arguments, stdin=b"some text\n")
    assert code == expected_code
    assert message in err
    assert "Traceback" not in err
    assert out == ""
    if not err.startswith("Usage"):
        assert len(err.splitlines()) == 1
        assert err.startswith("podium: ")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["rank", "q", "-", "--reranker", "m"], "Did you mean '--model'?"),
        (["eval", "d", "--model", "m"], "Did you mean '--reranker'?"),
        (["rank", "q", "-", "--top-n", "3"], "Did you mean '--limit'?"),
        (["search", "q", "--top-k", "3"], "Did you mean '--limit'?"),
        (["rank", "q", "--file", "d.txt"], "FILE is written without the name of an option."),
        (["index", "--input", "d.txt"], "FILE is written without the name of an option."),
        (["search", "q", "--input", "d.txt"], "Did you mean '--in'?"),
        (["rank", "q", "-", "--limt", "3"], "Did you mean '--limit'?"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_unknown_option_is_an_error_with_the_right_name(arguments, hint):
    code, out, err = run_in_process(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("Usage: podium")
    assert hint in err


RANK_WITHOUT_MEMORY = """
import resource
from podium.cli import main
resource.setrlimit(resource.RLIMIT_AS, (1_000_000_000, 1_000_000_000))
main(["rank", "q", "-"])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="not every other system can limit the memory of a process")
def test_input_that_does_not_fit_into_memory_is_an_error():
    with open("/dev/zero", "rb") as endless:
        process = subprocess.run(
            [sys.executable, "-c", RANK_WITHOUT_MEMORY], stdin=endless, capture_output=True, text=True, timeout=120
        )
    assert (process.returncode, process.stdout) == (1, "")
    assert process.stderr.startswith("podium: there is not enough memory; use a smaller file")
    assert len(process.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "expected_code"),
    [(["nonsense"], 2), (["rank", "", "-"], 2), (["rank", "q", "-", "--model", "acme/none"], 1)],
    ids=["command", "query", "network"],
)
def test_process_exits_with_the_code(arguments, expected_code):
    code, out, err = run_in_subprocess(*arguments, stdin=b"some text\n")
    assert (code, out) == (expected_code, "")
    assert "Traceback" not in err


def test_full_disk_is_an_error_of_one_line(text_file):
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    script = f'"{sys.executable}" -m podium rank "a red fruit" "{text_file}" > /dev/full'
    process = subprocess.run(["bash", "-c", script], capture_output=True, timeout=60)
    assert process.returncode == 1
    assert process.stderr.decode().startswith("podium: cannot write: ")
    assert len(process.stderr.splitlines()) == 1


def test_reader_that_closes_the_pipe_is_not_an_error(text_file):
    script = f'set -o pipefail; "{sys.executable}" -m podium rank "a red fruit" "{text_file}" | head -n 1'
    process = subprocess.run(["bash", "-c", script], capture_output=True, timeout=60, env=os.environ | {"COLUMNS": "80"})
    assert b"Traceback" not in process.stderr


def run_in_bash(command):
    """Run a command of podium in bash, with its redirections, and return its exit code and what it printed."""
    script = f'"{sys.executable}" -m podium {command}'
    process = subprocess.run(["bash", "-c", script], capture_output=True, timeout=60, text=True)
    return process.returncode, process.stdout, process.stderr


@pytest.mark.skipif(os.name == "nt", reason="bash is needed")
def test_command_does_its_work_without_stdout_and_reports_what_it_cannot_print(text_file, tmp_path):
    run_in_bash(f'index "{text_file}" --to "{tmp_path}/index" >&-')
    assert len(podium.EmbeddedIndex.open(tmp_path / "index")) > 0
    code, _, error = run_in_bash(f'rank "a red fruit" "{text_file}" >&-')
    assert code == 1
    assert error.startswith("podium: cannot write: Bad file descriptor; check that stdout is open")
    assert len(error.splitlines()) == 1


@pytest.mark.skipif(os.name == "nt", reason="bash is needed")
def test_messages_are_not_written_to_stdout_if_stderr_is_closed(text_file):
    assert run_in_bash('rank "a red fruit" missing.txt 2>&-') == (2, "", "")
    code, output, _ = run_in_bash(f'rank "a red fruit" "{text_file}" --jsonl <&- 2>&-')
    assert (code, output[:1]) == (0, "{")


INTERRUPTED = """
import os, signal, sys

class Finder:
    def find_spec(self, name, *_):
        if name == "podium.cli":
            os.kill(os.getpid(), signal.SIGINT)

class Stderr:
    def write(self, text):
        os.write(2, text.encode())
        if {is_repeated}:
            os.kill(os.getpid(), signal.SIGINT)

    def flush(self):
        pass

signal.signal(signal.SIGINT, signal.default_int_handler)  # tests that run in the background and their children ignore it
sys.meta_path.insert(0, Finder())
sys.stderr = Stderr()
from podium.__main__ import main
main()
"""


@pytest.mark.skipif(os.name == "nt", reason="only POSIX has this signal")
@pytest.mark.parametrize(("is_repeated", "code"), [(False, 130), (True, -2)], ids=["once", "twice"])
def test_interrupt_during_start_prints_no_traceback(is_repeated, code):
    """The script interrupts itself while podium.cli is imported, and again while the message is written."""
    script = INTERRUPTED.format(is_repeated=is_repeated)
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (process.returncode, "Traceback" in process.stderr) == (code, False)
    assert process.stderr.startswith("podium: interrupted")


def test_help_has_every_command():
    code, out, _ = run_in_subprocess("--help")
    assert code == 0
    names = ("rank", "index", "search", "serve", "key", "eval", "compare", "calibrate", "demo", "models", "check")
    assert all(name in out for name in names)


def test_help_of_a_command_has_every_option():
    _, out, _ = run_in_process("rank", "-h")
    options = ("--by", "--model", "--limit", "--min-score", "--format", "--json", "--jsonl", "--csv", "--precision")
    assert all(option in out for option in options)
