"""Cascade: a cheap scorer orders all documents, and a strong one scores the best of them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

from podium.compose.columns import call_totals, models_of, placed_columns, selected_scores
from podium.compose.combined import CombinedScorer
from podium.compose.components import Component
from podium.compose.stepwise import ScoreStep, Steps
from podium.errors import Argument, InvalidInput
from podium.inputs import refuse_unknown_names
from podium.options import Option
from podium.ordering import is_scored, order_of, raw_scores
from podium.scorers import BaseScorer, HasScorer
from podium.texts import selected_texts
from podium.types import Progress, ScoreKind, Scorer, Scores

__all__ = ["COMPONENT", "Cascade", "gap_cut"]

AUTO = "auto"
FEWEST, MOST = 10, 50  # bounds of the number of documents that "auto" keeps
CLEAR_GAP = 3.0  # a gap is clear if it is this many times as large as the mean gap


class Cascade(CombinedScorer):
    """A scorer that orders all documents by `cheap`, and scores the best of them with `strong`.

    Documents below the cut keep the cheap order and the cheap scorer's scores, in a lower tier: `result.scored_by` names the
    model of each score. If there are not more documents than `keep` (10 with "auto"), the cheap scorer is not called.

    - `keep`: the number of documents that the strong scorer scores, or "auto". With "auto", the cut is at the largest gap
      between consecutive raw scores of the cheap scorer, from the 10th to the 51st document, if that gap is at least three
      times the mean gap there. Otherwise the cheap scorer does not separate good documents from others, and 50 are kept.

    It is listwise, because the other documents decide which scorer scores a document. So cache the scorers inside it. Raises
    InvalidInput if `keep` is neither a positive number nor "auto".
    """

    @refuse_unknown_names
    def __init__(self, cheap: Scorer | HasScorer, strong: Scorer | HasScorer, *, keep: int | Literal["auto"] = 20) -> None:
        super().__init__((cheap, strong))
        self.keep = _checked_keep(keep)

    def __repr__(self) -> str:
        return f"Cascade({self.scorers[0]!r}, {self.scorers[1]!r}, keep={self.keep!r})"

    @property
    def model(self) -> str:
        return f"Cascade({self.scorers[0].model}, {self.scorers[1].model})"

    @property
    def score_kind(self) -> ScoreKind:
        return self.scorers[1].score_kind

    @property
    def identity(self) -> str:
        return f"cascade:{self.keep}:{super().identity}"

    @property
    def listwise(self) -> bool:
        return True

    @property
    def max_length(self) -> int | None:
        return self.scorers[1].max_length

    def settings(self) -> dict[str, Any]:
        return {"use": "Cascade", "keep": self.keep, "cheap": self.scorers[0], "strong": self.scorers[1]}

    def limited(self, limit: Callable[[BaseScorer], BaseScorer]) -> BaseScorer:
        """Limit only the strong scorer: the cheap one has to order all texts."""
        cheap, strong = self.scorers
        limited = copy.copy(self)
        limited.scorers = (cheap, strong.limited(limit))
        return limited

    def steps(
        self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]], progress: Progress | None = None
    ) -> Steps:
        cheap, strong = self.scorers
        min_kept = self.keep if isinstance(self.keep, int) else FEWEST
        cheap_scores = yield ScoreStep(cheap, queries, [texts if len(texts) > min_kept else () for texts in texts_per_query])
        best_positions = [
            self._best_positions(scores) if len(texts) > min_kept else range(len(texts))
            for scores, texts in zip(cheap_scores, texts_per_query, strict=True)
        ]
        best_texts = [
            selected_texts(texts, positions) for texts, positions in zip(texts_per_query, best_positions, strict=True)
        ]
        if progress:
            progress(sum(map(len, texts_per_query)) - sum(map(len, best_positions)))
        strong_scores = yield ScoreStep(strong, queries, best_texts, progress)
        return list(map(self._merged, cheap_scores, strong_scores, best_positions))

    def _best_positions(self, cheap_scores: Scores) -> list[int]:
        """Return the positions of the texts that the strong scorer scores, in input order, so that it keeps that for ties."""
        cheap_order = order_of(cheap_scores)
        keep = self.keep
        if not isinstance(keep, int):
            raw = raw_scores(cheap_scores)
            scored = is_scored(cheap_scores)
            keep = gap_cut([float(raw[position]) for position in cheap_order if scored[position]])
        return sorted(cheap_order[:keep])

    def _merged(self, cheap_scores: Scores, strong_scores: Scores, best_positions: Sequence[int]) -> Scores:
        """Return the scores of all texts. `best_positions` are the positions of those that the strong scorer was called with.

        A text that the strong scorer left unscored has its cheap score. `cheap_scores` are empty if the cheap scorer was not
        called.
        """
        cheap, strong = self.scorers
        if len(cheap_scores.values) == 0:
            return replace(strong_scores, scored_by=models_of(strong_scores, strong))
        count = len(cheap_scores.values)
        scored_indices = [index for index, scored in enumerate(is_scored(strong_scores)) if scored]
        positions = [best_positions[index] for index in scored_indices]
        best_scores = selected_scores(strong_scores, scored_indices)
        best_tiers = [0] * len(positions) if best_scores.tiers is None else best_scores.tiers
        lower_tier = max(best_tiers, default=0) + 1  # the first tier stays empty if the strong scorer scored nothing
        cheap_tiers = [0] * count if cheap_scores.tiers is None else cheap_scores.tiers
        tiers = [lower_tier + tier for tier in cheap_tiers]
        scored_by = models_of(cheap_scores, cheap)
        for position, tier, model in zip(positions, best_tiers, models_of(best_scores, strong), strict=True):
            tiers[position] = tier
            scored_by[position] = model
        columns = placed_columns(count, [(range(count), cheap_scores), (positions, best_scores)])
        score_kind = strong_scores.score_kind if positions else cheap_scores.score_kind or cheap.score_kind
        return Scores(
            **columns,
            **call_totals([cheap_scores, strong_scores]),
            tiers=tiers,
            scored_by=scored_by,
            model=strong_scores.model,
            revision=strong_scores.revision,
            score_kind=score_kind,
        )


COMPONENT = Component(
    name="Cascade",
    create=Cascade,
    scorers=("cheap", "strong"),
    options=(Option("keep", int | Literal["auto"], minimum=1),),
)


def gap_cut(scores: Sequence[float]) -> int:
    """Return how many documents a Cascade with `keep="auto"` keeps. `scores` are their raw scores, in decreasing order.

    Gaps are compared with each other, so the scale of the scores does not matter.
    """
    gaps = {count: scores[count - 1] - scores[count] for count in range(FEWEST, min(MOST, len(scores) - 1) + 1)}
    if not gaps:
        return MOST
    cut = max(gaps, key=gaps.__getitem__)
    mean_gap = sum(gaps.values()) / len(gaps)
    return cut if gaps[cut] > 0 and gaps[cut] >= CLEAR_GAP * mean_gap else MOST


def _checked_keep(keep: Any) -> int | Literal["auto"]:
    if keep == AUTO:
        return "auto"
    if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
        raise InvalidInput(Argument("keep"), f" must be a positive whole number or 'auto', not {keep!r:.40}")
    return keep
