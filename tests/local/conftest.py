"""Fixtures of the tests of local models."""

from __future__ import annotations

import shutil

import pytest

from environment import PARITY_MODELS


@pytest.fixture
def model(tmp_path):
    """A copy of a small BERT that a test may damage."""
    return shutil.copytree(PARITY_MODELS / "bert", tmp_path / "model")


@pytest.fixture
def ettin(tmp_path):
    """A copy of a small modular model: ModernBERT, pooling, and a head of modules."""
    return shutil.copytree(PARITY_MODELS / "ettin", tmp_path / "ettin")
