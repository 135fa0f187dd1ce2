"""CachedScorer: compute only the scores that are not in a store."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from podium.compose.stores import Row, Store
from podium.compose.wrapped import WrappedScorer
from podium.errors import InvalidInput, PodiumError
from podium.threads import to_thread
from podium.types import Progress, Scorer, Scores

__all__ = ["CachedScorer"]


@dataclass(frozen=True, slots=True)
class _Lookup:
    """The scores of one query that are in the store, and the texts whose scores are missing.

    Equal texts have the same key, so a text that occurs several times is scored once.

    - `keys`: one key per text, in the order of the texts.
    - `stored_rows`: key → the row in the store.
    - `missing`: key → a text that has to be scored.
    - `notes`: a note about the failure of the store, if it failed.
    """

    keys: list[bytes]
    stored_rows: dict[bytes, Row]
    missing: dict[bytes, str]
    notes: list[str]

    @property
    def missing_texts(self) -> list[str]:
        return list(self.missing.values())


class CachedScorer(WrappedScorer):
    """A scorer that stores the scores of another scorer, and lets it compute only scores that are not stored.

    The key of a score is a hash of the scorer's model, revision and identity, the query and the text. If the store fails,
    all texts are scored and a note says so. Raises InvalidInput for a listwise scorer, because its score of a document depends
    on the other documents.
    """

    def __init__(self, scorer: Scorer, store: Store) -> None:
        super().__init__(scorer)
        if self.listwise:
            raise InvalidInput(
                f"{self.model} scores documents relative to each other, so its scores cannot be cached; leave out the cache"
            )
        self._store = store
        self._key_prefix = f"{self.model}@{self.revision}:{self.identity}"

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        lookup = self._lookup(query, texts)
        fresh_scores = self.scorer.score(query, lookup.missing_texts) if lookup.missing else Scores(())
        return self._merge(lookup, fresh_scores)

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        lookup = await to_thread(self._lookup, query, texts)
        fresh_scores = await self.scorer.ascore(query, lookup.missing_texts) if lookup.missing else Scores(())
        return await to_thread(self._merge, lookup, fresh_scores)

    def score_many(
        self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]], *, progress: Progress | None = None
    ) -> list[Scores]:
        lookups = [self._lookup(query, texts) for query, texts in zip(queries, texts_per_query, strict=True)]
        if progress:
            progress(sum(len(lookup.keys) - len(lookup.missing) for lookup in lookups))
        fresh_per_query = self.scorer.score_many(queries, [lookup.missing_texts for lookup in lookups], progress=progress)
        return [self._merge(lookup, fresh_scores) for lookup, fresh_scores in zip(lookups, fresh_per_query, strict=True)]

    def _lookup(self, query: str, texts: Sequence[str]) -> _Lookup:
        keys = self._keys(query, texts)
        notes: list[str] = []
        stored_rows: dict[bytes, Row] = {}
        try:
            stored_rows = self._store.get(keys)
        except PodiumError as error:
            notes.append(f"{error}; scores were computed")
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in stored_rows}
        return _Lookup(keys, stored_rows, missing, notes)

    def _merge(self, lookup: _Lookup, fresh_scores: Scores) -> Scores:
        """Store `fresh_scores`, the scores of the missing texts, and return the scores of all texts in order.

        Scores that are not finite numbers are not stored: the ranking refuses them, and they may be an error that passes.
        Raises PodiumError if there is not one score per missing text.
        """
        if len(fresh_scores.values) != len(lookup.missing):
            raise PodiumError(f"{self.model} returned {len(fresh_scores.values)} scores for {len(lookup.missing)} texts")
        rows = dict(zip(lookup.missing, _rows(fresh_scores), strict=True))
        notes = [*fresh_scores.notes, *lookup.notes]
        remembered_count = sum(1 for key in lookup.keys if key in lookup.stored_rows)
        if remembered_count:
            notes.append(f"{remembered_count} of {len(lookup.keys)} scores were remembered")
        finite_rows = {key: row for key, row in rows.items() if _is_finite(row)}
        if finite_rows and not lookup.notes:  # a store that has just failed is not tried again
            try:
                self._store.put(finite_rows)
            except PodiumError as error:
                notes.append(f"{error}; scores were not stored")
        all_rows = [lookup.stored_rows.get(key) or rows[key] for key in lookup.keys]
        return _scores(all_rows, fresh_scores, tuple(notes), remembered_count)

    def _keys(self, query: str, texts: Sequence[str]) -> list[bytes]:
        """Return a hash of 20 bytes for each text. The model and the query are hashed only once."""
        query_hash = hashlib.blake2b(_with_length(self._key_prefix) + _with_length(query), digest_size=20)
        keys = []
        for text in texts:
            text_hash = query_hash.copy()
            text_hash.update(_with_length(text))
            keys.append(text_hash.digest())
        return keys


def _with_length(text: str) -> bytes:
    """Return a text for a hash, with its length before it, so that "ab", "c" and "a", "bc" have different hashes."""
    content = text.encode("utf-8", "replace")
    return b"%d:%s" % (len(content), content)


def _is_finite(row: Row) -> bool:
    try:
        return math.isfinite(row.value) and (row.raw is None or math.isfinite(row.raw))
    except (TypeError, OverflowError):  # for a string, or an integer that is too large for a float
        return False


def _rows(scores: Scores) -> list[Row]:
    """Return the scores as rows, one per text."""
    unknown = [None] * len(scores.values)
    optional_columns = (scores.raw, scores.tokens, scores.dropped_tokens, scores.query_tokens, scores.query_dropped_tokens)
    columns = [unknown if column is None else column for column in optional_columns]
    return [Row(*row) for row in zip(scores.values, *columns, strict=True)]


def _scores(rows: Sequence[Row], fresh_scores: Scores, notes: tuple[str, ...], remembered_count: int) -> Scores:
    """Return the scores in `rows`. Cached scores cost nothing, so `total_tokens` and `billed` are those of `fresh_scores`."""
    columns = zip(*rows, strict=True) if rows else [()] * len(Row._fields)
    values, raw, tokens, dropped_tokens, query_tokens, query_dropped_tokens = columns
    return Scores(
        values=values,
        raw=None if None in raw else raw,
        tokens=tokens,
        dropped_tokens=dropped_tokens,
        query_tokens=query_tokens,
        query_dropped_tokens=query_dropped_tokens,
        total_tokens=fresh_scores.total_tokens or 0,
        billed=fresh_scores.billed,
        notes=notes,
        remembered=remembered_count,
        encoded=fresh_scores.encoded,
    )
