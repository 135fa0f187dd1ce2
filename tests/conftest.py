"""What every test may use. No test reaches a network, a user's cache or a user's keys."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Before podium or the hub's client is imported, here or in a test's own processes.
SCRATCH = Path(tempfile.mkdtemp(prefix="podium-tests-"))
os.environ.update(PODIUM_CACHE=str(SCRATCH / "podium"), HF_HOME=str(SCRATCH / "hf"), HF_HUB_DISABLE_PROGRESS_BARS="1")
os.environ.update(HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_DISABLE_TELEMETRY="1", NO_PROXY="127.0.0.1,localhost")
for variable in [
    name for name in os.environ if name.endswith(("_API_KEY", "_BASE_URL")) or name in ("HF_TOKEN", "HF_HUB_OFFLINE")
]:
    del os.environ[variable]

import pytest

import podium
from podium.cli.demo import DOCUMENTS, QUERY

PARITY = Path(__file__).parent / "parity"
CORE = importlib.util.find_spec("podium._native") is not None
NEEDS_CORE = pytest.mark.skipif(not CORE, reason="podium was installed without its native core: no C++ compiler")
RUNTIMES = ["onnx", pytest.param("native", marks=NEEDS_CORE)]


@pytest.fixture(scope="session")
def mini() -> Iterator[podium.Reranker]:
    with podium.load("podium-mini") as reranker:
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
