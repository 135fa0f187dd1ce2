"""Small random language models, and the token ids and logits of the code that their authors published."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from environment import PARITY_MODELS
from podium.local.decoders.spec import DecoderSpec, read_decoder_spec
from podium.local.families.family import Architecture, Family
from podium.local.files.folder import from_folder
from podium.local.graph import Graph, Rows, Value

__all__ = ["NAMES", "PROMPT_MODELS", "expected_results", "read_spec"]

PROMPT_MODELS = PARITY_MODELS / "prompts"
NAMES = sorted(path.name for path in PROMPT_MODELS.iterdir())


@dataclass(frozen=True, kw_only=True)
class Positions(Architecture):
    max_position_embeddings: int

    def encode(self, graph: Graph, rows: Rows) -> Value:
        raise NotImplementedError

    def head(self, graph: Graph, x: Value) -> Value:
        raise NotImplementedError


def _family(model_type: str, *, is_decoder: bool) -> Family:
    return Family(
        name=model_type, model_types=(model_type,), examples="", has_segments=False, prefix="model.",
        head_weights=("score.weight",), architecture=Positions, is_decoder=is_decoder,
    )  # fmt: skip


FAMILIES = (
    *(_family(name, is_decoder=True) for name in ("qwen3", "qwen2", "gemma")),
    _family("llama_bidirec", is_decoder=False),
)


def read_spec(model: str | Path) -> DecoderSpec:
    """Return the spec of a small model, by its name or folder."""
    return read_decoder_spec(from_folder(PROMPT_MODELS / model), FAMILIES)


def expected_results(name: str) -> dict[str, Any]:
    """Return what tests/parity/make_prompts.py recorded: max_length, and entries (instruction, query, document, ids, logit)."""
    return json.loads(gzip.decompress((PROMPT_MODELS / name / "expected.json.gz").read_bytes()))
