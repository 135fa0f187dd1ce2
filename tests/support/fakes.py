"""Test doubles without a model: scorers, an embedder and a store of scores."""

from __future__ import annotations

import asyncio
import copy
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from podium.compose.stores import Row
from podium.encodings import Buffer, EncodingStore, KeyMaker
from podium.encodings.memory import MemoryEncodings
from podium.scorers import BaseScorer
from podium.types import Progress, ScoreKind, Scores


class WordOverlap:
    """A scorer that counts the query's words in a text. Tests rely on its many ties."""

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
    """A scorer that calls a function with the texts. The scores may be invalid. `calls` has the texts of each call."""

    model, revision = "function", None

    def __init__(self, function: Callable[[Sequence[str]], Scores], score_kind: ScoreKind = "logit") -> None:
        self._function = function
        self.score_kind = score_kind
        self.calls: list[list[str]] = []

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        self.calls.append(list(texts))
        return self._function(texts)


class LetterCounts(BaseScorer):
    """A scorer with encodings: an encoding has the number of each letter in a text, and a score is their dot product.

    `computed` are the texts that were encoded, in order, by this scorer and by its copies with other stores.
    """

    score_kind: ScoreKind = "similarity"

    def __init__(self, model: str = "letter-counts", store: EncodingStore | None = None) -> None:
        self._model = model
        self.store = store or MemoryEncodings(1_000_000)
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
        query_counts = np.frombuffer(_letter_counts(query), "<u2").astype(float)
        text_counts = [np.frombuffer(encoding, "<u2") for encoding in self._encodings(texts)]
        # The product is divided so that the similarity of short texts is below 1.
        return Scores([float(counts @ query_counts) / 1e6 for counts in text_counts])

    def _encodings(self, texts: Sequence[str]) -> list[Buffer]:
        """Return the encodings of the texts. Those that the store does not have are computed and stored."""
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
    """An embedder that adds up the random vectors of a text's bytes. `seed` determines the vectors and the model's name."""

    def __init__(self, seed=0, dimensions=8):
        self.model = f"letters-{seed}"
        self._rows = np.random.default_rng(seed).normal(size=(256, dimensions))

    def __call__(self, texts):
        return np.stack([self._rows[list(text.encode() or b" ")].sum(0) for text in texts])


def row_with_value(value: float) -> Row:
    """Return a row of a store of scores in which only the value is known."""
    return Row(value, raw=None, tokens=None, dropped_tokens=None, query_tokens=None, query_dropped_tokens=None)


class MemoryStore:
    """A store of scores for CachedScorer, in memory."""

    location = "memory"

    def __init__(self) -> None:
        self.rows: dict[bytes, Row] = {}

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Row]:
        return {key: self.rows[key] for key in keys if key in self.rows}

    def put(self, rows: Mapping[bytes, Row]) -> None:
        self.rows.update(rows)

    def close(self) -> None: ...


class WordTokens:
    """A TokenCounter whose tokens are words."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def token_starts(self, texts: Sequence[str]) -> list[Sequence[int]]:
        return [[match.start() for match in re.finditer(r"\S+", text)] for text in texts]

    def text_limit(self, query: str) -> int:
        return self._limit - len(query.split())


class Reader(BaseScorer):
    """A scorer that reads `limit` words of a query and a text together: the share of the words read that are in the query.

    `calls` has the texts of each call. Its counter believes that it reads `believed_limit` words, by default the same number.
    """

    score_kind: ScoreKind = "sigmoid"

    def __init__(self, limit: int, *, believed_limit: int | None = None, model: str = "reader") -> None:
        self._limit = limit
        self._counter = WordTokens(believed_limit or limit)
        self._model = model
        self.calls: list[list[str]] = []

    @property
    def model(self) -> str:
        return self._model

    @property
    def counts_dropped_tokens(self) -> bool:
        return True

    @property
    def token_counter(self) -> WordTokens:
        return self._counter

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        self.calls.append(list(texts))
        query_words = query.split()
        room = max(self._limit - len(query_words), 0)
        read = [text.split()[:room] for text in texts]
        values = [sum(word in query_words for word in words) / max(len(words), 1) for words in read]
        tokens = [len(words) for words in read]
        dropped = [len(text.split()) - count for text, count in zip(texts, tokens, strict=True)]
        return Scores(values, tokens=tokens, dropped_tokens=dropped, total_tokens=sum(tokens))


def is_on_event_loop() -> bool:
    """Whether the calling code blocks an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
