"""podium index into a folder: load, continue, list, delete, drop. Tests of indexes on Redis are in tests/sources/redis."""

from __future__ import annotations

import json
import os

import pytest

import podium
from commands import run_in_process
from environment import PARITY_MODELS
from fakes import Letters
from fruit import write_json_lines
from podium.sources.loading import Loaded, load_into, with_ids

DOCUMENTS = [
    {"title": "Nevada", "body": "Carson City is the capital city of Nevada.", "n": 1},
    {"title": "Capital punishment", "body": "has existed in the United States for centuries.", "n": 2},
    {"title": "Washington", "body": "D.C. is the capital of the United States.", "n": 3},
    {"title": "Bread", "body": "Flour and water.", "n": 4},
]


@pytest.fixture
def file(tmp_path):
    return write_json_lines(tmp_path / "docs.jsonl", DOCUMENTS)


@pytest.fixture
def folder(file, tmp_path):
    """An index with the fields title and body, and the ids of the field n."""
    folder = tmp_path / "index"
    code, out, err = run_in_process("index", file, "--to", folder, "--text", "title,body", "--id", "n")
    assert (code, err) == (0, "")
    assert out.startswith("4 documents indexed; ")
    return folder


def test_only_new_and_changed_documents_are_added(folder, tmp_path):
    changed = [DOCUMENTS[0] | {"body": "changed"}, *DOCUMENTS[1:], {"n": 5, "title": "new"}]
    file = write_json_lines(tmp_path / "more.jsonl", changed)
    _, out, err = run_in_process("index", file, "--to", folder, "--id", "n")
    assert out.startswith("2 documents indexed, 3 were in the index already"), err
    options = ("--text", "title,body", "--id", "n", "--language", "english")
    _, out, err = run_in_process("index", file, "--to", folder, *options)
    assert out.startswith("0 documents indexed, 5 were in the index already"), err
    index = podium.EmbeddedIndex.open(folder)
    assert len(index) == 5
    assert index.get(["1"])["1"]["body"] == "changed"
    assert "Bread" in run_in_process("search", "flour", "--in", folder)[1]


def test_fields_of_an_index_cannot_be_changed(file, folder):
    code, _, err = run_in_process("index", file, "--to", folder, "--text", "body", "--id", "n")
    assert code == 2
    assert "was created with --text title,body and --language english, which cannot be changed" in err


def test_index_with_vectors_uses_its_own_embedder(file, tmp_path):
    folder = tmp_path / "index"
    embedder = PARITY_MODELS / "embedders" / "bert-mean"
    assert run_in_process("index", file, "--to", folder, "--text", "body", "--embed", embedder)[0] == 0
    code, out, err = run_in_process("search", "zzz", "--in", folder, "--mode", "vector", "--json")
    assert (code, len(json.loads(out)["results"])) == (0, 4), err
    assert run_in_process("index", file, "--to", folder)[1].startswith("0 documents indexed, 4 were in the index already")
    code, _, err = run_in_process("search", "a", "--in", folder, "--embed", PARITY_MODELS / "embedders" / "roberta-cls")
    assert code == 1
    assert "was created with another embedder" in err


def test_note_if_documents_are_longer_than_the_embedder_reads(tmp_path):
    (tmp_path / "long.txt").write_text("word " * 500)
    embedder = PARITY_MODELS / "embedders" / "bert-mean"
    code, _, err = run_in_process("index", tmp_path / "long.txt", "--to", tmp_path / "index", "--embed", embedder)
    assert (code, err) == (0, "note: 1 documents are longer than the embedder reads; their vectors cover only the beginning\n")


def test_ids_of_another_field_are_refused(file, folder):
    """With other ids, every document would be in the index twice."""
    code, _, err = run_in_process("index", file, "--to", folder)
    assert code == 2
    assert "was created with --id n; use --id n again, or its documents would be in the index twice" in err


def test_ids_are_refused_if_the_index_has_digests(file, tmp_path):
    assert run_in_process("index", file, "--to", tmp_path / "index", "--text", "body")[0] == 0
    code, _, err = run_in_process("index", file, "--to", tmp_path / "index", "--id", "n")
    assert code == 2
    assert "was created with digests of the documents as ids; leave out --id" in err
    assert len(podium.EmbeddedIndex.open(tmp_path / "index")) == 4


def test_indexes_are_listed(folder):
    for location in (folder, folder.parent):
        code, out, _ = run_in_process("index", "--list", "--to", location)
        assert code == 0
        assert out.split() == ["index", "documents", "fields", "index", "4", "title,", "body"]


def test_damaged_index_is_listed_with_its_error(folder):
    (folder / "podium-index.json").write_text("{")
    code, out, _ = run_in_process("index", "--list", "--to", folder)
    assert code == 0
    assert "cannot be used" in " ".join(out.split())


def test_empty_list_of_indexes_has_a_hint_how_to_create_one(tmp_path):
    hint = f"there is no index in {tmp_path}; create one with podium index FILE --to PLACE\n"
    assert run_in_process("index", "--list", "--to", tmp_path) == (0, "", hint)
    code, out, err = run_in_process("index", "--list", "--to", tmp_path / "missing")
    assert (code, out) == (1, "")
    assert "there is no folder" in err


def test_documents_are_deleted_by_id(folder):
    arguments = ("index", "--delete", "1", "--delete", "2", "--delete", "99", "--to", folder)
    assert run_in_process(*arguments)[1] == "2 documents deleted\n"
    assert len(podium.EmbeddedIndex.open(folder)) == 2


def test_documents_are_deleted_from_an_index_with_vectors(file, tmp_path):
    folder = tmp_path / "index"
    embedder = PARITY_MODELS / "embedders" / "bert-mean"
    assert run_in_process("index", file, "--to", folder, "--text", "body", "--id", "n", "--embed", embedder)[0] == 0
    assert run_in_process("index", "--delete", "1", "--to", folder) == (0, "1 documents deleted\n", "")
    results = json.loads(run_in_process("search", "zzz", "--in", folder, "--mode", "vector", "--json")[1])["results"]
    assert len(results) == 3
    assert run_in_process("index", file, "--to", folder, "--id", "n")[1].startswith(
        "1 documents indexed, 3 were in the index already"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(["--delete", "x" * 1001, "--to", "{folder}"], "has 1001 characters; an id has at most 1000", id="long"),
        pytest.param(["--delete", "", "--to", "{folder}"], "ids must be a list of strings, none of them empty", id="empty"),
        pytest.param(["--delete", "1", "--to", "{folder}/missing"], "there is no folder", id="no-folder"),
        pytest.param(["--delete", "1", "--to", "{file}"], "there is no folder", id="file"),
    ],
)
def test_invalid_deletion_is_refused(file, folder, options, message):
    code, out, err = run_in_process("index", *(option.format(file=file, folder=folder) for option in options))
    assert (code in (1, 2), out) == (True, "")
    assert message in err
    assert len(podium.EmbeddedIndex.open(folder)) == 4


def test_deletion_is_refused_while_another_process_writes(folder):
    with podium.EmbeddedIndex.open(folder).locked():
        code, out, err = run_in_process("index", "--delete", "1", "--to", folder)
    assert (code, out) == (1, "")
    assert "another process is adding to" in err
    assert run_in_process("index", "--delete", "1", "--to", folder)[1] == "1 documents deleted\n"


def test_drop_deletes_the_index_and_keeps_other_files(folder):
    (folder / "notes.txt").write_text("not part of the index")
    assert run_in_process("index", "--drop", "--to", folder)[1] == "index dropped, with 4 documents\n"
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_drop_deletes_a_folder_that_has_nothing_else(folder):
    assert run_in_process("index", "--drop", "--to", folder)[0] == 0
    assert not folder.exists()


def test_nothing_is_created_if_an_id_is_too_long(tmp_path):
    file = write_json_lines(tmp_path / "d.jsonl", [{"id": name, "text": "a"} for name in ("short", "x" * 1001)])
    code, _, err = run_in_process("index", file, "--to", tmp_path / "index", "--id", "id")
    assert code == 2
    assert "has 1001 characters" in err
    assert not (tmp_path / "index").exists()


def test_error_names_the_document_by_its_number(tmp_path):
    file = write_json_lines(tmp_path / "d.jsonl", [{"text": "document 0"}, {"text": "b"}, {"document 0": 1}])
    code, _, err = run_in_process("index", file, "--to", tmp_path / "index")
    assert code == 2
    assert "document 2 has none of the fields" in err
    assert "it has 'document 0'" in err


def test_interrupted_load_continues(tmp_path):
    index = podium.EmbeddedIndex.create(tmp_path / "index", embed=Letters())
    index.batch = 2
    documents = list(with_ids([{"text": f"number {n}"} for n in range(7)], None))

    def interrupt(_):
        if len(index) >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_into(index, documents, interrupt)
    assert len(index) == 4
    reopened = podium.EmbeddedIndex.open(tmp_path / "index", embed=Letters())
    assert load_into(reopened, documents, lambda _: None) == Loaded(added=3, skipped=4, encoded=0)
    ids = [document_id for document_id, _ in documents]
    assert set(reopened.get(ids)) == set(ids)
    assert len(reopened) == 7


REDIS = "redis://127.0.0.1:9/x"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(["{file}", "--to", REDIS, "--text", "body"], "cannot reach Redis at 127.0.0.1:9", id="unreachable"),
        pytest.param(["{file}", "--to", REDIS], "has none of the fields 'content', 'text'", id="redis-no-text"),
        pytest.param(
            ["{file}", "--to", REDIS, "--text", "body", "--language", "german"], "folder takes --language", id="language"
        ),
        pytest.param(["{file}", "--to", REDIS, "--text", "contnet"], "document 0 has no field contnet", id="redis-no-field"),
        pytest.param(["{file}", "--to", "{folder}", "--text", "title,bdy"], "has the field bdy", id="unknown-field"),
        pytest.param(["{file}", "--to", "{folder}", "--tag", "n"], "only an index on Redis takes --tag", id="tag"),
        pytest.param(["{file}", "--to", "{folder}"], "document 0 has none of the fields", id="no-text"),
        pytest.param(["{file}", "--to", "{folder}", "--id", "title2"], "document 0 has no 'title2' to use as its id", id="id"),
        pytest.param(
            ["nothing.jsonl", "--to", "{folder}"], "there is no file nothing.jsonl; check its name", id="missing-file"
        ),
        pytest.param(
            ["{file}", "--to", "{folder}", "--text", "body", "--list"], "name one FILE to index, or", id="two-actions"
        ),
        pytest.param(["--to", "{folder}"], "name one FILE to index, or", id="no-action"),
        pytest.param(["--drop", "--to", "{folder}"], "is not an index of podium, so nothing was done", id="drop"),
        pytest.param(["{file}", "--to", "{file}", "--text", "body"], "exists and is not an index", id="to-file"),
    ],
)
def test_error_is_one_line_and_nothing_is_created(file, tmp_path, options, message):
    code, out, err = run_in_process("index", *(option.format(file=file, folder=tmp_path / "new") for option in options))
    assert code in (1, 2)
    assert out == ""
    assert err.startswith("podium: ")
    assert len(err.splitlines()) == 1
    assert message in err
    assert not (tmp_path / "new").exists()


@pytest.fixture
def nested_records(tmp_path):
    path = tmp_path / "nested.jsonl"
    path.write_text('{"id": 1, "body": {"text": "a red apple"}}\n', encoding="utf-8")
    return path


def test_records_without_a_usual_text_field_are_refused_with_the_option_to_use(tmp_path):
    (tmp_path / "odd.jsonl").write_text('{"id": 1, "foo": "a"}\n', encoding="utf-8")
    code, _, err = run_in_process("index", tmp_path / "odd.jsonl", "--to", tmp_path / "index")
    assert (code, "with --text foo" in err) == (2, True)


@pytest.mark.parametrize(
    ("depth", "message"),
    [(150, "document 1 is nested more than 100 levels deep"), (100_000, "line 2: nested too deeply")],
    ids=["to store", "to read"],
)
def test_document_that_is_nested_too_deeply_is_refused(tmp_path, depth, message):
    path = tmp_path / "deep.jsonl"
    path.write_text('"shallow"\n{"text": "a", "x": %s}\n' % ("[" * depth + "]" * depth))
    code, _, err = run_in_process("index", path, "--to", tmp_path / "index")
    assert code != 0
    assert message in err


def test_nested_field_is_indexed(tmp_path, nested_records):
    index = tmp_path / "index"
    assert run_in_process("index", nested_records, "--to", index, "--text", "body.text")[0] == 0
    ranking = json.loads(run_in_process("search", "apple", "--in", index, "--json")[1])
    assert [result["document"]["body"] for result in ranking["results"]] == [{"text": "a red apple"}]


def test_field_that_no_document_has_is_refused(tmp_path, nested_records):
    code, _, err = run_in_process("index", nested_records, "--to", tmp_path / "index", "--text", "body.txt")
    assert (code, "body.txt" in err) == (2, True)


def test_all_fields_that_no_document_has_are_named(tmp_path, nested_records):
    code, _, err = run_in_process("index", nested_records, "--to", tmp_path / "index", "--text", "body.text,b,a")
    assert (code, "has the field a or b; check the names" in err) == (2, True)


def test_pipe_is_refused(tmp_path):
    """A pipe can be read only once. Opening a named pipe would wait until another process writes to it."""
    os.mkfifo(tmp_path / "pipe.jsonl")
    code, _, err = run_in_process("index", tmp_path / "pipe.jsonl", "--to", tmp_path / "index")
    assert code == 2
    assert "pipe.jsonl is not a regular file" in err
    assert not (tmp_path / "index").exists()
