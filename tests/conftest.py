"""Fixtures that every test may use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

import environment  # noqa: F401  before podium: it keeps tests away from the user's cache and keys
import podium
from podium.cli.examples import DOCUMENTS, QUERY

settings.register_profile("podium", deadline=None)  # a busy machine must not fail a test of a property
settings.load_profile("podium")

collect_ignore = ["support"]  # pytest would look for doctests there, and import the environment again, with another cache


@pytest.fixture(scope="session")
def mini() -> Iterator[podium.Reranker]:
    """podium-mini without stored encodings, so that its `usage` does not depend on earlier tests."""
    with podium.load("podium-mini", keep=0) as reranker:
        yield reranker


@pytest.fixture
def question() -> str:
    return QUERY


@pytest.fixture
def passages() -> list[str]:
    """The guide's five documents as strings. The fourth, Washington, is the answer."""
    return [document["passage"] for document in DOCUMENTS]


@pytest.fixture
def records() -> list[dict[str, str]]:
    return [dict(document) for document in DOCUMENTS]
