"""Combine a ranking by text and a ranking by vectors into one. The rankings can come from any search."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any, Literal, NamedTuple, get_args

from podium.errors import InvalidInput
from podium.sources.stages import staged

__all__ = [
    "MODES",
    "RRF_CONSTANT",
    "TEXT_WEIGHT",
    "Fusion",
    "Hit",
    "Mode",
    "check_fusion",
    "fuse",
    "fused_hits",
]

Mode = Literal["text", "vector", "hybrid"]
Fusion = Literal["rrf", "weighted"]
MODES: tuple[Mode, ...] = get_args(Mode)
FUSIONS: tuple[Fusion, ...] = get_args(Fusion)

RRF_CONSTANT = 60  # the value in the paper that `_reciprocal_ranks` names
# The mean nDCG@10 on four collections, with MiniLM and BM25, is higher than with 0.4, 0.5 and 0.6 (bench/candidates.py).
TEXT_WEIGHT = 0.3


class Hit(NamedTuple):
    """A document that a search found.

    `key` is hashable, and the same in all rankings of one search. `score` is higher for better documents. `fields` are those
    that the search returned with the hit, None if the document has to be fetched.
    """

    key: Any
    score: float
    fields: Any = None


def fuse(fusion: Fusion, text: Sequence[Hit], vector: Sequence[Hit], text_weight: float) -> list[Hit]:
    """Return every document that is in one of the rankings, best first. Ties keep the order of `text`, then of `vector`.

    >>> fuse("rrf", [Hit("a", 9.0), Hit("b", 1.0)], [Hit("b", 0.9)], 0.3)[0].key
    'b'
    """
    scores = _reciprocal_ranks(text, vector) if fusion == "rrf" else _weighted_sums(text, vector, text_weight)
    fields = {hit.key: hit.fields for hit in (*vector, *text)}
    return sorted((Hit(key, score, fields[key]) for key, score in scores.items()), key=lambda hit: -hit.score)


def fused_hits(fusion: Fusion, text: Sequence[Hit], vector: Sequence[Hit], text_weight: float) -> list[Hit]:
    """Return what `fuse` returns, in another order: longer rankings only add hits at the end of it.

    So the pages of a search do not overlap. The scores need not decrease.
    """

    def stage(depth: int) -> tuple[Iterable[tuple[Any, Hit]], bool]:
        """Fuse the first `depth` hits of both rankings, and say whether these are all hits."""
        hits = fuse(fusion, text[:depth], vector[:depth], text_weight)
        return ((hit.key, hit) for hit in hits), depth >= max(len(text), len(vector))

    return list(staged(stage, math.inf).values())


def _reciprocal_ranks(text: Sequence[Hit], vector: Sequence[Hit]) -> dict[Any, float]:
    """Sum 1 / (60 + rank) over the rankings that have a document (Cormack, Clarke and Büttcher, SIGIR 2009)."""
    scores: dict[Any, float] = {}
    for hits in (text, vector):
        for rank, hit in enumerate(hits, start=1):
            scores[hit.key] = scores.get(hit.key, 0.0) + 1 / (RRF_CONSTANT + rank)
    return scores


def _weighted_sums(text: Sequence[Hit], vector: Sequence[Hit], text_weight: float) -> dict[Any, float]:
    """Sum `text_weight` times the text score and `1 - text_weight` times the similarity. A missing score or similarity is 0.

    Text scores are divided by the query's best one, because their range depends on the query.
    """
    best = max((hit.score for hit in text), default=0.0)
    scores = {hit.key: text_weight * (hit.score / best if best > 0 else 0.0) for hit in text}
    for hit in vector:
        scores[hit.key] = scores.get(hit.key, 0.0) + (1 - text_weight) * hit.score
    return scores


def check_fusion(fusion: Any, text_weight: Any) -> None:
    """Raise InvalidInput if `fusion` is not one of FUSIONS, or if `text_weight` is not a number from 0 to 1."""
    if not isinstance(fusion, str) or fusion not in FUSIONS:
        raise InvalidInput(f"fusion must be {' or '.join(FUSIONS)}, not {fusion!r:.40}")
    if isinstance(text_weight, bool) or not isinstance(text_weight, Real) or not 0 <= float(text_weight) <= 1:
        raise InvalidInput(f"text_weight must be a number from 0 to 1, not {text_weight!r:.40}")
