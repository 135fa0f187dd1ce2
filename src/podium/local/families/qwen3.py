"""Qwen3 (Yang et al. 2025, arXiv 2505.09388): Llama with norms of each head's query and key."""

from __future__ import annotations

from dataclasses import dataclass

from podium.local.families.family import Family
from podium.local.families.llama import Llama
from podium.local.graph import HeadNorms

__all__ = ["FAMILY", "Qwen3"]


@dataclass(frozen=True, kw_only=True)
class Qwen3(Llama):
    head_dim: int = 128
    use_sliding_window: bool = False

    def head_norms(self, prefix: str) -> HeadNorms:
        return HeadNorms(f"{prefix}q_norm", f"{prefix}k_norm", self.rms_norm_eps)


FAMILY = Family(
    name="Qwen3",
    model_types=("qwen3",),
    examples="`Qwen/Qwen3-Reranker-0.6B`, `zeroentropy/zerank-1-small`",
    has_segments=False,
    prefix="model.",
    head_weights=("score.weight",),
    architecture=Qwen3,
    runtimes=("native",),
    is_decoder=True,
)
