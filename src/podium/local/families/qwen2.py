"""Qwen2 (Yang et al. 2024, arXiv 2407.10671): Llama with biases of query, key and value."""

from __future__ import annotations

from dataclasses import dataclass

from podium.local.families.family import Family
from podium.local.families.llama import Llama

__all__ = ["FAMILY", "Qwen2"]


@dataclass(frozen=True, kw_only=True)
class Qwen2(Llama):
    use_sliding_window: bool = False

    @property
    def has_attention_bias(self) -> bool:
        return True


FAMILY = Family(
    name="Qwen2",
    model_types=("qwen2",),
    examples="`mixedbread-ai/mxbai-rerank-base-v2`",
    has_segments=False,
    prefix="model.",
    head_weights=("score.weight",),
    architecture=Qwen2,
    runtimes=("native",),
    is_decoder=True,
)
