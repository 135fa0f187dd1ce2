"""Fixtures that every test may use."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import environment  # before podium: it keeps tests away from the user's cache and keys
import podium
from podium.cli.examples import DOCUMENTS, QUERY

settings.register_profile("podium", deadline=None)  # a busy machine must not fail a test of a property
settings.load_profile("podium")

collect_ignore = ["support"]  # pytest would look for doctests there, and import the environment again, with another cache


class OnlyFilesWithTests:
    """A plugin that ignores modules without tests: no `test_` in the name, and no example in a docstring.

    pytest would import each of them in every worker process, together with the packages that it is for.
    """

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        is_module = collection_path.suffix == ".py" and not collection_path.name.startswith("test_")
        return True if is_module and ">>>" not in collection_path.read_text(encoding="utf-8") else None


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(OnlyFilesWithTests())  # as a plugin, it is also asked about the files in src


def pytest_unconfigure() -> None:
    """Delete the caches of this process, which is pytest's own or that of a worker. They take up to 160 MB."""
    shutil.rmtree(environment.SCRATCH, ignore_errors=True)


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
