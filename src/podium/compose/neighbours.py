"""Neighbours: the similarity between candidates changes their scores, as in pseudo-relevance feedback."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from podium.compose.components import Component
from podium.compose.fused import check_weight, fused_values
from podium.compose.normalization import min_max
from podium.compose.stepwise import CallStep, EitherStep, ScoreStep, Steps, StepwiseScorer
from podium.compose.wrapped import WrappedScorer
from podium.documents import missing_field
from podium.embedding import adocument_vectors, aquery_vector, check_embedder, document_vectors, embedder_name, query_vector
from podium.errors import Argument, InvalidInput
from podium.inputs import check_positive, refuse_unknown_names, without_none
from podium.options import Option
from podium.ordering import is_scored, order_of
from podium.scorers import HasScorer
from podium.texts import documents_of
from podium.types import Embed, Progress, ScoreKind, Scorer, Scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

__all__ = ["COMPONENT", "Neighbours"]

ROWS_AT_ONCE = 512  # documents whose similarities to all others are in memory together


@dataclass(frozen=True, slots=True)
class _Options:
    """The options of Neighbours that are numbers. The docstring of Neighbours describes them."""

    best: int
    move: float
    weight: float
    neighbours: int
    share: float


class Neighbours(StepwiseScorer, WrappedScorer):
    """A scorer that changes the scores of `scorer` by the similarity between the documents. Scores depend on all documents.

    First, the query's vector is moved towards the mean of the best documents' vectors, and each document's cosine with it is
    fused with its score. Then each score is averaged with those of the most similar documents.

    - `embed`: an `Embedder`, or a function from texts to vectors. It embeds the query, and texts whose vectors are not known.
    - `vector`: the name of a field in which documents have their vectors, as numbers or as float32 bytes. They must be by the
      same embedder. If no document has the field, a note says so.
    - `best`: how many of the best documents the query moves towards; `move`: how far, from 0 to 1.
    - `weight`: the share of `scorer` when its scores and the cosines are fused. Both are scaled to the range from 0 to 1.
    - `neighbours`: how many of the most similar documents a score is averaged with; `share`: their share, from 0 to 1.

    It is listwise: the same document has another score among other documents. So it cannot be cached; cache `scorer`. A score
    says less about the document itself, so do not use it with a threshold. Raises InvalidInput, and SourceError if the embedder
    fails.
    """

    @refuse_unknown_names
    def __init__(
        self,
        scorer: Scorer | HasScorer,
        embed: Embed,
        *,
        vector: str | None = None,
        best: int = 5,
        move: float = 0.5,
        weight: float = 0.7,
        neighbours: int = 3,
        share: float = 0.2,
    ) -> None:
        super().__init__(scorer)
        check_embedder(embed)
        for name, count in (("best", best), ("neighbours", neighbours)):
            check_positive(name, count)
        weights = {name: check_weight(name, value) for name, value in (("move", move), ("weight", weight), ("share", share))}
        if vector is not None and (not isinstance(vector, str) or not vector):
            raise InvalidInput(Argument("vector"), f" must be the name of a field, not {vector!r:.40}")
        self.embed = embed
        self.vector = vector
        self.options = _Options(best=best, neighbours=neighbours, **weights)

    def __repr__(self) -> str:
        return f"Neighbours({self.scorer!r}, {self.embed!r})"

    @property
    def model(self) -> str:
        return f"Neighbours({self.scorer.model})"

    @property
    def score_kind(self) -> ScoreKind:
        return "fused"

    @property
    def identity(self) -> str:
        return f"neighbours:{self.options}:{self.vector}:{embedder_name(self.embed)}:{self.scorer.identity}"

    @property
    def listwise(self) -> bool:
        return True

    @property
    def reads_documents(self) -> bool:
        return self.vector is not None or self.scorer.reads_documents

    def settings(self) -> dict[str, Any]:
        options = {"vector": self.vector, **asdict(self.options)}
        embed = embedder_name(self.embed) or type(self.embed).__name__
        return {"use": "Neighbours", "embed": embed, **without_none(options), "scorer": self.scorer}

    def steps(
        self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]], progress: Progress | None = None
    ) -> Steps:
        scores_per_query: list[Scores] = yield ScoreStep(self.scorer, queries, texts_per_query, progress)
        changed_scores = []
        for query, texts, scores in zip(queries, texts_per_query, scores_per_query, strict=True):
            if len(texts) == 0:
                changed_scores.append(scores)
                continue
            own_vectors: dict[int, Any] = yield CallStep(functools.partial(self._own_vectors, texts))
            embedded_positions = [position for position in range(len(texts)) if position not in own_vectors]
            embedded_texts = [texts[position] for position in embedded_positions]
            query_row, rows = yield EitherStep(
                functools.partial(_vectors, self.embed, query, embedded_texts),
                functools.partial(_avectors, self.embed, query, embedded_texts),
            )
            all_rows = own_vectors | dict(zip(embedded_positions, rows, strict=True))
            new_scores = yield CallStep(functools.partial(self._changed, scores, query_row, all_rows))
            changed_scores.append(replace(new_scores, notes=(*new_scores.notes, *self._vector_notes(texts, own_vectors))))
        return changed_scores

    def _vector_notes(self, texts: Sequence[str], own_vectors: Mapping[int, Vectors]) -> list[str]:
        """Return a note if no document has a vector, because the field's name may be misspelled."""
        documents = documents_of(texts)
        if self.vector is None or own_vectors or documents is None:
            return []
        return [missing_field(self.vector, documents, "all texts were embedded")]

    def _own_vectors(self, texts: Sequence[str]) -> dict[int, Vectors]:
        """Return the vectors that documents have, by position. Raises InvalidInput if one cannot be read."""
        documents = documents_of(texts)
        if self.vector is None or documents is None:
            return {}
        rows = {}
        for position, document in enumerate(documents):
            if isinstance(document, Mapping) and document.get(self.vector) is not None:
                rows[position] = _row(document[self.vector], self.vector)
        return rows

    def _changed(self, scores: Scores, query_row: Vectors, rows: Mapping[int, Vectors]) -> Scores:
        """Return the scores, fused with the cosines and averaged with the neighbours. `rows` has the vector of each position.

        Raises InvalidInput if the vectors differ in length.
        """
        import numpy as np

        lengths = {len(query_row), *map(len, rows.values())}
        if len(lengths) > 1:
            raise InvalidInput(
                Argument("vector"),
                f" has vectors of {min(lengths)} to {max(lengths)} numbers together with the embedder's; all must be by "
                "the same embedder",
            )
        matrix = _normalized(np.stack([rows[position] for position in range(len(rows))]))
        cosines = matrix @ self._moved_query(scores, query_row, matrix)
        values = fused_values(scores, self.options.weight, "min-max", min_max(cosines.tolist()))
        for positions in _positions_per_tier(scores):
            averaged = _averaged([values[position] for position in positions], matrix[positions], self.options)
            for position, value in zip(positions, averaged, strict=True):
                values[position] = value
        return replace(scores, values=values, raw=None, score_kind="fused")

    def _moved_query(self, scores: Scores, query_row: Vectors, matrix: Vectors) -> Vectors:
        """Return the query's vector, moved towards the mean of the best documents that were scored."""
        scored = is_scored(scores)
        best = [position for position in order_of(scores)[: self.options.best] if scored[position]]
        query: Vectors = _normalized(query_row[None])[0]
        if not best:
            return query
        moved: Vectors = (1 - self.options.move) * query + self.options.move * matrix[best].mean(axis=0)
        return moved


COMPONENT = Component(
    name="Neighbours",
    create=Neighbours,
    scorers=("scorer",),
    options=(
        Option("embed", str),
        Option("vector", str),
        Option("best", int, minimum=1),
        Option("move", float, minimum=0, maximum=1),
        Option("weight", float, minimum=0, maximum=1),
        Option("neighbours", int, minimum=1),
        Option("share", float, minimum=0, maximum=1),
    ),
    required=("embed",),
    embedders=("embed",),
)


def _vectors(embed: Embed, query: str, texts: list[str]) -> tuple[Vectors, Sequence[Vectors]]:
    """Return the vectors of a query and of texts."""
    return query_vector(embed, query), list(document_vectors(embed, texts)) if texts else []


async def _avectors(embed: Embed, query: str, texts: list[str]) -> tuple[Vectors, Sequence[Vectors]]:
    return await aquery_vector(embed, query), list(await adocument_vectors(embed, texts)) if texts else []


def _row(value: Any, name: str) -> Vectors:
    """Return the vector in a document's field, float32 of shape (dimensions,). Raises InvalidInput."""
    import numpy as np

    try:
        row = np.frombuffer(value, np.float32) if isinstance(value, bytes) else np.asarray(value, np.float32)
    except (TypeError, ValueError, OverflowError):
        row = np.zeros(0, np.float32)
    if row.ndim != 1 or not len(row) or not np.isfinite(row).all():
        raise InvalidInput(f"a document's field {name!r:.60} is not a vector; it must be a list of numbers, or float32 bytes")
    return row


def _normalized(rows: Vectors) -> Vectors:
    """Return the rows with length 1. A row of zeros stays as it is."""
    import numpy as np

    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)  # squares of large numbers exceed a float32
    normalized: Vectors = (rows / np.where(lengths == 0, 1.0, lengths)).astype(np.float32)
    return normalized


def _positions_per_tier(scores: Scores) -> list[list[int]]:
    """Return the positions of the scored texts of each tier."""
    tiers = [0] * len(scores.values) if scores.tiers is None else scores.tiers
    positions: dict[int, list[int]] = {}
    for position, scored in enumerate(is_scored(scores)):
        if scored:
            positions.setdefault(tiers[position], []).append(position)
    return list(positions.values())


def _averaged(values: Sequence[float], matrix: Vectors, options: _Options) -> list[float]:
    """Return each value averaged with those of its nearest neighbours. `matrix` has the vector of each."""
    import numpy as np

    count = min(options.neighbours, len(values) - 1)
    if count < 1:
        return list(values)
    numbers = np.array(values, np.float64)
    averaged = []
    for begin in range(0, len(values), ROWS_AT_ONCE):
        similarities = matrix[begin : begin + ROWS_AT_ONCE] @ matrix.T
        rows = np.arange(len(similarities))
        similarities[rows, begin + rows] = -np.inf  # a document is not its own neighbour
        nearest = np.argsort(-similarities, axis=1, kind="stable")[:, :count]
        own = numbers[begin : begin + ROWS_AT_ONCE]
        averaged += ((1 - options.share) * own + options.share * numbers[nearest].mean(axis=1)).tolist()
    return averaged
