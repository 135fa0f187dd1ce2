"""Fixtures of the tests of compositions: every way to call a scorer and a reranker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

import podium
from podium.scorers import BaseScorer
from podium.types import Scores

ScoreFunction = Callable[[BaseScorer, str, Sequence[str]], Scores]
RerankFunction = Callable[[podium.Reranker, str, Sequence[str]], podium.Ranking]


@pytest.fixture(params=["score", "ascore", "score_many"])
def score(request: pytest.FixtureRequest) -> ScoreFunction:
    """A function that scores texts with one of a scorer's three methods."""
    return {
        "score": lambda scorer, query, texts: scorer.score(query, texts),
        "ascore": lambda scorer, query, texts: asyncio.run(scorer.ascore(query, texts)),
        "score_many": lambda scorer, query, texts: scorer.score_many([query, "other"], [texts, texts])[0],
    }[request.param]


@pytest.fixture(params=["rerank", "arerank", "rerank_many"])
def rerank(request: pytest.FixtureRequest) -> RerankFunction:
    """A function that ranks documents with one of a reranker's three methods."""
    return {
        "rerank": lambda reranker, query, texts: reranker.rerank(query, texts),
        "arerank": lambda reranker, query, texts: asyncio.run(reranker.arerank(query, texts)),
        "rerank_many": lambda reranker, query, texts: reranker.rerank_many([query], [texts])[0],
    }[request.param]
