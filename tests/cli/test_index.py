"""podium index: its options in error messages, and nested fields."""

from __future__ import annotations

import json

import pytest

from commands import command_here


@pytest.fixture
def nested_records(tmp_path):
    path = tmp_path / "nested.jsonl"
    path.write_text('{"id": 1, "body": {"text": "a red apple"}}\n', encoding="utf-8")
    return path


def test_records_without_a_usual_text_field_are_refused_with_the_option_to_use(tmp_path):
    (tmp_path / "odd.jsonl").write_text('{"id": 1, "foo": "a"}\n', encoding="utf-8")
    code, _, err = command_here("index", tmp_path / "odd.jsonl", "--to", tmp_path / "index")
    assert (code, "with --text foo" in err) == (2, True)


def test_nested_field_is_indexed(tmp_path, nested_records):
    index = tmp_path / "index"
    assert command_here("index", nested_records, "--to", index, "--text", "body.text")[0] == 0
    ranking = json.loads(command_here("search", "apple", "--in", index, "--json")[1])
    assert [result["document"]["body"] for result in ranking["results"]] == [{"text": "a red apple"}]


def test_field_that_no_document_has_is_refused(tmp_path, nested_records):
    code, _, err = command_here("index", nested_records, "--to", tmp_path / "index", "--text", "body.txt")
    assert (code, "body.txt" in err) == (2, True)
