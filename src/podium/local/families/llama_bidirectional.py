"""NVIDIA's Llama without the causal mask: an encoder with Llama's weights, the mean of all tokens, and a linear head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from podium.errors import UnsupportedModel
from podium.local.families.family import Family, Pooling
from podium.local.families.llama import Llama

__all__ = ["FAMILY", "BidirectionalLlama"]


@dataclass(frozen=True, kw_only=True)
class BidirectionalLlama(Llama):
    temperature: float = 1.0
    is_causal: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.temperature != 1:
            raise UnsupportedModel("config.json has a temperature, which podium does not have; use another model")

    @property
    def pooling(self) -> Pooling:
        return "mean"


FAMILY = Family(
    name="bidirectional Llama",
    model_types=("llama_bidirec",),
    examples="`nvidia/llama-nemotron-rerank-1b-v2`",
    has_segments=False,
    prefix="model.",
    head_weights=("score.weight",),
    architecture=BidirectionalLlama,
    runtimes=("native",),
    ignores_auto_map=True,
)
