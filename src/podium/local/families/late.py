"""Late interaction: the texts of a pair are encoded apart and their tokens compared after (ColBERT, Khattab & Zaharia 2020).

It is not a cross-encoder: no token attends to the other text. A small encoder that was trained on a billion pairs of texts
is used unchanged, and a head of a few hundred numbers weighs four comparisons:

- the cosine of the two mean rows, which the encoder was trained for
- the mean, over the query's tokens, of the cosine to the most similar token of the text, weighted by importance
- the words that both have, as in BM25; inverse document frequencies and word stems are tables in the checkpoint
- runs of three word pieces that both have: names, and scripts that the vocabulary spells out

A pair is [CLS] query [SEP] [CLS] text [SEP] with segments 0 and 1. The [CLS] rows are used in the means only.
"""

from __future__ import annotations

from dataclasses import dataclass

from podium.local.families.bert import Bert
from podium.local.families.family import Family, Pooling
from podium.local.graph import COMPARISON_TABLES, Graph, Value

__all__ = ["FAMILY", "Late"]

PREFIX = "late."


@dataclass(frozen=True, kw_only=True)
class Late(Bert):
    vocab_size: int
    bm25_k1: float
    bm25_b: float
    bm25_text_tokens: float

    by_side = True

    @property
    def pooling(self) -> Pooling:
        return "none"

    def segments(self, graph: Graph) -> Value:
        return graph.zeros()

    def positions(self, graph: Graph) -> Value:
        return graph.positions("counted_by_side")

    def head(self, graph: Graph, x: Value) -> Value:
        for table in COMPARISON_TABLES:
            graph.expect_rows(PREFIX + table, self.vocab_size)
        compared = graph.compare(x, PREFIX, k1=self.bm25_k1, b=self.bm25_b, average_tokens=self.bm25_text_tokens)
        return graph.linear(compared, f"{PREFIX}classifier", exact=True)


FAMILY = Family(
    name="late interaction",
    model_types=("podium-late",),
    examples="`podium-mini`, as `training/` writes it",
    has_segments=True,
    prefix="bert.",
    head_weights=tuple(PREFIX + name for name in ("importance.weight", *COMPARISON_TABLES, "classifier.weight")),
    architecture=Late,
)
