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

from podium.local.families.family import Architecture, Family, Pooling
from podium.local.families.transformer import Transformer
from podium.local.files.config import Config
from podium.local.graph import Comparison, Graph, Rows, Value

__all__ = ["FAMILY", "Late"]

IMPORTANCE = "late.importance"
TABLES = ("late.token_importance", "late.token_idf", "late.token_piece_idf", "late.token_stem")


@dataclass(frozen=True, slots=True)
class Late(Architecture):
    transformer: Transformer
    vocabulary: int
    bm25_k1: float
    bm25_b: float
    bm25_text_tokens: float

    @classmethod
    def from_json(cls, config: Config) -> Late:
        return cls(
            transformer=Transformer.from_json(config),
            vocabulary=config.integer("vocab_size"),
            bm25_k1=config.number("bm25_k1"),
            bm25_b=config.number("bm25_b"),
            bm25_text_tokens=config.number("bm25_text_tokens"),
        )

    @property
    def pooling(self) -> Pooling:
        return "none"

    def encode(self, graph: Graph, rows: Rows) -> Value:
        """Encode both texts at once: everything but positions and attention is row by row."""
        x = self.transformer.embed(graph, segments=graph.zeros(), positions=graph.positions("counted_by_side"))
        return self.transformer.encode(graph, x, rows, by_side=True)

    def head(self, graph: Graph, x: Value) -> Value:
        for table in TABLES:
            graph.expect_rows(table, self.vocabulary)
        comparison = Comparison(IMPORTANCE, *TABLES, k1=self.bm25_k1, b=self.bm25_b, average_tokens=self.bm25_text_tokens)
        return graph.linear(graph.compare(x, comparison), "late.classifier", exact=True)


FAMILY = Family(
    name="late interaction",
    model_types=("podium-late",),
    examples="`podium-mini`, as `training/` writes it",
    has_segments=True,
    prefix="bert.",
    head_weights=(f"{IMPORTANCE}.weight", *TABLES, "late.classifier.weight"),
    architecture=Late,
)
