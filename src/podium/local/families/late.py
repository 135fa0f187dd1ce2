"""The network of podium-mini: BERT, followed by a projection and an importance for each token.

local/late/mini.py makes encodings of its output. Besides BERT's weights, a checkpoint has those of the projection to fewer
dimensions and of the importance, the four TABLES, and a classifier over four features.
"""

from __future__ import annotations

from dataclasses import dataclass

from podium.local.families.bert import Bert
from podium.local.families.family import Family, Pooling
from podium.local.graph import Graph, Value

__all__ = ["FAMILY", "PREFIX", "TABLES", "Late"]

PREFIX = "late."
TABLES = ("token_importance", "token_idf", "token_piece_idf", "token_stem")
"""Weights with one number per token of the vocabulary. The network does not read them; local/late/mini.py does."""


@dataclass(frozen=True, kw_only=True)
class Late(Bert):
    """The settings of podium-mini. It encodes queries and texts separately, each after its prompt, and has no segments."""

    vocab_size: int
    bm25_k1: float
    bm25_b: float
    bm25_text_tokens: float
    query_prompt: str = ""
    text_prompt: str = ""

    @property
    def pooling(self) -> Pooling:
        return "none"

    def segments(self, graph: Graph) -> Value:
        """Return segment 0 for all tokens, because BERT's weights have an embedding of it."""
        return graph.zeros()

    def head(self, graph: Graph, x: Value) -> Value:
        """Return one row per token: its projected hidden state, its importance, and its hidden state, in this order.

        Raises UnsupportedModel if one of the TABLES does not have one number per token of the vocabulary.
        """
        for table in TABLES:
            graph.expect_rows(PREFIX + table, self.vocab_size)
        projected = graph.linear(x, f"{PREFIX}projection", bias=False, exact=True)
        importance = graph.linear(x, f"{PREFIX}importance", exact=True)
        return graph.join(projected, importance, x)


FAMILY = Family(
    name="late interaction",
    model_types=("podium-late",),
    examples="`podium-mini`, and models that `training/` creates",
    has_segments=False,
    prefix="bert.",
    head_weights=tuple(PREFIX + name for name in ("projection.weight", "importance.weight", *TABLES, "classifier.weight")),
    architecture=Late,
)
