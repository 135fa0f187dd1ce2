"""JSON files: any damage is a ValueError."""

from __future__ import annotations

import os

import pytest

from podium.json_values import load_json, parse_json


def test_value_of_a_file_is_returned(tmp_path):
    (tmp_path / "file.json").write_text('{"name": ["ä", 1.5, null]}', encoding="utf-8")
    assert load_json(tmp_path / "file.json") == {"name": ["ä", 1.5, None]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "Expecting value", id="empty"),
        pytest.param("{", "Expecting property name", id="incomplete"),
        pytest.param("[" * 200_000, "nested too deeply", id="lists"),
        pytest.param('{"a":' * 200_000, "nested too deeply", id="objects"),
    ],
)
def test_text_that_cannot_be_parsed_is_a_value_error(tmp_path, text, message):
    (tmp_path / "file.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        parse_json(text)
    with pytest.raises(ValueError, match=message):
        load_json(tmp_path / "file.json")


def test_file_that_is_not_utf8_is_a_value_error(tmp_path):
    (tmp_path / "file.json").write_bytes(b'"\xff"')
    with pytest.raises(UnicodeDecodeError):
        load_json(tmp_path / "file.json")


def test_file_that_does_not_fit_into_memory_is_a_value_error(tmp_path):
    (tmp_path / "file.json").touch()
    os.truncate(tmp_path / "file.json", 1 << 38)  # a sparse file, which takes no space
    with pytest.raises(ValueError, match=r"file.json is larger than 100,000,000 bytes"):
        load_json(tmp_path / "file.json")


def test_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_json(tmp_path / "file.json")


@pytest.mark.parametrize("create", [os.mkfifo, os.mkdir], ids=["named pipe", "folder"])
def test_path_that_is_not_a_regular_file_is_an_os_error(tmp_path, create):
    """Opening a named pipe would wait until another process writes to it."""
    create(tmp_path / "file.json")
    with pytest.raises(OSError, match=r"file.json"):
        load_json(tmp_path / "file.json")
