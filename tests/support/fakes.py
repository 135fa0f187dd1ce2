"""Test doubles without a model: scorers, an embedder and a store of scores."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from podium.compose.stores import Row
from podium.encodings import Buffer, EncodingStore, KeyMaker
from podium.encodings.memory import MemoryEncodings
from podium.scorers import BaseScorer
from podium.types import Progress, ScoreKind, Scores


class WordOverlap:
    """Scores a text by the number of the query's words in it. There are many ties, which tests need."""

    model, revision = "word-overlap", "1"
    score_kind: ScoreKind = "logit"

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        words = set(query.lower().split())
        return Scores([float(len(words & set(text.lower().split()))) for text in texts])


class AsyncWordOverlap(WordOverlap):
    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        await asyncio.sleep(0)
        return self.score(query, texts)


class FunctionScorer:
    """Returns the scores that a function computes for the texts, even invalid ones. `calls` has the texts of each call."""

    model, revision = "function", None

    def __init__(self, scores: Callable[[Sequence[str]], Scores], score_kind: ScoreKind = "logit") -> None:
        self._scores, self.score_kind = scores, score_kind
        self.calls: list[list[str]] = []

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        self.calls.append(list(texts))
        return self._scores(texts)


class LetterCounts(BaseScorer):
    """A scorer with encodings: the numbers of letters in a text, compared by their dot product.

    `computed` are the texts that were encoded, in order, by this scorer and by copies of it with another store.
    """

    score_kind: ScoreKind = "similarity"

    def __init__(self, model: str = "letter-counts", store: EncodingStore | None = None) -> None:
        self._model, self.store = model, store or MemoryEncodings(1_000_000)
        self.computed: list[str] = []

    @property
    def model(self) -> str:
        return self._model

    @property
    def encoding_identity(self) -> str:
        return f"{self._model}:1"

    @property
    def encoder(self) -> LetterCounts:
        return self

    def with_store(self, store: EncodingStore) -> LetterCounts:
        scorer = copy.copy(self)
        scorer.store = store
        return scorer

    def encoding_key(self, text: str) -> bytes:
        return KeyMaker(self.encoding_identity).key(text)

    def encode(self, texts: Sequence[str], *, progress: Progress | None = None) -> int:
        before = len(self.computed)
        self._encodings(texts)
        return len(self.computed) - before

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        counts = [np.frombuffer(encoding, "<u2").astype(float) for encoding in self._encodings(texts)]
        return Scores([float(row @ np.frombuffer(_letter_counts(query), "<u2")) / 1e6 for row in counts])

    def _encodings(self, texts: Sequence[str]) -> list[Buffer]:
        keys = [self.encoding_key(text) for text in texts]
        stored = self.store.get(keys)
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in stored}
        self.computed += missing.values()
        new = {key: _letter_counts(text) for key, text in missing.items()}
        self.store.put(new)
        return [(stored | new)[key] for key in keys]


def _letter_counts(text: str) -> bytes:
    """Return the encoding of a text: the number of each letter from a to z, as 16-bit integers."""
    return np.array([text.lower().count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"], "<u2").tobytes()


class Letters:
    """An embedder that adds up a random vector per byte. Another `seed` makes a different embedder of the same size."""

    def __init__(self, seed=0, dimensions=8):
        self.model = f"letters-{seed}"
        self._rows = np.random.default_rng(seed).normal(size=(256, dimensions))

    def __call__(self, texts):
        return np.stack([self._rows[list(text.encode() or b" ")].sum(0) for text in texts])


class MemoryStore:
    """A store of scores for CachedScorer, in memory."""

    def __init__(self) -> None:
        self.rows: dict[bytes, Row] = {}

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Row]:
        return {key: self.rows[key] for key in keys if key in self.rows}

    def put(self, rows: Mapping[bytes, Row]) -> None:
        self.rows.update(rows)

    def close(self) -> None: ...
