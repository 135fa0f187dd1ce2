"""Plan, the order in which a call with a budget scores its texts, and how long each of them probably takes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from podium.compose.stepwise import ScoreStep
from podium.scorers import BaseScorer
from podium.texts import Texts, documents_of, selected_texts
from podium.types import Progress

__all__ = ["Plan"]

FIXED_CHARACTERS = 40  # a text takes about as long as if it had so many more characters
CHARACTERS_READ_PER_TOKEN = 6  # at most about so many characters of a text are read per token of the model's maximum length


class Plan:
    """The order in which the texts of all queries are scored: all first texts, then all second ones, and so on.

    A hosted model gets a request per query, and a listwise scorer all texts of a query, so these get one query after the other.
    A text's length is a number of characters that is proportional to the time that the text probably takes.
    """

    def __init__(self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]], scorer: BaseScorer) -> None:
        self._queries = queries
        self._texts_per_query = texts_per_query
        self._scorer = scorer
        self._has_one_query_per_step = scorer.is_remote or scorer.listwise
        pairs = [(query, position) for query, texts in enumerate(texts_per_query) for position, _ in enumerate(texts)]
        self._pairs = pairs if self._has_one_query_per_step else sorted(pairs, key=lambda pair: pair[1])
        reads_all = scorer.max_length is None or scorer.reads_passages
        most = math.inf if reads_all else (scorer.max_length or 0) * CHARACTERS_READ_PER_TOKEN
        self._texts = [texts_per_query[query][position] for query, position in self._pairs]
        fixed_lengths = [self._fixed_length(query) for query in range(len(queries))]
        self._lengths = [
            fixed_lengths[query] + min(len(text), most) for (query, _), text in zip(self._pairs, self._texts, strict=True)
        ]
        self._next = 0

    @property
    def count_left(self) -> int:
        return len(self._pairs) - self._next

    @property
    def next_texts(self) -> Sequence[str]:
        """The texts that a step can have, which are not all that are left if a step can have only one query."""
        return self._texts[self._next : self._end]

    @property
    def next_lengths(self) -> Sequence[float]:
        return self._lengths[self._next : self._end]

    def take(self, count: int, progress: Progress | None) -> tuple[list[list[int]], ScoreStep]:
        """Return the positions of the next texts, in a list per query, and the step that scores them."""
        positions_per_query: list[list[int]] = [[] for _ in self._queries]
        for query, position in self._pairs[self._next : self._next + count]:
            positions_per_query[query].append(position)
        self._next += count
        texts = [
            selected_texts(texts, positions)
            for texts, positions in zip(self._texts_per_query, positions_per_query, strict=True)
        ]
        return positions_per_query, ScoreStep(self._scorer, self._queries, texts, progress)

    def probe(self, character_count: int) -> tuple[int, ScoreStep, float]:
        """Return the query of the next text, and a step that scores only the beginning of that text, and the step's length.

        The text stays in the plan.
        """
        query, position = self._pairs[self._next]
        documents = documents_of(self._texts_per_query[query])
        text = self._texts[self._next].lstrip()[:character_count]
        texts = [text] if documents is None else Texts([text], [documents[position]])
        return query, ScoreStep(self._scorer, [self._queries[query]], [texts]), self._fixed_length(query) + len(text)

    def _fixed_length(self, query: int) -> int:
        return len(self._queries[query]) + FIXED_CHARACTERS

    @property
    def _end(self) -> int:
        if not (self._has_one_query_per_step and self.count_left):
            return len(self._pairs)
        query = self._pairs[self._next][0]
        return next((i for i in range(self._next, len(self._pairs)) if self._pairs[i][0] != query), len(self._pairs))
