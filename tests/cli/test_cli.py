"""The command line as a user has it: a process, its streams, its exit code."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys

import pytest

import loopback
from commands import command
from environment import PARITY
from podium.compose.calibrated import Calibration, write_calibration
from podium.errors import InvalidInput
from podium.formats import format_of, parse_documents


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "docs.txt"
    path.write_text("the sea at night\n\na ripe red apple\r\nnothing\n", encoding="utf-8")
    return path


def test_rank_prints_a_table(texts):
    code, out, err = command("rank", "a red fruit", texts)
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0].split() == ["rank", "score", "moved", "document"]
    assert lines[1].split()[0] == "1"
    assert "a ripe red apple" in lines[1]
    assert "▲1" in lines[1]
    assert len(lines) == 4


def test_rank_prints_json_for_machines(texts):
    code, out, _ = command("rank", "a red fruit", texts, "--json", "--limit", "1")
    ranking = json.loads(out)
    assert code == 0
    assert [result["document"] for result in ranking["results"]] == ["a ripe red apple"]
    assert ranking["usage"]["pairs"] == 3


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.jsonl", b'{"title": "x", "text": "the sea"}\n\n{"title": "y", "text": "a ripe red apple"}\n"a string"\nnull\n'),
        ("d.json", b'[{"text": "the sea"}, {"text": "a ripe red apple"}]'),
        ("d.csv", b'id,text\r\n1,the sea\r\n2,"a ripe red apple,\nand more"\r\n'),
        ("d.csv", b'id;text\r\n1;the sea, the sea\r\n2;"a ripe red apple; and more"\r\n'),
        ("d.tsv", b'id\ttext\n1\tthe sea\n2\ta ripe red apple, "so to say"\n'),
        ("d.tsv", b'id\ttext\n1\tthe sea\n2\t"a ripe red apple" they said, 3" wide\n'),
        ("d.txt", b"\xef\xbb\xbfthe sea\na ripe red apple\n"),
    ],
)
def test_rank_reads_every_format_from_files_and_standard_input(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    for code, out, _ in (
        command("rank", "a red fruit", tmp_path / name, "--json"),
        command("rank", "a red fruit", "-", "--json", "--format", name[2:], stdin=content),
    ):
        first = json.loads(out)["results"][0]["document"]
        assert code == 0
        assert "a ripe red apple" in (first if isinstance(first, str) else first["text"])


def test_standard_input_is_recognised_by_how_it_begins():
    assert format_of("", b'  {"a": 1}') == "jsonl"
    assert format_of("", b'"a"') == "jsonl"
    assert format_of("", b"[1]") == "json"
    assert format_of("", b"plain") == "txt"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("d.py", b"import this\n", "ends in .py, which is not a known kind of file; known: .txt, .text, .md, .jsonl"),
        ("d.pdf", b"%PDF-1.7\n\xff", "PDF file, not text: convert it to text first, for example with pdftotext"),
        ("d", b"%PDF-1.7\n\xff", "PDF file, not text: convert it to text first"),
        ("d.xlsx", b"PK\x03\x04", "XLSX file, not text: save it as CSV"),
    ],
)
def test_unknown_kinds_of_files_are_refused_with_what_is_known(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    code, out, err = command("rank", "q", tmp_path / name)
    assert (code, out) == (2, "")
    assert words in err


def test_any_text_is_read_line_by_line_where_its_format_is_named(tmp_path):
    for name, more in (("d.md", []), ("notes", []), ("d.py", ["--format", "txt"])):
        (tmp_path / name).write_text("# the sea\n\na red apple\n")
        code, out, err = command("rank", "apple", tmp_path / name, "--jsonl", *more)
        assert code == 0, err
        assert [json.loads(line)["document"] for line in out.splitlines()] == ["a red apple", "# the sea"]


def test_a_row_with_too_few_cells_names_the_delimiter():
    with pytest.raises(InvalidInput, match="line 2: not as many cells as the header, whose names are separated by semicolons"):
        parse_documents(b"a;b;c,d\n1;2\n", "csv", "docs")


def test_dotted_names_reach_into_nested_records(tmp_path):
    (tmp_path / "d.jsonl").write_text(
        '{"title": "Seas", "body": {"text": "the sea"}}\n{"title": "Fruit", "body": {"text": "a red apple"}}\n'
    )
    code, out, err = command("rank", "red apple", tmp_path / "d.jsonl", "--by", "title,body.text", "--csv")
    assert code == 0, err
    assert out.splitlines()[1].endswith(",Fruit · a red apple")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("titel", "did you mean 'title'?"),
        ("Title", "did you mean 'title'?"),
        ("text", "did you mean 'body.text'?"),
        ("title,Body.Text", "--by names 'Body.Text', which no document has; the first has 'title', 'body'; did you mean"),
        ("", "--by must name at least one field"),
    ],
)  # fmt: skip
def test_misspelt_fields_are_suggested(fields, words):
    content = b'{"title": "Seas", "body": {"text": "the sea"}}\n'
    code, _, err = command("rank", "q", "-", "--by", fields, stdin=content)
    assert code == 2
    assert words in err


def test_a_record_without_a_usual_text_field_is_told_the_option_to_use():
    code, _, err = command("rank", "q", "-", "--format", "csv", stdin=b"id,Title,Body\n1,a,b\n")
    assert code == 2
    assert err.rstrip().endswith("Name the fields to read, for example with --by Title,Body")


def test_fields_are_chosen(tmp_path):
    (tmp_path / "d.jsonl").write_text('{"a": "the sea", "b": "red apple"}\n{"a": "red apple", "b": "the sea"}\n')
    for field, best in (("a", 1), ("b", 0)):
        _, out, _ = command("rank", "red apple", tmp_path / "d.jsonl", "--by", field, "--json")
        assert json.loads(out)["results"][0]["index"] == best


def test_a_terminal_is_not_steered_by_a_document(tmp_path):
    (tmp_path / "d.txt").write_bytes("\x1b[31mred\x07 [bold]x[/bold]\u202e apple\n".encode())
    code, out, _ = command("rank", "red", tmp_path / "d.txt")
    assert code == 0
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "\u202e" not in out
    assert "[bold]x[/bold]" in out


def test_results_are_written_for_other_programs_with_their_ids(tmp_path):
    records = [{"_id": "s1", "text": "the sea"}, {"_id": "f2", "text": 'a "red" apple,\nripe'}, {"_id": "e3", "text": ""}]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, records)))
    for arguments in (["rank", "red apple", tmp_path / "d.jsonl"], ["search", "red apple sea", "--in", tmp_path / "d.jsonl"]):
        code, out, err = command(*arguments, "--jsonl")
        rows = [json.loads(line) for line in out.splitlines()]
        assert code == 0, err
        assert [(row["rank"], row["id"], row["document"]["text"]) for row in rows[:2]] == [
            (1, "f2", records[1]["text"]),
            (2, "s1", "the sea"),
        ]
        code, out, err = command(*arguments, "--csv")
        table = list(csv.DictReader(io.StringIO(out)))
        assert [(row["rank"], row["id"], row["text"]) for row in table[:2]] == [
            ("1", "f2", records[1]["text"]),
            ("2", "s1", "the sea"),
        ]
        assert [float(row["score"]) for row in table] == [row["score"] for row in rows]
    assert "have no text" in command("rank", "red apple", tmp_path / "d.jsonl", "--jsonl")[2]
    code, _, err = command("rank", "q", tmp_path / "d.jsonl", "--json", "--csv")
    assert (code, "cannot be used together" in err) == (2, True)


def test_tables_show_ids_and_piped_output_is_not_cut(tmp_path):
    text = "a red apple " * 200
    (tmp_path / "d.jsonl").write_text(json.dumps({"id": "some-long-identifier", "text": text}) + "\n")
    for columns in ("", "0", "nonsense"):  # no width that could be used, and no terminal
        _, out, _ = command("rank", "apple", tmp_path / "d.jsonl", COLUMNS=columns)
        assert out.splitlines()[1].split()[3] == "some-long-identifier"
        assert out.splitlines()[1].endswith(text.strip())
    _, out, _ = command("rank", "apple", tmp_path / "d.jsonl", COLUMNS="80")
    assert re.fullmatch(r" +1 +0\.\d{4} +=  some-long-i…  (a red apple )+a.*…", out.splitlines()[1])
    assert len(out.splitlines()[1]) == 80


@pytest.mark.parametrize("columns", ["1", "12", "39"])
def test_a_very_narrow_terminal_keeps_every_column(texts, columns):
    _, out, err = command("rank", "a red fruit", texts, COLUMNS=columns)
    assert (out.splitlines()[0].split(), err) == (["rank", "score", "moved", "document"], "")
    assert "▲1" in out.splitlines()[1]


def test_arrows_and_dots_have_forms_in_ascii(texts):
    for environment in ({"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "", "LC_ALL": "C", "PYTHONUTF8": "0"}):
        _, out, _ = command("rank", "a red fruit", texts, **environment)
        assert [line.split()[2] for line in out.splitlines()[1:]] == ["+1", "-1", "="]


def test_both_orders_stand_side_by_side_where_there_is_room(tmp_path):
    (tmp_path / "d.txt").write_text("the sea at night\nthe night, the sea and a red apple\n")
    asked = ["search", "the sea and red fruit", "--in", tmp_path / "d.txt"]
    wide, narrow = (command(*asked, COLUMNS=columns)[1].splitlines() for columns in ("120", "80"))
    assert wide[0].split() == ["rank", "reranked", "score", "moved", "as", "found", "score"]
    assert [line for line in narrow if line in ("reranked", "as found")] == ["reranked", "as found"]
    assert sum("apple" in line for line in narrow) == 2


def test_lines_fit_the_terminal(tmp_path):
    (tmp_path / "d.txt").write_text("word 東京 " * 100 + "\nshort\n", encoding="utf-8")
    for model in ("podium-mini", PARITY / "bert"):
        _, out, _ = command("rank", "q", tmp_path / "d.txt", "--model", model, COLUMNS="60")
        assert all(len(line) <= 60 for line in out.splitlines())


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["rank", "q", "nowhere.txt"], 2, "cannot read nowhere.txt: No such file"),
        (["rank", "q", "."], 2, "is a folder; name a file of documents"),
        (["rank", "", "-"], 2, "the query is empty"),
        (["rank", "q"], 2, "Missing argument"),
        (["rank", "q", "-", "--limit", "0"], 2, "limit"),
        (["rank", "q", "-", "--by", ""], 2, "--by must name at least one field"),
        (["rank", "q", "-", "--model", "coher:x"], 2, "did you mean cohere:x?"),
        (["rank", "q", "-", "--model", "cohere:x"], 2, "COHERE_API_KEY"),
        (["rank", "q", "-", "--model", "cohere:x", "--precision", "int8"], 2, "does not have the option --precision"),
        (["rank", "q", "-", "--base-url", "http://x"], 2, "does not have the option --base-url"),
        (["serve", "--base-url", "http://x"], 2, "--base-url is for hosted APIs"),
        (["serve", "--model", "cohere:m", "--max-length", "9"], 2, "--max-length is for models on this machine"),
        (["rank", "q", "-", "--format", "jsonl"], 2, "line 1: not valid JSON"),
        (["rank", "q", "-", "--model", "cohere:x", "--base-url", "http://127.0.0.1:9"], 1, "could not be reached"),
        (["rank", "q", "-", "--model", "acme/none"], 1, "check the connection"),
        (["check", "cohere:x"], 2, "check looks at models on this machine"),
        (["check", "podium-mino"], 2, "did you mean podium-mini?"),
        (["check", PARITY / "bert" / "nowhere"], 2, "no folder"),
        (["nonsense"], 2, "No such command"),
    ],
    ids=str,
)
def test_errors_are_a_line_with_the_remedy_and_an_exit_code(arguments, code, words):
    got, out, err = command(*arguments, stdin=b"some text\n")
    assert got == code
    assert words in err
    assert "Traceback" not in err
    assert out == ""
    if not err.startswith("Usage"):
        assert len(err.splitlines()) == 1
        assert err.startswith("podium: ")


@pytest.mark.parametrize(
    ("kind", "content", "words"),
    [
        ("txt", b"a\n\xff\xfe\n", "line 2: not UTF-8"),
        ("jsonl", b'{"a": 1}\n{"a": \n', "line 2: not valid JSON"),
        ("jsonl", b"[1]\n", "line 1: a document is a JSON string or object, not list"),
        ("json", b"{}", "one dict"),
        ("json", b"[5]", "item 0"),
        ("csv", b"a,b\n1\n", "line 2: not as many cells"),
        ("csv", b"a,b\n1,2,3\n", "line 2: not as many cells"),
        ("csv", b'a,b\n"1,2\n', "line"),
        ("csv", b"text,text\na,b\n", "has a column twice"),
        ("xlsx", b"", "no format 'xlsx'"),
    ],
)
def test_files_that_are_not_what_they_say_are_named_with_their_line(kind, content, words):
    with pytest.raises(InvalidInput, match=words):
        parse_documents(content, kind, "docs")


def test_an_empty_file_ranks_to_nothing_and_says_so(texts):
    code, out, _ = command("rank", "q", "-", "--json")
    assert code == 0
    assert json.loads(out)["results"] == []
    assert command("rank", "q", "-") == (0, "", "note: there are no documents, so nothing was ranked\n")
    code, out, err = command("rank", "q", texts, "--min-score", "2")
    assert (code, out) == (0, "")
    assert err == "note: none of 3 documents scores as much as --min-score\n"


def test_a_terminal_that_knows_only_ascii_is_no_error(texts):
    code, out, err = command("rank", "a red fruit", texts, PYTHONIOENCODING="ascii")
    assert (code, err) == (0, "")
    assert "a ripe red apple" in out
    code, out, err = command("rank", "q", "-", "--json", stdin=b'{"text": "a \\ud800 b"}')
    assert (code, err) == (0, "")


def test_a_full_disk_is_an_error_of_one_line(texts):
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    command = f'"{sys.executable}" -m podium rank "a red fruit" "{texts}" > /dev/full'
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.decode().startswith("podium: cannot write: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_csv_of_pandas_with_its_index_is_read():
    assert parse_documents(b",text\n0,a\n", "csv", "docs") == [{"": "0", "text": "a"}]


def test_a_reader_that_leaves_early_is_no_error(texts):
    command = f'"{sys.executable}" -m podium rank "a red fruit" "{texts}" | head -n 1'
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, timeout=60, env=os.environ | {"COLUMNS": "80"}
    )
    assert b"Traceback" not in done.stderr


def test_a_hosted_model_is_ranked_with(texts):
    with loopback.Loopback(loopback.cohere) as server:
        code, out, _ = command("rank", "red apple", texts, "--model", "cohere:m", "--base-url", server.url, COHERE_API_KEY="k")
    assert code == 0
    assert "a ripe red apple" in out.splitlines()[1]


def test_demo_puts_washington_first_twice():
    code, out, err = command("demo")
    firsts = [line for line in out.splitlines() if line.split()[:1] == ["1"]]
    assert (code, err) == (0, "")
    assert len(firsts) == 2
    assert all("Washington" in line for line in firsts)


def test_models_lists_what_there_is():
    code, out, err = command("models")
    assert (code, err) == (0, "")
    assert "podium-mini" in out
    assert "cohere:<model>" in out
    assert all(len(line) <= 80 for line in out.splitlines())


def test_check_describes_and_measures_a_model():
    code, out, _ = command("check", "podium-mini")
    assert code == 0
    for words in ("late interaction", "sigmoid", "512 tokens", "F16", "pairs/s", "ordered right"):
        assert words in out


def test_check_fails_on_a_model_that_cannot_rank():
    """These weights are random: one of these checkpoints orders the known pair wrong, and check says so."""
    codes = {name: command("check", PARITY / name) for name in ("ettin", "bert", "electra")}
    wrong = [out + err for code, out, err in codes.values() if code == 1]
    assert wrong
    assert all("ORDERED WRONG" in text for text in wrong)


def test_check_tells_what_a_download_would_take(tmp_path):
    with loopback.Loopback(loopback.Hub({"acme/bert": PARITY / "bert"})) as server:
        code, out, _ = command("check", "acme/bert", "--no-download", HF_ENDPOINT=server.url, HF_HOME=str(tmp_path))
        assert not [request for request in server.requests if "/resolve/" in request.path]
    assert code == 0
    assert "model.safetensors" in out


def test_help_tells_every_command_and_option():
    code, out, _ = command("--help")
    assert code == 0
    assert all(command in out for command in ("rank", "demo", "models", "check"))
    _, out, _ = command("rank", "-h")
    assert all(option in out for option in ("--by", "--model", "--limit", "--json", "--precision", "--min-score"))


def test_a_calibration_can_be_used_wherever_a_model_is_named(tmp_path, texts):
    fitted = Calibration("podium-mini", "v1", "platt", slope=0.5, offset=0.0)
    write_calibration(tmp_path / "c.json", fitted)
    write_calibration(tmp_path / "other.json", Calibration("other", None, "platt"))
    rows = ["query,document,grade"] + [
        f"a red fruit {n},a ripe red apple {n},1\na red fruit {n},the sea at night {n},0" for n in range(4)
    ]
    (tmp_path / "mine.csv").write_text("\n".join(rows))
    for arguments in (
        ["rank", "a red fruit", texts, "--json"],
        ["search", "a red apple", "--in", texts, "--json"],
        ["eval", tmp_path / "mine.csv", "--reranker", "podium-mini", "--metrics", "nDCG@10"],
        ["calibrate", "podium-mini", "--data", tmp_path / "mine.csv", "--out", tmp_path / "new.json"],
        ["check", "podium-mini"],
    ):
        code, out, err = command(*arguments, "--calibration", tmp_path / "c.json", "--max-length", "64")
        assert code == 0, err
        if "--json" in arguments:
            assert json.loads(out)["score_kind"] == "probability"
        assert command(*arguments, "--calibration", tmp_path / "other.json")[0] == 2
        code, _, err = command(*arguments, "--base-url", "http://127.0.0.1:9")
        assert (code, "--base-url" in err) == (2, True)
    assert "max_length" not in command("rank", "q", texts, "--model", "cohere:m", "--max-length", "3")[2]


INTERRUPTED = """
import os, signal, sys

class Finder:
    def find_spec(self, name, *_):
        if name == "podium.cli":
            os.kill(os.getpid(), signal.SIGINT)

class Stderr:
    def write(self, text):
        os.write(2, text.encode())
        if {again}:
            os.kill(os.getpid(), signal.SIGINT)

    def flush(self):
        pass

signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background leaves it ignored
sys.meta_path.insert(0, Finder())
sys.stderr = Stderr()
from podium.__main__ import main
main()
"""


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
@pytest.mark.parametrize(("again", "code"), [(False, 130), (True, -2)])
def test_an_interrupt_while_starting_prints_no_traceback(again, code):
    script = INTERRUPTED.format(again=again)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert done.stderr.startswith("podium: interrupted")


def test_indexing_names_its_own_option_and_reads_nested_fields(tmp_path):
    """The folder's index reports an argument of Python, which the command line writes as its option."""
    (tmp_path / "odd.jsonl").write_text('{"id": 1, "foo": "a"}\n', encoding="utf-8")
    code, _, error = command("index", tmp_path / "odd.jsonl", "--to", tmp_path / "odd")
    assert (code, "with --text foo" in error) == (2, True)
    (tmp_path / "nested.jsonl").write_text('{"id": 1, "body": {"text": "a red apple"}}\n', encoding="utf-8")
    assert command("index", tmp_path / "nested.jsonl", "--to", tmp_path / "nested", "--text", "body.text")[0] == 0
    found = json.loads(command("search", "apple", "--in", tmp_path / "nested", "--json")[1])
    assert [result["document"]["body"] for result in found["results"]] == [{"text": "a red apple"}]
    code, _, error = command("index", tmp_path / "nested.jsonl", "--to", tmp_path / "other", "--text", "body.txt")
    assert (code, "body.txt" in error) == (2, True)
