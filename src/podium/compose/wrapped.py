"""WrappedScorer, the base class of scorers that use another scorer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from podium.encodings import EncodingStore, TextEncoder
from podium.scorers import BaseScorer, HasScorer, as_scorer
from podium.token_counts import TokenCounter
from podium.types import ScoreKind, Scorer

__all__ = ["WrappedScorer"]


class WrappedScorer(BaseScorer):
    """A scorer that delegates to `self.scorer`. A subclass overrides what it changes, and must define `score`.

    `ascore` and `score_many` are not delegated: their defaults call the subclass's `score`.
    """

    def __init__(self, scorer: Scorer | HasScorer) -> None:
        self.scorer = as_scorer(scorer)

    @property
    def model(self) -> str:
        return self.scorer.model

    @property
    def score_kind(self) -> ScoreKind:
        return self.scorer.score_kind

    @property
    def revision(self) -> str | None:
        return self.scorer.revision

    @property
    def identity(self) -> str:
        return self.scorer.identity

    @property
    def listwise(self) -> bool:
        return self.scorer.listwise

    @property
    def reads_documents(self) -> bool:
        return self.scorer.reads_documents

    @property
    def reads_passages(self) -> bool:
        return self.scorer.reads_passages

    @property
    def schedules_together(self) -> bool:
        return self.scorer.schedules_together

    @property
    def is_async(self) -> bool:
        return self.scorer.is_async

    @property
    def is_remote(self) -> bool:
        return self.scorer.is_remote

    @property
    def precision(self) -> str | None:
        return self.scorer.precision

    @property
    def threads(self) -> int | None:
        return self.scorer.threads

    @property
    def max_length(self) -> int | None:
        return self.scorer.max_length

    @property
    def has_budget(self) -> bool:
        return self.scorer.has_budget

    @property
    def counts_dropped_tokens(self) -> bool:
        return self.scorer.counts_dropped_tokens

    @property
    def token_counter(self) -> TokenCounter | None:
        return self.scorer.token_counter

    @property
    def encoder(self) -> TextEncoder | None:
        return self.scorer.encoder

    @property
    def reads_instructions(self) -> bool:
        return self.scorer.reads_instructions

    def with_instruction(self, instruction: str) -> WrappedScorer:
        wrapped = copy.copy(self)
        wrapped.scorer = self.scorer.with_instruction(instruction)
        return wrapped

    def with_store(self, store: EncodingStore) -> WrappedScorer:
        wrapped = copy.copy(self)
        wrapped.scorer = self.scorer.with_store(store)
        return wrapped

    def limited(self, limit: Callable[[BaseScorer], BaseScorer]) -> BaseScorer:
        if not self.listwise and not self.has_budget:
            return limit(self)
        wrapped = copy.copy(self)
        wrapped.scorer = self.scorer.limited(limit)
        return wrapped

    def settings(self) -> dict[str, Any] | None:
        """The settings of the scorer inside, because this one is not in configuration files."""
        return self.scorer.settings()

    def close(self) -> None:
        self.scorer.close()

    async def aclose(self) -> None:
        await self.scorer.aclose()
