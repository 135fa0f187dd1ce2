"""Stored encodings on the command line: podium index --keep and --compact, and --keep of the commands that load a model."""

from __future__ import annotations

import json

import pytest

import podium
from commands import run_in_process, run_in_subprocess
from environment import PARITY_MODELS
from fruit import write_json_lines

DOCUMENTS = [
    {"title": "Nevada", "body": "Carson City is the capital city of Nevada.", "n": 1},
    {"title": "Capital punishment", "body": "has existed in the United States for centuries.", "n": 2},
    {"title": "Washington", "body": "D.C. is the capital of the United States.", "n": 3},
]


@pytest.fixture
def file(tmp_path):
    return write_json_lines(tmp_path / "docs.jsonl", DOCUMENTS)


@pytest.fixture
def folder(file, tmp_path):
    """An index with encodings of podium-mini."""
    folder = tmp_path / "index"
    out = run_in_process("index", file, "--to", folder, "--text", "title,body", "--id", "n", "--keep", "podium-mini")[1]
    assert out.startswith("3 documents indexed, 3 texts encoded by podium-mini; ")
    return folder


def encoded_count(folder, *options, run=run_in_process):
    """Search the index, and return how many texts were encoded for that."""
    code, out, err = run("search", "the capital", "--in", folder, "--json", *options)
    assert code == 0, err
    return json.loads(out)["usage"]["encoded"]


def test_search_encodes_no_document(folder):
    assert encoded_count(folder) == 0
    assert encoded_count(folder, "--by", "title") > 0


def test_existing_documents_are_encoded(file, tmp_path):
    """Each command is a process, so that it finds only the encodings of the folder."""
    folder = tmp_path / "index"
    run_in_subprocess("index", file, "--to", folder, "--text", "title,body")
    assert encoded_count(folder, run=run_in_subprocess) > 0
    out = run_in_subprocess("index", file, "--to", folder, "--keep", "podium-mini")[1]
    assert out.startswith("0 documents indexed, 3 were in the index already, 3 texts encoded by podium-mini; ")
    assert encoded_count(folder, run=run_in_subprocess) == 0


def test_commands_in_one_process_share_no_encodings(file, tmp_path):
    """The other tests rely on it."""
    run_in_process("index", file, "--to", tmp_path / "index", "--text", "title,body")
    assert encoded_count(tmp_path / "index") == encoded_count(tmp_path / "index") > 0


def test_documents_added_without_encodings_are_noted(folder, tmp_path):
    more = write_json_lines(tmp_path / "more.jsonl", [*DOCUMENTS, {"title": "Bread", "body": "Flour and water.", "n": 4}])
    code, _, err = run_in_process("index", more, "--to", folder, "--id", "n")
    assert code == 0
    assert (
        "this index has encodings of podium-mini, and the added documents have none; run the command again with "
        "--keep podium-mini\n" in err
    )
    out = run_in_process("index", more, "--to", folder, "--id", "n", "--keep", "podium-mini")[1]
    assert out.startswith("0 documents indexed, 4 were in the index already, 1 texts encoded by podium-mini; ")


def test_note_about_missing_encodings_names_a_command_for_each_model(file, folder, tmp_path):
    """A command takes --keep only once."""
    second_model = PARITY_MODELS / "late"
    assert run_in_process("index", file, "--to", folder, "--id", "n", "--keep", second_model)[0] == 0
    more = write_json_lines(tmp_path / "more.jsonl", [{"title": "Bread", "body": "Flour and water.", "n": 4}])
    code, _, err = run_in_process("index", more, "--to", folder, "--id", "n")
    assert code == 0
    assert f"run the command again with --keep podium-mini, then with --keep {second_model}\n" in err


def test_compaction_frees_the_space_of_deleted_documents(folder):
    size = (folder / "encodings" / "0.data").stat().st_size
    run_in_process("index", "--delete", "1", "--delete", "2", "--to", folder)
    code, out, err = run_in_process("index", "--compact", "--to", folder)
    assert (code, err) == (0, "")
    assert out.endswith(" MB now\n")
    assert (folder / "encodings" / "1.data").stat().st_size < size / 2
    assert encoded_count(folder) == 0


def test_index_is_dropped_with_its_encodings(folder):
    assert run_in_process("index", "--drop", "--to", folder)[1] == "index dropped, with 3 documents\n"
    assert not folder.exists()


def test_model_without_encodings_is_refused_before_anything_is_indexed(file, tmp_path):
    code, _, err = run_in_process("index", file, "--to", tmp_path / "index", "--text", "body", "--keep", PARITY_MODELS / "bert")
    assert code == 2
    assert "--keep needs a model with late interaction, such as podium-mini" in err
    assert not (tmp_path / "index").exists()


def test_keep_needs_a_file(tmp_path):
    code, _, err = run_in_process("index", "--drop", "--to", tmp_path, "--keep", "podium-mini")
    assert code == 2
    assert "name the FILE whose documents are to be encoded with --keep podium-mini" in err


def test_compaction_of_a_folder_that_is_not_an_index_is_an_error(tmp_path):
    code, _, err = run_in_process("index", "--compact", "--to", tmp_path)
    assert code in (1, 2)
    assert "is not an index of podium" in err


def test_rank_stores_encodings(tmp_path, file):
    for encoded in (3, 0):
        out = run_in_subprocess("rank", "the capital", file, "--by", "body", "--keep", tmp_path / "encodings", "--json")[1]
        assert json.loads(out)["usage"]["encoded"] == encoded
    assert podium.load("podium-mini", keep=tmp_path / "encodings").rerank("x", [DOCUMENTS[0]["body"]]).usage.encoded == 0
