"""podium-mini, a LateModel whose score is a weighted sum of four features (comparison.LateFeatures).

Query and text are encoded apart, so it is not a cross-encoder. Its encoder was trained on a billion pairs of texts by others,
and is used unchanged; families/late.py is the network. If the model has prompts, only a text's own tokens are compared, and
the prompt and special tokens only count in the mean. Without prompts, only the first token is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from podium.errors import Argument, UnsupportedModel
from podium.local.build import load
from podium.local.families.late import FAMILY, PREFIX, TABLES, Late
from podium.local.files.checkpoint import Array, Checkpoint
from podium.local.late.comparison import LateFeatures, Lexical
from podium.local.late.models import LateModel, Text, Vectors
from podium.local.runtimes import Runtime, Variant
from podium.local.spec import Spec
from podium.local.tokenizer import Encoded, TextTokenizer, Tokenizer

__all__ = ["Mini", "MiniTokenizer", "without_capitals"]


class MiniTokenizer(Tokenizer[Text]):
    """Encodes queries and texts, each after its prompt, as at most `max_length` tokens. The prompts are in `settings`."""

    def __init__(self, spec: Spec, settings: Late, max_length: int) -> None:
        self.max_length = max_length
        self._texts = TextTokenizer(spec.base, max_length, do_lower_case=spec.do_lower_case)
        self._prompts = {True: settings.query_prompt, False: settings.text_prompt}  # by Text.is_query
        # A prompt's last space belongs to the first token of the text.
        lengths = self._texts.token_counts([prompt.rstrip() for prompt in self._prompts.values()])
        self._prompt_lengths = dict(zip(self._prompts, lengths, strict=True))
        if self.text_limit("") < 1:
            raise UnsupportedModel(Argument("max_length", max_length), " leaves no tokens for a text; use 8 or more")

    def encode(self, inputs: Sequence[Text]) -> list[Encoded]:
        encoded = self._texts.encode([self._prompts[item.is_query] + without_capitals(item.text) for item in inputs])
        return [self._without_prompt(item, tokens) for item, tokens in zip(inputs, encoded, strict=True)]

    def character_count(self, item: Text) -> int:
        return len(item.text)

    def segment_ids(self, encoded: Encoded) -> Array:
        return self._texts.segment_ids(encoded)

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        return self._texts.token_counts(texts)

    def token_starts(self, texts: Sequence[str]) -> list[Sequence[int]]:
        return self._texts.token_starts(texts)

    def text_limit(self, query: str) -> int:
        return self._texts.text_limit(query) - self._prompt_lengths[False]

    def _without_prompt(self, item: Text, tokens: Encoded) -> Encoded:
        """Return the same tokens, of which those of the prompt do not count as the text's own."""
        length = self._prompt_lengths[item.is_query]
        return replace(tokens, text_start=tokens.text_start + length, text_tokens=tokens.text_tokens - length)


class Mini(LateModel):
    """podium-mini, or another model that the scripts in training/ write."""

    def __init__(self, spec: Spec) -> None:
        if not isinstance(spec.architecture, Late):
            raise UnsupportedModel(f"{spec.folder} has the model_type {spec.model_type!r}, not 'podium-late'")
        self.spec = spec
        settings = self._settings = spec.architecture
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
        return MiniTokenizer(spec, self._settings, max_length)

    def vectors(self, text: Text, tokens: Encoded, result: Array) -> Vectors:
        """Return the projected rows of the compared tokens, and the mean of all rows before projection."""
        projected, importance, rows = np.split(result, [self._dimensions, self._dimensions + 1], axis=1)
        compared = self._compared(text, tokens)
        ids = tokens.ids[compared]
        weights = _softmax(importance[compared, 0] + self._importance[ids]) if text.is_query else None
        return Vectors(projected[compared], ids=ids, weights=weights, mean=rows.mean(axis=0))

    def _compared(self, text: Text, tokens: Encoded) -> slice:
        """Return which tokens are compared. If a text has no tokens of its own, all but the first are."""
        prompt = self._settings.query_prompt if text.is_query else self._settings.text_prompt
        if prompt and tokens.text_tokens:
            return slice(tokens.text_start, tokens.text_start + tokens.text_tokens)
        return slice(1, None)

    def score(self, features: Array) -> Array:
        """Return the classifier's logits. The weighted features are added in a fixed order, so the logits are always equal."""
        logits = np.full(len(features), self._bias, np.float32)
        for column, weight in enumerate(self._weights):
            logits += features[:, column] * weight
        return logits


def without_capitals(text: str) -> str:
    """Return a text in lower case if it has several words and no letter in lower case, else unchanged.

    A vocabulary with both cases splits words in capitals into many pieces. A word or two in capitals can be an abbreviation.
    """
    return text.lower() if text.isupper() and len(text.split(maxsplit=2)) > 2 else text


def _softmax(numbers: Array) -> Array:
    powers = np.exp(numbers - numbers.max())
    weights: Array = powers / powers.sum()
    return weights
