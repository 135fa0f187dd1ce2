"""Fixtures of the tests of batch jobs."""

from __future__ import annotations

import pytest

from fakes import WordOverlap
from podium.ranking import Reranker


@pytest.fixture
def reranker():
    """A reranker whose scores have many ties."""
    return Reranker(WordOverlap())


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"
