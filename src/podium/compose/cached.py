"""CachedScorer: compute only the scores that are not in a store."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from podium.compose.columns import is_by_own_model, selected_scores
from podium.compose.components import Component
from podium.compose.stepwise import CallStep, ScoreStep, Steps, StepwiseScorer
from podium.compose.stores import Row, Store, store_at
from podium.compose.wrapped import WrappedScorer
from podium.errors import InvalidInput, PodiumError
from podium.inputs import refuse_unknown_names
from podium.options import Option
from podium.scorers import HasScorer
from podium.texts import selected_texts
from podium.types import Passage, Progress, Scorer, Scores

__all__ = ["COMPONENT", "CachedScorer"]


@dataclass(frozen=True, slots=True)
class _Lookup:
    """The scores of one query that are in the store, and the texts whose scores are missing.

    Equal texts have the same key, so a text that occurs several times is scored once.

    - `texts`: all texts of the query. `keys`: one key per text.
    - `stored_rows`: key → the row in the store.
    - `missing_positions`: key → the position of the first text with this key, if its score is not in the store.
    - `notes`: a note about the failure of the store, if it failed.
    """

    texts: Sequence[str]
    keys: list[bytes]
    stored_rows: dict[bytes, Row]
    missing_positions: dict[bytes, int]
    notes: list[str]

    @property
    def missing_texts(self) -> Sequence[str]:
        return selected_texts(self.texts, self.missing_positions.values())

    def without_stored_rows(self) -> _Lookup:
        return replace(self, stored_rows={}, missing_positions=_first_positions(self.keys))


class CachedScorer(StepwiseScorer, WrappedScorer):
    """A scorer that stores the scores of another scorer, and lets it compute only scores that are not stored.

    The key of a score is a hash of the scorer's model, revision and identity, the query and the text. If the store fails,
    all texts are scored and a note says so. If another model had to score the texts, for example in a Fallback, its scores are
    not stored, and are not mixed with stored ones: all texts of the query are scored again.

    Raises InvalidInput for a scorer whose score of a document depends on the other documents (it is listwise), or on other
    fields of the document than its text.
    """

    @refuse_unknown_names
    def __init__(self, scorer: Scorer | HasScorer, store: Store) -> None:
        super().__init__(scorer)
        if self.listwise:
            raise InvalidInput(
                f"{self.model} scores documents relative to each other, so its scores cannot be cached; leave out the cache"
            )
        if self.reads_documents:
            raise InvalidInput(
                f"this scorer by {self.model} also reads other fields of a document, such as its title, which the cache does "
                "not know; cache the scorer inside it"
            )
        self._store = store
        self._key_prefix = f"{self.model}@{self.revision}:{self.identity}"

    def with_instruction(self, instruction: str) -> CachedScorer:
        return CachedScorer(self.scorer.with_instruction(instruction), self._store)

    def settings(self) -> dict[str, Any]:
        return {"use": "Cached", "store": self._store.location, "scorer": self.scorer}

    def steps(
        self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]], progress: Progress | None = None
    ) -> Steps:
        lookups: list[_Lookup] = yield CallStep(functools.partial(self._lookups, queries, texts_per_query))
        if progress:
            progress(sum(len(lookup.keys) - len(lookup.missing_positions) for lookup in lookups))
        fresh_scores = yield ScoreStep(self.scorer, queries, [lookup.missing_texts for lookup in lookups], progress)
        # If another model had to score a query, its scores are not mixed with stored ones: all texts are scored again.
        mixed = [i for i, scores in enumerate(fresh_scores) if lookups[i].stored_rows and not is_by_own_model(scores)]
        if mixed:
            for i in mixed:
                lookups[i] = lookups[i].without_stored_rows()
            new_scores = yield ScoreStep(self.scorer, [queries[i] for i in mixed], [lookups[i].missing_texts for i in mixed])
            for i, scores in zip(mixed, new_scores, strict=True):
                fresh_scores[i] = scores
        merged: list[Scores] = yield CallStep(lambda: list(map(self._merge, lookups, fresh_scores)))
        return merged

    def _lookups(self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]]) -> list[_Lookup]:
        return [self._lookup(query, texts) for query, texts in zip(queries, texts_per_query, strict=True)]

    def _lookup(self, query: str, texts: Sequence[str]) -> _Lookup:
        keys = self._keys(query, texts)
        notes: list[str] = []
        stored_rows: dict[bytes, Row] = {}
        try:
            stored_rows = self._store.get(keys)
        except PodiumError as error:
            notes.append(f"{error}; scores were computed")
        missing_positions = {key: position for key, position in _first_positions(keys).items() if key not in stored_rows}
        return _Lookup(texts, keys, stored_rows, missing_positions, notes)

    def _merge(self, lookup: _Lookup, fresh_scores: Scores) -> Scores:
        """Store `fresh_scores`, the scores of the missing texts, and return the scores of all texts in order.

        Scores of another model are not stored, and neither are those that are not finite numbers: the ranking refuses them, and
        they may be an error that passes.
        """
        if not is_by_own_model(fresh_scores):
            indices = {key: index for index, key in enumerate(lookup.missing_positions)}
            scores = selected_scores(fresh_scores, [indices[key] for key in lookup.keys])
            return replace(scores, notes=(*scores.notes, *lookup.notes))
        rows = dict(zip(lookup.missing_positions, _rows(fresh_scores), strict=True))
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
    content = text.encode("utf-8", "surrogatepass")  # texts that differ only in surrogates need different hashes
    return b"%d:%s" % (len(content), content)


def _cached(scorer: Scorer, store: str) -> CachedScorer:
    return CachedScorer(scorer, store_at(store))


COMPONENT = Component(
    name="Cached",
    create=_cached,
    scorers=("scorer",),
    options=(Option("store", str),),
    required=("store",),
    files=("store",),
)


def _first_positions(keys: Sequence[bytes]) -> dict[bytes, int]:
    """Return the position of the first text with each key."""
    positions: dict[bytes, int] = {}
    for position, key in enumerate(keys):
        positions.setdefault(key, position)
    return positions


def _is_finite(row: Row) -> bool:
    try:
        return math.isfinite(row.value) and (row.raw is None or math.isfinite(row.raw))
    except (TypeError, OverflowError):  # for a string, or an integer that is too large for a float
        return False


def _rows(scores: Scores) -> list[Row]:
    """Return the scores as rows, one per text. Numbers of numpy, which a user's scorer may return, become those of Python."""
    unknown = [None] * len(scores.values)
    raw = unknown if scores.raw is None else map(float, scores.raw)
    counts = (scores.tokens, scores.dropped_tokens, scores.query_tokens, scores.query_dropped_tokens)
    count_columns = [unknown if column is None else _integers(column) for column in counts]
    rows = [Row(*fields) for fields in zip(map(float, scores.values), raw, *count_columns, strict=True)]
    if scores.passages is None:
        return rows
    return [row if passage is None else _with_passage(row, passage) for row, passage in zip(rows, scores.passages, strict=True)]


def _integers(column: Sequence[int | None]) -> list[int | None]:
    return [None if count is None else int(count) for count in column]


def _with_passage(row: Row, passage: Passage) -> Row:
    return row._replace(passage_start=int(passage.start), passage_end=int(passage.end), passage_score=float(passage.score))


def _passage(row: Row) -> Passage | None:
    if row.passage_start is None or row.passage_end is None or row.passage_score is None:
        return None
    return Passage(row.passage_start, row.passage_end, row.passage_score)


def _computed_tokens(fresh_scores: Scores) -> int | None:
    """Return how many tokens were computed, None if unknown."""
    if fresh_scores.total_tokens is not None or not len(fresh_scores.values):
        return fresh_scores.total_tokens or 0
    counts = fresh_scores.tokens
    return None if counts is None or None in counts else sum(count for count in counts if count)


def _scores(rows: Sequence[Row], fresh_scores: Scores, notes: tuple[str, ...], remembered_count: int) -> Scores:
    """Return the scores in `rows`. Cached scores cost nothing, so `total_tokens` and `billed` are those of `fresh_scores`."""
    raw = [row.raw for row in rows if row.raw is not None]
    passages = [_passage(row) for row in rows]
    return Scores(
        values=[row.value for row in rows],
        raw=raw if len(raw) == len(rows) else None,
        tokens=[row.tokens for row in rows],
        dropped_tokens=[row.dropped_tokens for row in rows],
        query_tokens=[row.query_tokens for row in rows],
        query_dropped_tokens=[row.query_dropped_tokens for row in rows],
        total_tokens=_computed_tokens(fresh_scores),
        billed=fresh_scores.billed,
        notes=notes,
        remembered=remembered_count,
        encoded=fresh_scores.encoded,
        passages=passages if any(passages) else None,
    )
