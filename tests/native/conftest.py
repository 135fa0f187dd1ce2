"""Fixtures of the tests of the native core. If podium was installed without a C++ compiler, the tests are skipped."""

from __future__ import annotations

import shutil

import pytest

from environment import HAS_CORE, PARITY_MODELS

collect_ignore_glob = [] if HAS_CORE else ["test_*.py"]


@pytest.fixture
def model(tmp_path):
    """A copy of a small BERT that a test may damage."""
    return shutil.copytree(PARITY_MODELS / "bert", tmp_path / "model")
