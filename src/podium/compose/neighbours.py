"""Neighbours: the similarity between candidates changes their scores, as in pseudo-relevance feedback."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from podium.compose.components import Component
from podium.compose.fused import check_weight, fused_values, positions_by_tier
from podium.compose.normalization import min_max
from podium.compose.stepwise import CallStep, EitherStep, ScoreStep, Steps, StepwiseScorer
from podium.compose.wrapped import WrappedScorer
from podium.documents import has_field, missing_field
from podium.embedding import (
    adocument_vectors,
    aquery_vector,
    check_embedder,
    document_vectors,
    dot_products,
    embedder_name,
    query_vector,
)
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

    Vector = NDArray[np.float32]  # of shape (dimensions,)
    Vectors = NDArray[np.float32]  # of shape (texts, dimensions)

__all__ = ["COMPONENT", "Neighbours"]

DOCUMENTS_AT_ONCE = 512  # documents whose similarities to all others are in memory together


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
      same embedder. If no document has one, a note says so.
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
        shares = {name: check_weight(name, value) for name, value in (("move", move), ("weight", weight), ("share", share))}
        if vector is not None and (not isinstance(vector, str) or not vector):
            raise InvalidInput(Argument("vector"), f" must be the name of a field, not {vector!r:.40}")
        self.embed = embed
        self.vector = vector
        self.options = _Options(best=best, neighbours=neighbours, **shares)

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
        results = []
        for query, texts, scores in zip(queries, texts_per_query, scores_per_query, strict=True):
            if len(texts) == 0:
                results.append(scores)
                continue
            own_vectors: dict[int, Any] = yield CallStep(functools.partial(self._own_vectors, texts))
            embedded_positions = [position for position in range(len(texts)) if position not in own_vectors]
            embedded_texts = [texts[position] for position in embedded_positions]
            vector_of_query, new_vectors = yield EitherStep(
                functools.partial(_embedded, self.embed, query, embedded_texts),
                functools.partial(_aembedded, self.embed, query, embedded_texts),
            )
            vectors = own_vectors | dict(zip(embedded_positions, new_vectors, strict=True))
            changed = yield CallStep(functools.partial(self._changed_scores, scores, vector_of_query, vectors))
            results.append(replace(changed, notes=(*changed.notes, *self._vector_notes(texts, own_vectors))))
        return results

    def _vector_notes(self, texts: Sequence[str], own_vectors: Mapping[int, Vector]) -> list[str]:
        """Return a note if no document has a vector, because the field's name may be misspelled."""
        documents = documents_of(texts)
        if self.vector is None or own_vectors or documents is None:
            return []
        consequence = "all texts were embedded"
        if any(not isinstance(document, str) and has_field(document, self.vector) for document in documents):
            return [f"no document is a mapping with a vector under the key {self.vector!r:.60}, so {consequence}"]
        return [missing_field(self.vector, documents, consequence)]

    def _own_vectors(self, texts: Sequence[str]) -> dict[int, Vector]:
        """Return the vectors that documents have, by position. Raises InvalidInput if one cannot be read."""
        documents = documents_of(texts)
        if self.vector is None or documents is None:
            return {}
        vectors = {}
        for position, document in enumerate(documents):
            if isinstance(document, Mapping) and document.get(self.vector) is not None:
                vectors[position] = _vector(document[self.vector], self.vector)
        return vectors

    def _changed_scores(self, scores: Scores, vector_of_query: Vector, vectors: Mapping[int, Vector]) -> Scores:
        """Return the scores, fused with the cosines and averaged with the neighbours. `vectors` has one for each position.

        Raises InvalidInput if the vectors differ in length.
        """
        import numpy as np

        lengths = {len(vector_of_query), *map(len, vectors.values())}
        if len(lengths) > 1:
            raise InvalidInput(
                f"the vectors of the query and the documents have {min(lengths)} to {max(lengths)} numbers; all must be by the "
                "same embedder, also those in documents"
            )
        matrix = _normalized(np.stack([vectors[position] for position in range(len(vectors))]))
        # The moved query does not have length 1, so these are the cosines times a constant, which min_max removes.
        scaled_cosines = dot_products(matrix, self._moved_query(scores, vector_of_query, matrix))
        values = fused_values(scores, self.options.weight, "min-max", min_max(scaled_cosines.tolist()))
        for positions in positions_by_tier(scores).values():  # scores of different tiers are those of different models
            averaged = _averaged([values[position] for position in positions], matrix[positions], self.options)
            for position, value in zip(positions, averaged, strict=True):
                values[position] = value
        return replace(scores, values=values, raw=None, score_kind="fused")

    def _moved_query(self, scores: Scores, vector_of_query: Vector, matrix: Vectors) -> Vector:
        """Return the query's vector, scaled to length 1 and moved towards the mean of the best documents that were scored."""
        scored = is_scored(scores)
        best_positions = [position for position in order_of(scores)[: self.options.best] if scored[position]]
        query: Vector = _normalized(vector_of_query[None])[0]
        if not best_positions:
            return query
        moved: Vector = (1 - self.options.move) * query + self.options.move * matrix[best_positions].mean(axis=0)
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


def _embedded(embed: Embed, query: str, texts: list[str]) -> tuple[Vector, Sequence[Vector]]:
    """Return the vectors of a query and of texts."""
    vector = query_vector(embed, query)
    return vector, (list(document_vectors(embed, texts)) if texts else [])


async def _aembedded(embed: Embed, query: str, texts: list[str]) -> tuple[Vector, Sequence[Vector]]:
    """Do what `_embedded` does without blocking the event loop."""
    vector = await aquery_vector(embed, query)
    return vector, (list(await adocument_vectors(embed, texts)) if texts else [])


def _vector(value: Any, name: str) -> Vector:
    """Return the vector in a document's field. Raises InvalidInput."""
    import numpy as np

    try:
        vector = np.frombuffer(value, np.float32) if isinstance(value, bytes) else np.asarray(value, np.float32)
        is_valid = vector.ndim == 1 and len(vector) > 0 and bool(np.isfinite(vector).all())
    except (TypeError, ValueError, OverflowError):
        is_valid = False
    if not is_valid:
        raise InvalidInput(f"a document's field {name!r:.60} is not a vector; it must be a list of numbers, or float32 bytes")
    return vector


def _normalized(vectors: Vectors) -> Vectors:
    """Return the vectors with length 1. A vector of zeros stays as it is."""
    import numpy as np

    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)  # squares of large numbers exceed a float32
    normalized: Vectors = (vectors / np.where(lengths == 0, 1.0, lengths)).astype(np.float32)
    return normalized


def _averaged(values: Sequence[float], matrix: Vectors, options: _Options) -> list[float]:
    """Return each value averaged with those of its nearest neighbours. `matrix` has the vector of each, with length 1."""
    import numpy as np

    count = min(options.neighbours, len(values) - 1)
    if count < 1:
        return list(values)
    numbers = np.array(values, np.float64)
    averaged = []
    for begin in range(0, len(values), DOCUMENTS_AT_ONCE):
        similarities = matrix[begin : begin + DOCUMENTS_AT_ONCE] @ matrix.T
        rows = np.arange(len(similarities))
        similarities[rows, begin + rows] = -np.inf  # a document is not its own neighbour
        nearest = np.argsort(-similarities, axis=1, kind="stable")[:, :count]
        own = numbers[begin : begin + DOCUMENTS_AT_ONCE]
        averaged += ((1 - options.share) * own + options.share * numbers[nearest].mean(axis=1)).tolist()
    return averaged
