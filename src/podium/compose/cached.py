"""Cached: another scorer, asked only for pairs that a store does not remember. Where they are kept is the store's business."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from typing import Protocol

from podium.compose.wrapped import Wrapped
from podium.errors import PodiumError
from podium.types import AsyncScorer, ManyScorer, Progress, ScoreKind, Scorer, Scores

__all__ = ["CachedScorer", "Row", "Store"]

Row = tuple[float, float | None, int | None, int | None, int | None, int | None]
"""What is remembered of a pair: value, raw, and the text's tokens and dropped tokens, then the query's."""


class Store(Protocol):
    """Where rows are kept, by keys that say nothing of what they are of. Safe to share between threads."""

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Row]: ...
    def put(self, rows: Mapping[bytes, Row]) -> None: ...


class CachedScorer(Wrapped):
    """A scorer that remembers. `identity` must change whenever a score could; `asked` and `known` count texts so far.

    A store that fails (with a PodiumError) is no failure of the call: everything is computed, and a note says so.
    """

    def __init__(self, scorer: Scorer, store: Store, identity: str) -> None:
        super().__init__(scorer)
        self._store, self._identity = store, identity
        self.asked = self.known = 0
        self._lock = threading.Lock()

    @property
    def score_kind(self) -> ScoreKind:
        return self.scorer.score_kind

    @property
    def identity(self) -> str:
        return str(getattr(self.scorer, "identity", ""))

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        found = self._found(query, texts)
        given = self.scorer.score(query, found.missing_texts) if found.missing else Scores(())
        return self._scores(found, given)

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        import asyncio

        found = await asyncio.to_thread(self._found, query, texts)
        if not found.missing:
            given = Scores(())
        elif isinstance(self.scorer, AsyncScorer):
            given = await self.scorer.ascore(query, found.missing_texts)
        else:
            given = await asyncio.to_thread(self.scorer.score, query, found.missing_texts)
        return await asyncio.to_thread(self._scores, found, given)

    def score_many(
        self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]], *, progress: Progress | None = None
    ) -> list[Scores]:
        found = [self._found(query, texts) for query, texts in zip(queries, texts_per_query, strict=True)]
        if progress:
            progress(sum(len(each.keys) - len(each.missing) for each in found))
        if isinstance(self.scorer, ManyScorer):
            given = self.scorer.score_many(queries, [each.missing_texts for each in found], progress=progress)
        else:
            given = [self._asked(query, each, progress) for query, each in zip(queries, found, strict=True)]
        return [self._scores(each, scores) for each, scores in zip(found, given, strict=True)]

    def _asked(self, query: str, found: _Found, progress: Progress | None) -> Scores:
        given = self.scorer.score(query, found.missing_texts) if found.missing else Scores(())
        if progress:
            progress(len(found.missing))
        return given

    def _found(self, query: str, texts: Sequence[str]) -> _Found:
        keys, notes, known = [self._key(query, text) for text in texts], [], {}
        try:
            known = self._store.get(keys)
        except PodiumError as error:
            notes.append(str(error))
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        with self._lock:
            self.asked += len(missing)
            self.known += len(texts) - len(missing)
        return _Found(keys, known, missing, notes)

    def _scores(self, found: _Found, given: Scores) -> Scores:
        fresh = dict(zip(found.missing, _rows(given), strict=True))
        notes = [*given.notes, *found.notes]
        if known := sum(1 for key in found.keys if key in found.known):
            notes.append(f"{known} of {len(found.keys)} scores were remembered")
        if fresh and not found.notes:
            try:
                self._store.put(fresh)
            except PodiumError as error:
                notes.append(str(error))
        return _scores([found.known.get(key) or fresh[key] for key in found.keys], given, tuple(notes))

    def _key(self, query: str, text: str) -> bytes:
        parts = (part.encode("utf-8", "replace") for part in (self._identity, query, text))
        return hashlib.blake2b(b"".join(b"%d:%s" % (len(part), part) for part in parts), digest_size=20).digest()


class _Found:
    """What the store knew of a query's texts, and what is left to ask for."""

    def __init__(self, keys: list[bytes], known: dict[bytes, Row], missing: dict[bytes, str], notes: list[str]) -> None:
        self.keys, self.known, self.missing, self.notes = keys, known, missing, notes

    @property
    def missing_texts(self) -> list[str]:
        return list(self.missing.values())


def _rows(scores: Scores) -> list[Row]:
    unknown = [None] * len(scores.values)
    columns = (scores.raw, scores.tokens, scores.dropped_tokens, scores.query_tokens, scores.query_dropped_tokens)
    return list(zip(scores.values, *(column or unknown for column in columns), strict=True))


def _scores(rows: Sequence[Row], given: Scores, notes: tuple[str, ...]) -> Scores:
    columns = zip(*rows, strict=True) if rows else [()] * 6
    values, raw, tokens, dropped, query_tokens, query_dropped = columns
    return Scores(
        values=values,
        raw=None if None in raw else raw,
        tokens=tokens,
        dropped_tokens=dropped,
        query_tokens=query_tokens,
        query_dropped_tokens=query_dropped,
        total_tokens=given.total_tokens or 0,
        billed=given.billed,
        notes=notes,
    )
