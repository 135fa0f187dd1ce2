"""Fixtures of the tests of local models."""

from __future__ import annotations

import shutil

import pytest

from environment import PARITY


@pytest.fixture
def model(tmp_path):
    """A copy of a small BERT that a test may damage."""
    return shutil.copytree(PARITY / "bert", tmp_path / "model")


@pytest.fixture
def ettin(tmp_path):
    """A copy of a small modular model: ModernBERT, pooling, and a head of modules."""
    return shutil.copytree(PARITY / "ettin", tmp_path / "ettin")
