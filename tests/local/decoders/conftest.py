"""Fixtures of the tests of language models."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from language_models import PROMPT_MODELS


@pytest.fixture
def model_copy(tmp_path):
    """A function that copies a small model, so that a test may change it, also under another name."""

    def copied(name: str, new_name: str | None = None) -> Path:
        return shutil.copytree(PROMPT_MODELS / name, tmp_path / (new_name or name))

    return copied
