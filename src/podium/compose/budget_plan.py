"""Plan, the order in which a call with a budget scores its texts, and how long each of them probably takes."""

from __future__ import annotations

import bisect
import math
import operator
from collections.abc import Sequence
from typing import NamedTuple

from podium.compose.stepwise import ScoreStep
from podium.scorers import BaseScorer
from podium.texts import Texts, documents_of, selected_texts
from podium.types import Progress

__all__ = ["Plan", "Probe"]

FIXED_CHARACTERS = 40  # the time that every text takes besides that for its characters, as a number of characters
CHARACTERS_READ_PER_TOKEN = 6  # a model with a maximum length of n tokens reads at most about 6 n characters of a text


class Probe(NamedTuple):
    """A step that scores only the beginning of a text, to measure how fast its scorer is.

    `query_index` is the index of the text's query, and `length` the length that the step's time is proportional to.
    """

    query_index: int
    step: ScoreStep
    length: float


class Plan:
    """The order in which the texts of all queries are scored.

    Usually all first texts come first, then all second ones, and so on. A step of a hosted or listwise scorer can have only the
    texts of one query, so for these one query comes after another.

    The time that a text takes is estimated from its length in characters, which is that of the query, of the text as far as the
    model reads it, and of FIXED_CHARACTERS together.
    """

    def __init__(self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]], scorer: BaseScorer) -> None:
        self._queries = queries
        self._texts_per_query = texts_per_query
        self._scorer = scorer
        self._has_one_query_per_step = scorer.is_remote or scorer.listwise
        pairs = [(query_index, position) for query_index, texts in enumerate(texts_per_query) for position in range(len(texts))]
        self._pairs = pairs if self._has_one_query_per_step else sorted(pairs, key=lambda pair: pair[1])
        self._ordered_texts = [texts_per_query[query_index][position] for query_index, position in self._pairs]
        self._lengths = self._text_lengths()
        self._taken_count = 0

    @property
    def count_left(self) -> int:
        return len(self._pairs) - self._taken_count

    @property
    def next_texts(self) -> Sequence[str]:
        """The texts that the next step may have: all that are left, or those of the next query if it can have only one."""
        return self._ordered_texts[self._taken_count : self._end()]

    @property
    def next_lengths(self) -> Sequence[float]:
        """The lengths of `next_texts`."""
        return self._lengths[self._taken_count : self._end()]

    def take(self, count: int, progress: Progress | None) -> tuple[list[list[int]], ScoreStep]:
        """Remove the next `count` texts from the plan, at most as many as `next_texts` has.

        Return their positions, in a list per query, and the step that scores them.
        """
        positions_per_query: list[list[int]] = [[] for _ in self._queries]
        for query_index, position in self._pairs[self._taken_count : self._taken_count + count]:
            positions_per_query[query_index].append(position)
        self._taken_count += count
        texts_per_query = [
            selected_texts(texts, positions)
            for texts, positions in zip(self._texts_per_query, positions_per_query, strict=True)
        ]
        return positions_per_query, ScoreStep(self._scorer, self._queries, texts_per_query, progress)

    def probe(self, character_count: int) -> Probe:
        """Return the step that scores the first characters of the next text, which stays in the plan."""
        query_index, position = self._pairs[self._taken_count]
        documents = documents_of(self._texts_per_query[query_index])
        text = self._ordered_texts[self._taken_count].lstrip()[:character_count]
        texts = [text] if documents is None else Texts([text], [documents[position]])
        step = ScoreStep(self._scorer, [self._queries[query_index]], [texts])
        return Probe(query_index, step, self._length_beside_text(query_index) + len(text))

    def _text_lengths(self) -> list[float]:
        """Return the length of each text in `_ordered_texts`."""
        max_characters = math.inf
        if self._scorer.max_length is not None and not self._scorer.reads_passages:
            max_characters = self._scorer.max_length * CHARACTERS_READ_PER_TOKEN
        return [
            self._length_beside_text(query_index) + min(len(text), max_characters)
            for (query_index, _), text in zip(self._pairs, self._ordered_texts, strict=True)
        ]

    def _length_beside_text(self, query_index: int) -> int:
        return len(self._queries[query_index]) + FIXED_CHARACTERS

    def _end(self) -> int:
        """Return the position after the last text that the next step may have."""
        if not self._has_one_query_per_step or not self.count_left:
            return len(self._pairs)
        next_query_index, _ = self._pairs[self._taken_count]
        # With one query per step, the pairs are in the order of their queries.
        return bisect.bisect_right(self._pairs, next_query_index, lo=self._taken_count, key=operator.itemgetter(0))
