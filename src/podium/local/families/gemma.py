"""Gemma (Gemma Team 2024, arXiv 2403.08295): Llama with scaled embeddings, and norms whose weights are stored minus 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from podium.errors import UnsupportedModel
from podium.local.families.family import Architecture, Family
from podium.local.families.llama import Llama
from podium.local.graph import Graph, Value

__all__ = ["FAMILY", "Gemma"]


@dataclass(frozen=True, kw_only=True)
class Gemma(Llama):
    head_dim: int = 256
    hidden_act: str = "gelu_pytorch_tanh"
    tie_word_embeddings: bool = True
    use_bidirectional_attention: bool = False

    norm_offset: ClassVar[float] = 1.0

    @classmethod
    def from_json(cls, config: Mapping[str, Any]) -> Architecture:
        # The first releases say "gelu", but were trained with its approximation, which hidden_activation names in later ones.
        return super().from_json({**config, "hidden_act": config.get("hidden_activation") or "gelu_pytorch_tanh"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.use_bidirectional_attention:
            raise UnsupportedModel(
                "config.json has bidirectional attention, which podium does not have for Gemma; use another model"
            )

    def embed(self, graph: Graph) -> Value:
        return graph.scale(super().embed(graph), self.hidden_size**0.5)


FAMILY = Family(
    name="Gemma",
    model_types=("gemma",),
    examples="`BAAI/bge-reranker-v2-gemma`",
    has_segments=False,
    prefix="model.",
    head_weights=("score.weight",),
    architecture=Gemma,
    runtimes=("native",),
    is_decoder=True,
)
