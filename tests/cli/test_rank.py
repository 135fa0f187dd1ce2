"""podium rank: the formats it reads, the fields it ranks by, and its outputs for other programs."""

from __future__ import annotations

import csv
import io
import json

import pytest

import loopback
import podium
from commands import run_in_process, run_in_subprocess
from environment import NEEDS_CORE
from language_models import PROMPT_MODELS


def test_table_is_printed(text_file):
    code, out, err = run_in_subprocess("rank", "a red fruit", text_file)
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0].split() == ["rank", "score", "moved", "document"]
    assert lines[1].split()[0] == "1"
    assert "a ripe red apple" in lines[1]
    assert "▲1" in lines[1]
    assert len(lines) == 4


def test_json_is_printed(text_file):
    code, out, _ = run_in_process("rank", "a red fruit", text_file, "--json", "--limit", "1")
    ranking = json.loads(out)
    assert code == 0
    assert [result["document"] for result in ranking["results"]] == ["a ripe red apple"]
    assert ranking["usage"]["pairs"] == 3


@pytest.mark.parametrize("source", ["file", "standard input"])
@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("jsonl", b'{"title": "x", "text": "the sea"}\n\n{"title": "y", "text": "a ripe red apple"}\n"a string"\nnull\n'),
        ("json", b'[{"text": "the sea"}, {"text": "a ripe red apple"}]'),
        ("csv", b'id,text\r\n1,the sea\r\n2,"a ripe red apple,\nand more"\r\n'),
        ("csv", b'id;text\r\n1;the sea, the sea\r\n2;"a ripe red apple; and more"\r\n'),
        ("tsv", b'id\ttext\n1\tthe sea\n2\ta ripe red apple, "a fruit"\n'),
        ("tsv", b'id\ttext\n1\tthe sea\n2\t"a ripe red apple" as quoted, 3" wide\n'),
        ("txt", b"\xef\xbb\xbfthe sea\na ripe red apple\n"),
    ],
    ids=["jsonl", "json", "csv", "csv with semicolons", "tsv", "tsv with quotation marks", "txt with a byte order mark"],
)
def test_every_format_is_read(tmp_path, source, kind, content):
    file = tmp_path / f"documents.{kind}"
    file.write_bytes(content)
    arguments, stdin = ([file], b"") if source == "file" else (["-", "--format", kind], content)
    code, out, err = run_in_process("rank", "a red fruit", *arguments, "--json", stdin=stdin)
    assert code == 0, err
    document = json.loads(out)["results"][0]["document"]
    assert "a ripe red apple" in (document if isinstance(document, str) else document["text"])


def test_standard_input_of_a_process_is_read():
    code, out, err = run_in_subprocess("rank", "a red fruit", "-", stdin=b"the sea\na ripe red apple\n")
    assert code == 0, err
    assert "a ripe red apple" in out.splitlines()[1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.py", b"import this\n", "ends in .py, which is not a known kind of file; known: .txt, .jsonl, .json, .csv"),
        ("d.txt", b"%PDF-1.7\n\xff", "PDF file, not text: convert it to text first, for example with pdftotext"),
        ("d.pdf", b"%PDF-1.7\n\xff", "PDF file, not text: convert it to text first, for example with pdftotext"),
        ("d", b"%PDF-1.7\n\xff", "PDF file, not text: convert it to text first"),
        ("d.xlsx", b"PK\x03\x04", "XLSX file, not text: save it as CSV"),
    ],
    ids=["source code", "PDF named as text", "PDF", "PDF without an ending", "spreadsheet"],
)
def test_unknown_kind_of_file_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    code, out, err = run_in_process("rank", "q", tmp_path / name)
    assert (code, out) == (2, "")
    assert message in err


def test_query_and_file_that_are_swapped_are_named(tmp_path):
    (tmp_path / "d.txt").write_text("a red apple\n")
    code, _, err = run_in_process("rank", tmp_path / "d.txt", "red fruit")
    assert (code, "the query comes first: podium rank QUERY" in " ".join(err.split())) == (2, True)


@pytest.mark.parametrize(
    ("name", "options"), [("d.md", []), ("notes", []), ("d.py", ["--format", "txt"])], ids=["md", "no ending", "--format"]
)
def test_text_is_read_line_by_line(tmp_path, name, options):
    (tmp_path / name).write_text("# the sea\n\na red apple\n")
    code, out, err = run_in_process("rank", "apple", tmp_path / name, "--jsonl", *options)
    assert code == 0, err
    assert [json.loads(line)["document"] for line in out.splitlines()] == ["a red apple", "# the sea"]


def test_empty_standard_input_gives_an_empty_ranking():
    code, out, _ = run_in_process("rank", "q", "-", "--json")
    assert code == 0
    assert json.loads(out)["results"] == []
    assert run_in_process("rank", "q", "-") == (0, "", "note: there are no documents to rank\n")


def test_minimum_score_that_no_document_reaches_is_noted(text_file):
    note = "note: none of 3 documents reached the minimum score, so there is no result\n"
    assert run_in_process("rank", "q", text_file, "--min-score", "2") == (0, "", note)


def test_fields_of_a_text_file_are_refused(text_file):
    code, out, err = run_in_process("rank", "q", text_file, "--by", "title")
    assert (code, out) == (2, "")
    assert err == "podium: --by names fields, but every document is a string, which has none; leave it out\n"


@pytest.mark.parametrize(("field", "index"), [("a", 1), ("b", 0)])
def test_named_field_is_read(tmp_path, field, index):
    (tmp_path / "d.jsonl").write_text('{"a": "the sea", "b": "red apple"}\n{"a": "red apple", "b": "the sea"}\n')
    _, out, _ = run_in_process("rank", "red apple", tmp_path / "d.jsonl", "--by", field, "--json")
    assert json.loads(out)["results"][0]["index"] == index


def test_dotted_name_reads_a_nested_record(tmp_path):
    (tmp_path / "d.jsonl").write_text(
        '{"title": "Seas", "body": {"text": "the sea"}}\n{"title": "Fruit", "body": {"text": "a red apple"}}\n'
    )
    code, out, err = run_in_process("rank", "red apple", tmp_path / "d.jsonl", "--by", "title,body.text", "--csv")
    assert code == 0, err
    assert out.splitlines()[1].endswith(",Fruit · a red apple")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("titel", "did you mean 'title'?"),
        ("Title", "did you mean 'title'?"),
        ("text", "did you mean 'body.text'?"),
        ("title,Body.Text", "--by names 'Body.Text', which no document has; the first has 'title', 'body'; did you mean"),
        ("", "--by must name at least one field"),
    ],
    ids=["misspelt", "capital", "nested", "one of two", "empty"],
)
def test_unknown_field_is_refused_with_a_suggestion(fields, message):
    content = b'{"title": "Seas", "body": {"text": "the sea"}}\n'
    code, _, err = run_in_process("rank", "q", "-", "--by", fields, stdin=content)
    assert code == 2
    assert message in err


def test_record_without_a_usual_text_field_is_refused_and_the_error_suggests_by():
    code, _, err = run_in_process("rank", "q", "-", "--format", "csv", stdin=b"id,Title,Body\n1,a,b\n")
    assert code == 2
    assert err.rstrip().endswith("Name the fields to read, for example with --by Title,Body")


@pytest.mark.parametrize("name", ["rank", "search"])
def test_rows_for_other_programs_have_ids(tmp_path, name):
    records = [{"_id": "s1", "text": "the sea"}, {"_id": "f2", "text": 'a "red" apple,\nripe'}, {"_id": "e3", "text": ""}]
    file = tmp_path / "d.jsonl"
    file.write_text("\n".join(map(json.dumps, records)))
    arguments = ["rank", "red apple", file] if name == "rank" else ["search", "red apple sea", "--in", file]
    code, out, err = run_in_process(*arguments, "--jsonl")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0, err
    best = [(1, "f2", records[1]["text"]), (2, "s1", "the sea")]
    assert [(row["rank"], row["id"], row["document"]["text"]) for row in rows[:2]] == best
    code, out, err = run_in_process(*arguments, "--csv")
    table = list(csv.DictReader(io.StringIO(out)))
    assert [(int(row["rank"]), row["id"], row["text"]) for row in table[:2]] == best
    assert [float(row["score"]) for row in table] == [row["score"] for row in rows]


def test_document_without_text_is_noted_beside_json_lines():
    _, out, err = run_in_process("rank", "red apple", "-", "--jsonl", stdin=b'{"text": "a"}\n{"text": ""}\n')
    assert len(out.splitlines()) == 2
    assert "have no text" in err


def test_only_one_output_can_be_chosen(text_file):
    code, _, err = run_in_process("rank", "q", text_file, "--json", "--csv")
    assert (code, "--json and --csv cannot be used together" in err) == (2, True)


def test_hosted_model_is_used(text_file):
    with loopback.Loopback(loopback.cohere) as server:
        arguments = ("rank", "red apple", text_file, "--model", "cohere:m", "--base-url", server.url)
        code, out, _ = run_in_process(*arguments, COHERE_API_KEY="k")
    assert code == 0
    assert "a ripe red apple" in out.splitlines()[1]


@pytest.mark.parametrize("text", ["a\rb", "a\r\nb", "a\nb", 'a"b', "a,b"], ids=ascii)
def test_csv_has_each_text_in_one_cell(tmp_path, text):
    (tmp_path / "d.jsonl").write_text(json.dumps({"text": text}) + '\n{"text": "c"}\n')
    code, out, _ = run_in_process("rank", "a", tmp_path / "d.jsonl", "--csv")
    rows = list(csv.DictReader(io.StringIO(out, newline="")))
    assert code == 0
    expected_text = text.replace("\r\n", "\n").replace("\r", "\n")  # run_in_process turns every end of a line into \n
    assert sorted(row["text"] for row in rows) == sorted([expected_text, "c"])


LONG = "The sea is blue at night. " * 200 + "The best red fruit is a ripe apple."


@pytest.fixture
def long_file(tmp_path):
    path = tmp_path / "long.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in ({"title": "Notes", "text": LONG}, {"text": "the sea"})))
    return path


def test_passages_are_shown_and_nothing_is_left_unread(long_file):
    code, out, err = run_in_process("rank", "a red fruit", long_file, "--passages", "--title", "title", COLUMNS="")
    assert code == 0
    assert out.splitlines()[1].endswith("The best red fruit is a ripe apple.")
    assert len(out.splitlines()[1]) < len(LONG)
    assert "longer than the model reads" not in err
    assert "1 of 2 documents were read in passages" in err


def test_passages_are_in_the_output_for_programs(long_file):
    _, out, _ = run_in_process("rank", "a red fruit", long_file, "--passages", "--json")
    passage = json.loads(out)["results"][0]["passage"]
    assert passage["text"] == LONG[passage["start"] : passage["end"]]
    _, out, _ = run_in_process("rank", "a red fruit", long_file, "--passages", "--csv")
    row = next(csv.DictReader(io.StringIO(out)))
    assert (row["passage_start"], row["passage_end"]) == (str(passage["start"]), str(passage["end"]))


def test_note_about_long_documents_names_the_option(long_file):
    _, _, err = run_in_process("rank", "a red fruit", long_file)
    assert "note: with --passages, the model reads them completely" in err
    assert "TruncationWarning" not in err


def test_title_needs_passages(long_file):
    code, _, err = run_in_process("rank", "a red fruit", long_file, "--title", "title")
    assert code == 2
    assert "--title title needs --passages" in err


@NEEDS_CORE
def test_instruction_of_a_language_model(tmp_path):
    file = tmp_path / "documents.txt"
    file.write_text("a river\nthe sea at night\ntrees 1 2 3\n")
    model = PROMPT_MODELS / "Qwen3-Reranker-0.6B"
    code, out, _ = run_in_process("rank", "a river?", file, "--model", model, "--jsonl", "--instruction", "Prefer fish")
    assert code == 0
    with podium.load(model, instruction="Prefer fish") as reranker:
        expected = [result.score for result in reranker.rerank("a river?", file.read_text().splitlines())]
    assert [json.loads(line)["score"] for line in out.splitlines()] == expected


def test_instruction_is_refused_by_other_models(tmp_path):
    file = tmp_path / "documents.txt"
    file.write_text("a river\n")
    code, _, err = run_in_process("rank", "a river?", file, "--instruction", "Prefer fish")
    assert code == 2
    assert "podium-mini does not read instructions, as language models do, so it does not have the option --instruction" in err
    code, _, err = run_in_process("rank", "a river?", file, "--instruction", "Prefer fish", "--model", "cohere:rerank-v3.5")
    assert code == 2
    assert "--instruction; leave it out" in err
