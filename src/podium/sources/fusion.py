"""Two rankings of the same documents → one. Pure; what the rankings came from is not known here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, Literal, NamedTuple

from podium.errors import InvalidInput

__all__ = ["FUSIONS", "HYBRID_DEPTH", "RRF_CONSTANT", "TEXT_WEIGHT", "Fusion", "Hit", "Mode", "checked_fusion", "fuse"]

Mode = Literal["text", "vector", "hybrid"]
Fusion = Literal["rrf", "weighted"]

RRF_CONSTANT = 60
HYBRID_DEPTH = 100  # each ranking is read at least so deep before they are fused
# The best of 0.3 to 0.6 by mean nDCG@10 on four collections (bench/candidates.py), MiniLM beside BM25.
TEXT_WEIGHT = 0.3


class Hit(NamedTuple):
    """A document's key, and its score: the higher the better."""

    key: str
    score: float


def reciprocal_rank(text: Sequence[Hit], vector: Sequence[Hit], text_weight: float) -> dict[str, float]:
    """Sum 1 / (60 + rank) over the rankings that have a document (Cormack, Clarke and Büttcher, SIGIR 2009)."""
    scores: dict[str, float] = {}
    for hits in (text, vector):
        for rank, hit in enumerate(hits, start=1):
            scores[hit.key] = scores.get(hit.key, 0.0) + 1 / (RRF_CONSTANT + rank)
    return scores


def weighted_sum(text: Sequence[Hit], vector: Sequence[Hit], text_weight: float) -> dict[str, float]:
    """Sum the text score as a share of the query's best, times its weight, and the similarity, times the rest."""
    best = max((hit.score for hit in text), default=0.0)
    scores = {hit.key: text_weight * (hit.score / best if best > 0 else 0.0) for hit in text}
    for hit in vector:
        scores[hit.key] = scores.get(hit.key, 0.0) + (1 - text_weight) * hit.score
    return scores


FUSIONS: dict[Fusion, Callable[[Sequence[Hit], Sequence[Hit], float], dict[str, float]]] = {
    "rrf": reciprocal_rank,
    "weighted": weighted_sum,
}


def fuse(fusion: Fusion, text: Sequence[Hit], vector: Sequence[Hit], text_weight: float) -> list[Hit]:
    """Return every document of either ranking, best first. Equal scores stay in the order of the text, then the vector ranking.

    >>> fuse("rrf", [Hit("a", 9.0), Hit("b", 1.0)], [Hit("b", 0.9)], 0.3)[0].key
    'b'
    """
    scores = FUSIONS[fusion](text, vector, text_weight)
    return sorted((Hit(key, score) for key, score in scores.items()), key=lambda hit: -hit.score)


def checked_fusion(fusion: Any, text_weight: Any) -> None:
    if not isinstance(fusion, str) or fusion not in FUSIONS:
        raise InvalidInput(f"fusion must be one of {', '.join(FUSIONS)}, not {fusion!r:.40}")
    if isinstance(text_weight, bool) or not isinstance(text_weight, Real) or not 0 <= float(text_weight) <= 1:
        raise InvalidInput(f"text_weight must be a number from 0 to 1, not {text_weight!r:.40}")
