"""podium search: output, pages, and the options of sources."""

from __future__ import annotations

import dataclasses
import json

import pytest

import podium
from commands import run_in_process
from podium.cli import podium as podium_command
from podium.places import SourceOptions
from resp import FakeRedis, encode_reply

DOCUMENTS = [
    {"title": "Nevada", "body": "Carson City is the capital city of Nevada."},
    {"title": "Capital punishment", "body": "has existed in the United States for centuries."},
    {"title": "Washington", "body": "D.C. is the capital of the United States."},
    {"title": "Bread", "body": "Flour and water."},
]
QUERY = "capital of the United States"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "docs.jsonl"
    path.write_text("\n".join(map(json.dumps, DOCUMENTS)), encoding="utf-8")
    return path


def test_narrow_terminal_shows_reranked_results_above_candidates(file):
    code, out, err = run_in_process("search", QUERY, "--in", file, "--text", "title,body", "--limit", "2")
    lines = out.splitlines()
    assert code == 0, err
    assert (lines[0], lines[5]) == ("reranked", "as found")
    assert lines[1].split() == ["rank", "score", "moved", "id", "document"]
    assert [line.split()[0] for line in (*lines[2:4], *lines[7:9])] == ["1", "2", "1", "2"]
    assert "3 found in" in lines[9]
    assert all(len(line) <= 80 for line in lines)


def test_wide_terminal_shows_results_and_candidates_side_by_side(file):
    lines = run_in_process("search", QUERY, "--in", file, "--text", "title,body", "--limit", "2", COLUMNS="120")[1].splitlines()
    assert lines[0].split() == ["rank", "reranked", "score", "moved", "as", "found", "score"]
    assert [line.split()[0] for line in lines[1:3]] == ["1", "2"]
    assert all(len(line) <= 120 for line in lines)


def test_documents_of_a_file_have_the_same_ids_in_every_run(file):
    runs = [run_in_process("search", QUERY, "--in", file, "--text", "title,body", "--jsonl")[1] for _ in range(2)]
    first, second = ([json.loads(line)["document"]["source_key"] for line in out.splitlines()] for out in runs)
    assert first == second


def test_json_has_source_ranks(file):
    code, out, _ = run_in_process("search", "capital", "--in", file, "--text", "title,body", "--limit", "1", "--json")
    ranking = json.loads(out)
    assert (code, len(ranking["results"])) == (0, 1)
    assert ranking["results"][0]["source_rank"] >= 1


def test_notes_of_the_search_go_to_stderr(file):
    _, _, err = run_in_process("search", "capital", "--in", file, "--text", "body", "--limit", "5")
    assert "reranking could change their order, but not which documents" in " ".join(err.split())


def test_offset_returns_the_next_page(file):
    options = ("--in", file, "--text", "title,body", "--json", "--limit", "1")
    pages = [json.loads(run_in_process("search", QUERY, *options, "--offset", offset)[1]) for offset in (0, 1)]
    assert [page["results"][0]["rank"] for page in pages] == [1, 2]
    index = podium.EmbeddedIndex.create(None, text=["title", "body"])
    index.add(DOCUMENTS)
    assert [page["total"] for page in pages] == [len(index.search(QUERY, 9))] * 2


def test_field_can_have_a_weight(file):
    out = json.loads(run_in_process("search", "capital", "--in", file, "--text", "title^9,body", "--json")[1])
    assert out["results"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_folder_and_file_are_filtered(file, tmp_path, kind):
    location = file
    text_options = ("--text", "title,body")
    if kind == "folder":  # the index was created with its fields
        location = tmp_path / "index"
        text_options = ()
        assert run_in_process("index", file, "--to", location, "--text", "title,body")[0] == 0
    options = ("--in", location, *text_options, "--filter", "@title:{wash* | nevada}", "--json")
    code, out, err = run_in_process("search", QUERY, *options)
    assert code == 0, err
    ranking = json.loads(out)
    assert ranking["total"] == 2
    assert len(ranking["results"]) == 2


def test_field_of_a_filter_that_no_document_has_is_an_error_with_a_suggestion(file):
    code, out, err = run_in_process("search", QUERY, "--in", file, "--text", "body", "--filter", "@titel:{x}")
    assert (code, out) == (1, "")
    assert err == "podium: no document has the field 'titel' of the filter; did you mean 'title'?\n"


@pytest.mark.parametrize(("name", "timeout"), [("search", "--timeout"), ("eval", "--timeout"), ("serve", "--index-timeout")])
def test_every_command_that_searches_has_all_options_of_a_source(name, timeout):
    fields = {field.name.replace("_", "-") for field in dataclasses.fields(SourceOptions)}
    flags = {flag for parameter in podium_command.commands[name].params for flag in parameter.opts}
    assert {f"--{field}" for field in fields - {"timeout"}} | {timeout} <= flags


def test_options_of_a_source_reach_redis():
    info = {
        "index_name": "i",
        "index_definition": {"key_type": "HASH", "prefixes": ["i:"]},
        "attributes": [
            {"identifier": "title", "attribute": "title", "type": "TEXT"},
            {"identifier": "year", "attribute": "year", "type": "NUMERIC"},
        ],
        "num_docs": 1,
    }
    replies = {"FT.INFO": info, "FT.SEARCH": [1, "i:1", "2.5", ["title", "red"]]}
    options = ("--text", "title^2", "--filter", "@year:[2000 +inf]", "--return-fields", "title", "--timeout", "100")
    with FakeRedis(lambda words: encode_reply(replies[words[0]], 3)) as fake:
        code, _, err = run_in_process("search", "red", "--in", f"{fake.url}/i", "--json", *options)
        assert code == 0, err
        (command,) = [words for words in fake.commands if words[0] == "FT.SEARCH"]
    assert "@title:(red) => { $weight: 2.0 }" in command[2]
    assert "@year:[2000 +inf]" in command[2]
    assert command[command.index("RETURN") :][:3] == ("RETURN", "1", "title")
    assert int(command[command.index("TIMEOUT") + 1]) > 10_000  # the default would be 10 seconds


@pytest.mark.parametrize(
    ("query", "options", "message"),
    [
        pytest.param("a", ["--in", "nothing.jsonl"], "there is no nothing.jsonl", id="missing-file"),
        pytest.param(
            "a",
            ["--in", "{file}", "--text", "body", "--mode", "vector"],
            "--mode vector needs vectors, and this index has none; create another index with --embed",
            id="no-vectors",
        ),
        pytest.param("a", ["--in", "{file}", "--text", "body", "--offset", "100"], "skips all 100", id="offset"),
        pytest.param(
            "a", ["--in", "{file}", "--text", "body", "--vector", "v"], "an index on Redis takes --vector", id="vector"
        ),
        pytest.param(
            "a",
            ["--in", "{file}", "--text", "body", "--filter", "title"],
            "the filter cannot be read at 'title' (character 1); write @field:{value}",
            id="filter",
        ),
        pytest.param(" ", ["--in", "{file}", "--text", "body"], "the query is empty", id="empty-query"),
        pytest.param(
            "a", ["--in", "{file}", "--text", "body,titel"], "has the field titel; check the names", id="unknown-field"
        ),
    ],
)
def test_error_is_one_line(file, query, options, message):
    code, out, err = run_in_process("search", query, *(option.format(file=file) for option in options))
    assert code in (1, 2)
    assert out == ""
    assert err.startswith("podium: ")
    assert len(err.splitlines()) == 1
    assert message in err
