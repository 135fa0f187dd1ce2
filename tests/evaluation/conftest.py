"""Fixtures of the tests of evaluation."""

from __future__ import annotations

import pytest

from fruit import write_fruit


@pytest.fixture
def folder(tmp_path):
    return write_fruit(tmp_path / "fruit")
