"""Nested compositions of scorers for contract tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import podium
from environment import PARITY_MODELS
from fakes import Letters, MemoryStore, Reader, WordOverlap
from podium.compose.budget import Budget
from podium.compose.cached import CachedScorer
from podium.compose.calibrated import CalibratedScorer, Calibration
from podium.compose.cascade import Cascade
from podium.compose.fallback import Fallback
from podium.compose.fused import Fused
from podium.compose.neighbours import Neighbours
from podium.compose.passages import Passages
from podium.errors import ProviderUnavailable
from podium.scorers import BaseScorer
from podium.types import Scorer

CALIBRATION = Calibration("word-overlap", "1", "platt", slope=1.0)


class UnavailableReader(Reader):
    """A scorer whose service cannot be reached."""

    def score(self, query, texts):
        raise ProviderUnavailable("the service cannot be reached")


def cascade_of_cached_fallbacks_over_passages(*, first_fails: bool) -> BaseScorer:
    """Return a scorer of 40 tokens in passages, behind a fallback, behind a cache, behind a cascade."""
    local = podium.load(PARITY_MODELS / "bert", max_length=40)
    first = UnavailableReader(40) if first_fails else local
    fallback = Fallback(Passages(first), Passages(Reader(40)))
    return Cascade(WordOverlap(), CachedScorer(fallback, MemoryStore()), keep=3)


COMPOSITIONS: Mapping[str, Callable[[Scorer], BaseScorer]] = {
    "budget": lambda scorer: Budget(scorer, budget_ms=100_000),
    "cached": lambda scorer: CachedScorer(scorer, MemoryStore()),
    "cascade, cheap": lambda scorer: Cascade(scorer, Reader(40), keep=2),
    "cascade, strong": lambda scorer: Cascade(Reader(40), scorer, keep=2),
    "fallback": lambda scorer: Fallback(scorer, or_keep_order=False),
    "passages": lambda scorer: Passages(scorer, size=20),
    "fused": lambda scorer: Fused(scorer),
    "neighbours": lambda scorer: Neighbours(scorer, Letters()),
    "nested": lambda scorer: Cascade(
        Neighbours(Passages(Reader(40)), Letters()),
        CachedScorer(Fallback(Passages(scorer, size=20), or_keep_order=False), MemoryStore()),
        keep=2,
    ),
}
"""Name → a function that puts a scorer into a composition, such that an error of the scorer is an error of the composition."""

RERANKERS: Mapping[str, Callable[[], podium.Reranker]] = {
    "nested": lambda: podium.Reranker(cascade_of_cached_fallbacks_over_passages(first_fails=False)),
    "nested, first fails": lambda: podium.Reranker(cascade_of_cached_fallbacks_over_passages(first_fails=True)),
    "budget": lambda: podium.Reranker(Budget(WordOverlap(), budget_ms=100_000)),
    "calibrated": lambda: podium.Reranker(CalibratedScorer(WordOverlap(), CALIBRATION)),
    "passages": lambda: podium.Reranker(Passages(podium.load("podium-mini"), size=16, title="source")),
    "fused": lambda: podium.Reranker(Fused(WordOverlap())),
    "neighbours": lambda: podium.Reranker(Neighbours(WordOverlap(), Letters())),
}
"""Name → a function that loads a reranker with a composition."""
