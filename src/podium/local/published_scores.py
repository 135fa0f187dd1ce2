"""Scores that were published for a model, and their comparison with those that podium computes.

A wrong prompt, segment or head changes scores without an error. A model whose published scores podium reproduces has none of
these faults.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from podium.logistic import sigmoid
from podium.scorers import BaseScorer
from podium.types import Scores

__all__ = ["PUBLISHED_SCORES", "Comparison", "PublishedScores", "compare", "published_scores_of"]

PLANETS_QUERY = "Which planet is known as the Red Planet?"
PLANETS = (
    "Venus is often called Earth's twin because of its similar size and proximity.",
    "Mars, known for its reddish appearance, is often referred to as the Red Planet.",
    "Jupiter, the largest planet in our solar system, has a prominent red spot.",
    "Saturn, famous for its rings, is sometimes mistaken for the Red Planet.",
)


def _values(scores: Scores) -> list[float]:
    return list(scores.values)


def _raw(scores: Scores) -> list[float]:
    return list(scores.values if scores.raw is None else scores.raw)


def _fifth_sigmoid(scores: Scores) -> list[float]:
    """Return the scores of zerank's code before May 2026."""
    return [sigmoid(logit / 5) for logit in _raw(scores)]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedScores:
    """The scores of a few documents that were published for a model.

    - `model`: the model's name on the hub.
    - `scores`: the score of each document.
    - `tolerance`: by how much a score in float32 may differ: that of the source, or the error of its number format.
    - `source`: where the scores were published.
    - `of`: a function that returns the published kind of score from podium's. By default they are the scores that users see.
    - `options`: the options of podium.load with which the scores can be reproduced.
    """

    model: str
    scores: tuple[float, ...]
    tolerance: float
    source: str
    query: str = PLANETS_QUERY
    documents: tuple[str, ...] = PLANETS
    of: Callable[[Scores], list[float]] = _values
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Published scores, and those that podium computed for the same documents."""

    published: PublishedScores
    computed: tuple[float, ...]

    @property
    def difference(self) -> float:
        """The largest difference of a score."""
        return max(abs(ours - theirs) for ours, theirs in zip(self.computed, self.published.scores, strict=True))

    @property
    def is_equal(self) -> bool:
        return all(map(math.isfinite, self.computed)) and self.difference <= self.published.tolerance

    @property
    def has_same_order(self) -> bool:
        return _order(self.computed) == _order(self.published.scores)

    def __str__(self) -> str:
        if self.is_equal:
            return f"matches the published scores (largest difference {self.difference:.2g}; {self.published.source})"
        order = "in the same order" if self.has_same_order else "IN ANOTHER ORDER"
        ours = ", ".join(f"{score:.4f}" for score in self.computed)
        theirs = ", ".join(f"{score:.4f}" for score in self.published.scores)
        return f"differs by up to {self.difference:.3g}, {order}: {ours}; published: {theirs} ({self.published.source})"


def published_scores_of(model: str, table: Sequence[PublishedScores] | None = None) -> PublishedScores | None:
    """Return the row of a model, None if no scores are known. The default table is PUBLISHED_SCORES."""
    return next((row for row in (PUBLISHED_SCORES if table is None else table) if row.model == model), None)


def compare(scorer: BaseScorer, published: PublishedScores) -> Comparison:
    """Return the comparison of a loaded model with its published scores."""
    return Comparison(published, tuple(published.of(scorer.score(published.query, published.documents))))


def _order(scores: Sequence[float]) -> list[int]:
    return sorted(range(len(scores)), key=lambda index: -scores[index])


# Cross-encoders: float32, rounded to five digits.
CROSS_ENCODER_SOURCE = "tests/cross_encoder/test_pretrained.py of sentence-transformers"
CROSS_ENCODER_SCORES: dict[str, tuple[float, ...]] = {
    "Alibaba-NLP/gte-reranker-modernbert-base": (0.80808, 0.95359, 0.88026, 0.91676),
    "BAAI/bge-reranker-base": (0.8755, 0.99813, 0.99625, 0.04914),
    "BAAI/bge-reranker-large": (0.69539, 0.99861, 0.97439, 0.81449),
    "BAAI/bge-reranker-v2-m3": (0.01928, 0.9987, 0.78573, 0.98696),
    "cl-nagoya/ruri-v3-reranker-310m": (0.00035, 0.9973, 0.00246, 0.28726),
    "cross-encoder/mmarco-mMiniLMv2-L12-H384-v1": (-3.27741, 10.19737, 3.39716, 7.45499),
    "cross-encoder/ms-marco-MiniLM-L12-v2": (-7.18467, 9.50125, 5.7218, 6.84708),
    "cross-encoder/ms-marco-MiniLM-L2-v2": (-10.27371, 9.78853, 7.92458, 8.27393),
    "cross-encoder/ms-marco-MiniLM-L4-v2": (-7.84192, 8.94789, 5.64702, 6.6588),
    "cross-encoder/ms-marco-MiniLM-L6-v2": (-6.52474, 9.69094, 6.92376, 6.66822),
    "cross-encoder/ms-marco-TinyBERT-L2-v2": (-10.87719, 6.95237, 5.87375, 5.6997),
    "cross-encoder/ms-marco-electra-base": (3e-05, 0.92723, 0.78699, 0.80551),
    "cross-encoder/msmarco-MiniLM-L12-en-de-v1": (-3.64397, 10.01715, 7.38087, 8.43051),
    "cross-encoder/msmarco-MiniLM-L6-en-de-v1": (0.75317, 9.48439, 2.66975, 6.58373),
    "dragonkue/bge-reranker-v2-m3-ko": (0.00762, 0.99999, 0.96455, 0.99993),
    "hotchpotch/japanese-reranker-xsmall-v2": (0.02443, 0.97325, 0.11924, 0.91517),
    "ibm-granite/granite-embedding-reranker-english-r2": (0.78749, 0.96672, 0.88993, 0.94344),
    "mixedbread-ai/mxbai-rerank-base-v1": (0.05387, 0.9709, 0.72163, 0.1705),
    "mixedbread-ai/mxbai-rerank-large-v1": (0.00708, 0.99039, 0.80938, 0.34638),
    "mixedbread-ai/mxbai-rerank-xsmall-v1": (0.21189, 0.93594, 0.57069, 0.72824),
    "sdadas/polish-reranker-large-ranknet": (0.07637, 0.99979, 0.95079, 0.99629),
}

# Late interaction: float32, with a relative tolerance of 1e-3, of which the largest score decides here.
LATE_SOURCE = "tests/multi_vector_encoder/test_pretrained.py of sentence-transformers"
LATE_SCORES: dict[str, tuple[float, ...]] = {
    "colbert-ir/colbertv2.0": (12.79703, 27.19449, 23.8495, 24.56564),
    "lightonai/colbertv2.0": (12.79703, 27.19449, 23.8495, 24.56564),
    "answerdotai/answerai-colbert-small-v1": (30.56916, 31.48954, 31.30291, 31.30716),
    "lightonai/GTE-ModernColBERT-v1": (11.25772, 11.51133, 11.34575, 11.4518),
    "lightonai/LateOn": (10.79417, 11.11042, 10.97427, 11.08107),
    "lightonai/mLateOn": (11.3486, 11.5170, 11.4391, 11.4867),
    "lightonai/Reason-ModernColBERT": (9.05118, 10.18419, 9.12381, 9.39101),
    "mixedbread-ai/mxbai-edge-colbert-v0-17m": (11.56932, 11.75844, 11.70989, 11.72288),
}

QWEN3_SOURCE = "tests/cross_encoder/test_model.py of sentence-transformers"
QWEN3_SCORES = (-3.109297752, 7.120389938, -0.378754616, 3.541637421)  # the log-odds of yes

PUBLISHED_SCORES = (
    *(
        PublishedScores(model=model, scores=scores, tolerance=0.01, source=CROSS_ENCODER_SOURCE)
        for model, scores in CROSS_ENCODER_SCORES.items()
    ),
    *(
        PublishedScores(
            model=model, scores=scores, tolerance=1e-3 * max(scores), source=LATE_SOURCE, options={"encoding": "float32"}
        )
        for model, scores in LATE_SCORES.items()
    ),
    *(
        PublishedScores(model=model, scores=QWEN3_SCORES, tolerance=1e-3, source=QWEN3_SOURCE, of=_raw)
        for model in ("Qwen/Qwen3-Reranker-0.6B", "tomaarsen/Qwen3-Reranker-0.6B-seq-cls")
    ),
    PublishedScores(
        model="zeroentropy/zerank-1-small",
        scores=(0.09428, 0.83889, 0.12052, 0.2184),
        tolerance=0.01,
        source=CROSS_ENCODER_SOURCE,
        of=_fifth_sigmoid,
    ),
    PublishedScores(
        model="zeroentropy/zerank-2",
        query="What is 2+2?",
        documents=("4", "The answer is definitely 1 million"),
        scores=(5.4062, -4.5),
        tolerance=0.1,  # They are bfloat16, which has three digits.
        source="model card of zeroentropy/zerank-2",
        of=_raw,
    ),
)
