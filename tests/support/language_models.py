"""Small random language models, and the token ids and logits of the code that their authors published."""

from __future__ import annotations

import functools
import gzip
import json
from pathlib import Path
from typing import Any

from environment import PARITY_MODELS
from podium.local.decoders.spec import DecoderSpec, read_decoder_spec
from podium.local.files.folder import from_folder

__all__ = ["NAMES", "PROMPT_MODELS", "expected_results", "read_spec"]

PROMPT_MODELS = PARITY_MODELS / "prompts"
NAMES = sorted(path.name for path in PROMPT_MODELS.iterdir())


def read_spec(model: str | Path) -> DecoderSpec:
    """Return the spec of a small model, by its name or folder."""
    return _named_spec(model) if isinstance(model, str) else read_decoder_spec(from_folder(model))


@functools.cache
def _named_spec(name: str) -> DecoderSpec:
    return read_decoder_spec(from_folder(PROMPT_MODELS / name))


def expected_results(name: str) -> dict[str, Any]:
    """Return what tests/parity/make_prompts.py recorded: max_length, and entries (instruction, query, document, ids, logit)."""
    return json.loads(gzip.decompress((PROMPT_MODELS / name / "expected.json.gz").read_bytes()))
