"""CombinedScorer, the base class of scorers that are made of several scorers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TypeVar

from podium.compose.stepwise import StepwiseScorer
from podium.encodings import EncodingStore, TextEncoder
from podium.scorers import BaseScorer, HasScorer, as_scorer
from podium.token_counts import SeveralCounters, TokenCounter
from podium.types import Scorer

__all__ = ["CombinedScorer"]

Self = TypeVar("Self", bound="CombinedScorer")  # typing.Self needs Python 3.11


class CombinedScorer(StepwiseScorer):
    """A scorer made of `scorers`. A subclass defines `model`, `score_kind` and `steps`, and what it does not have in common."""

    def __init__(self, scorers: Sequence[Scorer | HasScorer]) -> None:
        self.scorers = tuple(map(as_scorer, scorers))

    @property
    def identity(self) -> str:
        """The models, revisions and identities of all scorers."""
        return "+".join(f"{scorer.model}@{scorer.revision}:{scorer.identity}" for scorer in self.scorers)

    @property
    def listwise(self) -> bool:
        return any(scorer.listwise for scorer in self.scorers)

    @property
    def reads_documents(self) -> bool:
        return any(scorer.reads_documents for scorer in self.scorers)

    @property
    def reads_passages(self) -> bool:
        return all(scorer.reads_passages for scorer in self.scorers)

    @property
    def schedules_together(self) -> bool:
        return any(scorer.schedules_together for scorer in self.scorers)

    @property
    def is_async(self) -> bool:
        return all(scorer.is_async for scorer in self.scorers)

    @property
    def is_remote(self) -> bool:
        return any(scorer.is_remote for scorer in self.scorers)

    @property
    def threads(self) -> int | None:
        """The largest number of threads that one of the scorers uses."""
        return max((scorer.threads for scorer in self.scorers if scorer.threads is not None), default=None)

    @property
    def counts_dropped_tokens(self) -> bool:
        return all(scorer.counts_dropped_tokens for scorer in self.scorers)

    @property
    def token_counter(self) -> TokenCounter | None:
        """The counters of all scorers that have one, as one."""
        counters = [scorer.token_counter for scorer in self.scorers if scorer.token_counter is not None]
        return SeveralCounters(counters) if len(counters) > 1 else next(iter(counters), None)

    @property
    def reads_instructions(self) -> bool:
        return any(scorer.reads_instructions for scorer in self.scorers)

    def with_instruction(self, instruction: str) -> BaseScorer:
        """Return a scorer like this one, in which all scorers that read instructions read this one."""
        if not self.reads_instructions:
            return super().with_instruction(instruction)
        combined = copy.copy(self)
        combined.scorers = tuple(
            scorer.with_instruction(instruction) if scorer.reads_instructions else scorer for scorer in self.scorers
        )
        return combined

    @property
    def encoder(self) -> TextEncoder | None:
        """The encoder of the first scorer that has one."""
        return next((scorer.encoder for scorer in self.scorers if scorer.encoder is not None), None)

    def with_store(self: Self, store: EncodingStore) -> Self:
        """Return a scorer like this one, in which the first scorer with an encoder keeps its encodings in `store`."""
        encoder = self.encoder
        combined = copy.copy(self)
        combined.scorers = tuple(
            scorer.with_store(store) if encoder is not None and scorer.encoder is encoder else scorer for scorer in self.scorers
        )
        return combined

    def limited(self, limit: Callable[[BaseScorer], BaseScorer]) -> BaseScorer:
        if not self.listwise:
            return limit(self)
        combined = copy.copy(self)
        combined.scorers = tuple(scorer.limited(limit) for scorer in self.scorers)
        return combined

    def close(self) -> None:
        for scorer in self.scorers:
            scorer.close()

    async def aclose(self) -> None:
        for scorer in self.scorers:
            await scorer.aclose()
