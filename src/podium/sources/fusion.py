"""Combine a ranking by text and a ranking by vectors into one. The rankings can come from any search."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, Literal, NamedTuple, get_args

from podium.errors import InvalidInput

__all__ = [
    "HYBRID_DEPTH",
    "MODES",
    "RRF_CONSTANT",
    "TEXT_WEIGHT",
    "Fusion",
    "Hit",
    "Mode",
    "check_fusion",
    "fuse",
    "fused_hits",
    "hybrid_depth",
]

Mode = Literal["text", "vector", "hybrid"]
Fusion = Literal["rrf", "weighted"]
MODES: tuple[Mode, ...] = get_args(Mode)
FUSIONS: tuple[Fusion, ...] = get_args(Fusion)

RRF_CONSTANT = 60  # the value in the paper that `_reciprocal_ranks` names
HYBRID_DEPTH = 100  # the smallest number of hits of each ranking that are fused
# Of the weights 0.3 to 0.6, this has the best mean nDCG@10 on four collections, with MiniLM and BM25 (bench/candidates.py).
TEXT_WEIGHT = 0.3


class Hit(NamedTuple):
    """A document that a search found.

    `key` is hashable and unique in one search. `score` is higher for better documents. `fields` are those that the search
    returned with the hit, None if the document has to be fetched.
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


def hybrid_depth(count: int) -> int:
    """Return how many hits of each ranking `fused_hits` needs for the `count` best documents: 100, 200, 400, …"""
    depth = HYBRID_DEPTH
    while depth < count:
        depth *= 2
    return depth


def fused_hits(fusion: Fusion, text: Sequence[Hit], vector: Sequence[Hit], text_weight: float) -> list[Hit]:
    """Return every document that is in one of the rankings, in an order whose beginning does not depend on their length.

    If a ranking gets longer, the fused scores of its documents change, and so does their order. So the first 100 documents are
    those of the first 100 hits of each ranking; the next 100 are the best others of the first 200 hits of each, and so on.
    Otherwise, a document could be on two pages of a search, and another one on none.
    """
    hits: dict[Any, Hit] = {}
    depth = HYBRID_DEPTH
    while True:
        stage = fuse(fusion, text[:depth], vector[:depth], text_weight)
        is_last = depth >= max(len(text), len(vector))
        for hit in stage:
            if is_last or len(hits) < depth:
                hits.setdefault(hit.key, hit)
        if is_last:
            return list(hits.values())
        depth *= 2


def _reciprocal_ranks(text: Sequence[Hit], vector: Sequence[Hit]) -> dict[Any, float]:
    """Sum 1 / (60 + rank) over the rankings that have a document (Cormack, Clarke and Büttcher, SIGIR 2009)."""
    scores: dict[Any, float] = {}
    for hits in (text, vector):
        for rank, hit in enumerate(hits, start=1):
            scores[hit.key] = scores.get(hit.key, 0.0) + 1 / (RRF_CONSTANT + rank)
    return scores


def _weighted_sums(text: Sequence[Hit], vector: Sequence[Hit], text_weight: float) -> dict[Any, float]:
    """Sum `text_weight` times the text score and `1 - text_weight` times the similarity, 0 if a ranking lacks the document.

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
