"""Test doubles without a model: scorers, an embedder and a store of scores."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from podium.compose.stores import Row
from podium.types import ScoreKind, Scores


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
    """Returns what a function returns for the texts, valid or not. `calls` are the texts of each call."""

    model, revision = "function", None

    def __init__(self, scores: Callable[[Sequence[str]], Scores], score_kind: ScoreKind = "logit") -> None:
        self._scores, self.score_kind = scores, score_kind
        self.calls: list[list[str]] = []

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        self.calls.append(list(texts))
        return self._scores(texts)


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
