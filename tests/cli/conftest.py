"""Fixtures of the tests of the command line."""

from __future__ import annotations

import pytest

from fruit import write_fruit


@pytest.fixture
def text_file(tmp_path):
    """A file with one document per line."""
    path = tmp_path / "docs.txt"
    path.write_text("the sea at night\n\na ripe red apple\r\nnothing\n", encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path):
    return write_fruit(tmp_path / "fruit")
