"""podium-mini, a LateModel whose score is a weighted sum of four features (comparison.LateFeatures).

Query and text are encoded apart, so it is not a cross-encoder. Its encoder was trained on a billion pairs of texts by others,
and is used unchanged; families/late.py is the network. The row of [CLS] is not compared; it only counts in the mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from podium.errors import UnsupportedModel
from podium.local.build import load
from podium.local.families.late import FAMILY, PREFIX, TABLES, Late
from podium.local.files.checkpoint import Array, Checkpoint
from podium.local.late.comparison import LateFeatures, Lexical
from podium.local.late.models import LateModel, Text, Vectors
from podium.local.runtimes import Runtime, Variant
from podium.local.spec import Spec
from podium.local.tokenizer import Encoded, TextTokenizer, Tokenizer

__all__ = ["Mini", "MiniTokenizer"]


class MiniTokenizer(Tokenizer[Text]):
    """Encodes queries and texts in the same way, as at most `max_length` tokens."""

    def __init__(self, spec: Spec, max_length: int) -> None:
        self.max_length = max_length
        self._texts = TextTokenizer(spec.base, max_length, do_lower_case=spec.do_lower_case)

    def encode(self, inputs: Sequence[Text]) -> list[Encoded]:
        return self._texts.encode([item.text for item in inputs])

    def character_count(self, item: Text) -> int:
        return len(item.text)

    def segment_ids(self, encoded: Encoded) -> Array:
        return self._texts.segment_ids(encoded)

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        return self._texts.token_counts(texts)

    def token_starts(self, texts: Sequence[str]) -> list[Sequence[int]]:
        return self._texts.token_starts(texts)

    def text_limit(self, query: str) -> int:
        return self._texts.text_limit(query)


class Mini(LateModel):
    """podium-mini, or another model that the scripts in training/ write."""

    def __init__(self, spec: Spec) -> None:
        if not isinstance(spec.architecture, Late):
            raise UnsupportedModel(f"{spec.folder} has the model_type {spec.model_type!r}, not 'podium-late'")
        self.spec = spec
        settings = spec.architecture
        checkpoint = Checkpoint(spec.weights, FAMILY.prefix, is_quantised=spec.is_quantised)
        try:
            self._importance, idf, piece_idf, stem = (checkpoint[PREFIX + table] for table in TABLES)
            self._weights = checkpoint[f"{PREFIX}classifier.weight"].reshape(-1)
            self._bias = checkpoint[f"{PREFIX}classifier.bias"][0]
            self._dimensions = checkpoint.shape(f"{PREFIX}projection.weight")[0]
        finally:
            checkpoint.close()
        self.comparison = LateFeatures(
            Lexical(
                idf=idf,
                piece_idf=piece_idf,
                stem=stem,
                k1=settings.bm25_k1,
                b=settings.bm25_b,
                average_tokens=settings.bm25_text_tokens,
            )
        )

    def load(self, spec: Spec, variant: Variant) -> Runtime:
        return load(spec, variant)

    def tokenizer(self, spec: Spec, max_length: int) -> MiniTokenizer:
        return MiniTokenizer(spec, max_length)

    def vectors(self, text: Text, tokens: Encoded, result: Array) -> Vectors:
        """Return the projected rows without [CLS]'s, which is the first, and the mean of all rows before projection."""
        projected, importance, rows = np.split(result, [self._dimensions, self._dimensions + 1], axis=1)
        ids = tokens.ids[1:]
        weights = _softmax(importance[1:, 0] + self._importance[ids]) if text.is_query else None
        return Vectors(projected[1:], ids=ids, weights=weights, mean=rows.mean(axis=0))

    def score(self, features: Array) -> Array:
        """Return the classifier's logits. The weighted features are added in a fixed order, so the logits are always equal."""
        logits = np.full(len(features), self._bias, np.float32)
        for column, weight in enumerate(self._weights):
            logits += features[:, column] * weight
        return logits


def _softmax(numbers: Array) -> Array:
    powers = np.exp(numbers - numbers.max())
    weights: Array = powers / powers.sum()
    return weights
