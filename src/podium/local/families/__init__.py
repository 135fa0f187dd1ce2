"""The architectures podium can build from their weights, one row each. A new one is a file here and a row below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from podium.local.families import bert, deberta, distilbert, electra, late, modernbert, roberta

__all__ = ["FAMILIES", "Config", "Family", "family_of"]

Config = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Family:
    """One architecture.

    `encode(graph, config, only_first)` adds the encoder and returns its hidden states, shape (tokens, width), or
    (1, width) where `only_first` says that nothing but the first token's row will be read. `head(graph, config, row)`
    adds the classifier, on all rows where `pooling` is "none". `prefix` is what the encoder's weights are called in a
    classifier's checkpoint; `head_weights` must be there, or the model was never trained to rank.
    `reserved_positions` cannot be used by tokens. `native` is False where it is written in ONNX's own operators, and
    `native_head` stands for a head that is.
    """

    name: str
    model_types: tuple[str, ...]
    prefix: str
    encode: Callable[[Any, Config, bool], str]
    head: Callable[[Any, Config, str], str]
    head_weights: tuple[str, ...]
    pooling: Callable[[Config], str] = lambda config: "cls"
    reserved_positions: Callable[[Config], int] = lambda config: 0
    native: bool = True
    native_head: Callable[[Any, Config, str], str] | None = None


FAMILIES = (
    Family(
        name="BERT",
        model_types=("bert",),
        prefix="bert.",
        encode=bert.encode,
        head=bert.head,
        head_weights=("pooler.dense.weight", "classifier.weight"),
    ),
    Family(
        name="ELECTRA",
        model_types=("electra",),
        prefix="electra.",
        encode=electra.encode,
        head=electra.head,
        head_weights=("classifier.dense.weight", "classifier.out_proj.weight"),
    ),
    Family(
        name="RoBERTa",
        model_types=("roberta", "xlm-roberta", "camembert"),
        prefix="roberta.",
        encode=roberta.encode,
        head=roberta.head,
        head_weights=("classifier.dense.weight", "classifier.out_proj.weight"),
        reserved_positions=roberta.reserved_positions,
    ),
    Family(
        name="DistilBERT",
        model_types=("distilbert",),
        prefix="distilbert.",
        encode=distilbert.encode,
        head=distilbert.head,
        head_weights=("pre_classifier.weight", "classifier.weight"),
    ),
    Family(
        name="DeBERTa",
        model_types=("deberta-v2",),
        prefix="deberta.",
        encode=deberta.encode,
        head=deberta.head,
        head_weights=("pooler.dense.weight", "classifier.weight"),
        native=False,
    ),
    Family(
        name="ModernBERT",
        model_types=("modernbert",),
        prefix="model.",
        encode=modernbert.encode,
        head=modernbert.head,
        head_weights=("head.dense.weight", "classifier.weight"),
        pooling=modernbert.pooling,
    ),
    Family(
        name="late interaction",
        model_types=("podium-late",),
        prefix="bert.",
        encode=late.encode,
        head=late.head,
        head_weights=late.HEAD_WEIGHTS,
        pooling=lambda config: "none",
        native_head=late.native_head,
    ),
)


def family_of(model_type: str) -> Family | None:
    """Return the family of a config.json's model_type, or None."""
    return next((family for family in FAMILIES if model_type in family.model_types), None)
