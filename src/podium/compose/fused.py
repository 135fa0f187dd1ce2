"""Fused adds the source's score to a scorer's, and `rrf` fuses rankings of several rerankers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar, get_args

from podium.compose.columns import attributed, summed
from podium.compose.components import Component
from podium.compose.normalization import NORMALIZATIONS, RRF_CONSTANT, Method
from podium.compose.stepwise import ScoreStep, Steps, StepwiseScorer
from podium.compose.wrapped import WrappedScorer
from podium.documents import source_score_and_rank
from podium.errors import Argument, InvalidInput
from podium.inputs import checked_limit, refuse_unknown_names
from podium.options import Option
from podium.ordering import NO_TEXT_SCORES, is_scored, raw_scores
from podium.scorers import HasScorer
from podium.texts import documents_of
from podium.types import Progress, Ranking, Result, ScoreKind, Scorer, Scores, Usage

__all__ = ["COMPONENT", "Fused", "check_weight", "fused_values", "positions_by_tier", "rrf"]

Number = TypeVar("Number", int, float)


class Fused(StepwiseScorer, WrappedScorer):
    """A scorer whose score of a document is the weighted sum of `scorer`'s score and the source's, both normalised.

    - `weight`: the share of `scorer`, from 0 to 1. The source has the rest.
    - `method`: how scores are normalised among the documents of a query. "min-max": to the range from 0 to 1. "z-score": to
      standard deviations from the mean. "reciprocal-rank": to 1 / (60 + rank).

    Documents that a source returned have a `source_score` and a `source_rank`. "reciprocal-rank" reads the rank, the others the
    score. A document without it counts like the lowest one, and a note says so. If no document has it, the scores are those of
    `scorer`.

    It is listwise, because scores are normalised among the documents of a query. So cache `scorer`. Raises InvalidInput.
    """

    @refuse_unknown_names
    def __init__(self, scorer: Scorer | HasScorer, *, weight: float = 0.5, method: Method = "min-max") -> None:
        super().__init__(scorer)
        self.weight = check_weight("weight", weight)
        if method not in get_args(Method):
            raise InvalidInput(Argument("method"), f" must be one of {', '.join(get_args(Method))}, not {method!r:.40}")
        self.method = method

    def __repr__(self) -> str:
        return f"Fused({self.scorer!r}, weight={self.weight}, method={self.method!r})"

    @property
    def model(self) -> str:
        return f"Fused({self.scorer.model})"

    @property
    def score_kind(self) -> ScoreKind:
        return "fused"

    @property
    def identity(self) -> str:
        return f"fused:{self.weight}:{self.method}:{self.scorer.identity}"

    @property
    def listwise(self) -> bool:
        return True

    @property
    def reads_documents(self) -> bool:
        return True

    def settings(self) -> dict[str, Any]:
        return {"use": "Fused", "weight": self.weight, "method": self.method, "scorer": self.scorer}

    def steps(
        self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]], progress: Progress | None = None
    ) -> Steps:
        scored = yield ScoreStep(self.scorer, queries, texts_per_query, progress)
        return [self._fused(scores, documents_of(texts) or ()) for scores, texts in zip(scored, texts_per_query, strict=True)]

    def _fused(self, scores: Scores, documents: Sequence[Any]) -> Scores:
        source_values = self._source_values(documents)
        missing_count = source_values.count(None)
        if missing_count == len(documents):
            return self._unfused(scores)
        notes = list(scores.notes)
        if missing_count:
            notes.append(f"{missing_count} of {len(documents)} documents have no {self._source_name}; they count as the lowest")
        normalized = self._normalized(_with_lowest_for_none(source_values))
        values = fused_values(scores, self.weight, self.method, normalized)
        return replace(scores, values=values, raw=None, score_kind="fused", notes=tuple(notes))

    @property
    def _source_name(self) -> str:
        return "source rank" if self.method == "reciprocal-rank" else "source score"

    def _source_values(self, documents: Sequence[Any]) -> list[float | None]:
        """Return the score of each document at its source, or 1 / (60 + its rank there), None if it has none."""
        pairs = [source_score_and_rank(document) for document in documents]
        if self.method == "reciprocal-rank":
            return [None if rank is None or rank < 1 else 1 / (RRF_CONSTANT + rank) for _, rank in pairs]
        return [score if score is not None and math.isfinite(score) else None for score, _ in pairs]

    def _normalized(self, source_values: Sequence[float]) -> list[float]:
        """Return the values on the scale of `fused_values`. Reciprocal ranks have it already."""
        return list(source_values) if self.method == "reciprocal-rank" else NORMALIZATIONS[self.method](source_values)

    def _unfused(self, scores: Scores) -> Scores:
        """Return the scores of `scorer`, if no document has a score of its source."""
        if not len(scores.values):
            return scores
        note = f"no document has a {self._source_name}, so the scores are not fused; rank what a source returned"
        return replace(attributed(scores, self.scorer), notes=(*scores.notes, note))


COMPONENT = Component(
    name="Fused",
    create=Fused,
    scorers=("scorer",),
    options=(Option("weight", float, minimum=0, maximum=1), Option("method", Method)),
)


def fused_values(scores: Scores, weight: float, method: Method, other_values: Sequence[float]) -> list[float]:
    """Return the fused score of each text, NaN for a text that was not scored.

    `weight` is the share of `scores`, which are normalised by `method`, separately in each tier. The rest is that of
    `other_values`, which are normalised already.
    """
    normalize = NORMALIZATIONS[method]
    raw = raw_scores(scores)
    values = [math.nan] * len(raw)
    for positions in positions_by_tier(scores).values():
        own_values = normalize([float(raw[position]) for position in positions])
        for position, own_value in zip(positions, own_values, strict=True):
            values[position] = weight * own_value + (1 - weight) * other_values[position]
    return values


def positions_by_tier(scores: Scores) -> dict[int, list[int]]:
    """Return the positions of the texts of each tier that were scored."""
    tiers = [0] * len(scores.values) if scores.tiers is None else scores.tiers
    positions: dict[int, list[int]] = {}
    for position, scored in enumerate(is_scored(scores)):
        if scored:
            positions.setdefault(tiers[position], []).append(position)
    return positions


def _with_lowest_for_none(values: Sequence[float | None]) -> list[float]:
    """Return the values, with the lowest one for those that are None."""
    lowest = min(value for value in values if value is not None)
    return [lowest if value is None else value for value in values]


def check_weight(name: str, weight: Any) -> float:
    """Return the weight. Raises InvalidInput, which names the argument, unless it is a number from 0 to 1."""
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1:
        raise InvalidInput(Argument(name), f" must be a number from 0 to 1, not {weight!r:.40}")
    return float(weight)


@refuse_unknown_names
def rrf(rankings: Iterable[Ranking], *, limit: int | None = None) -> Ranking:
    """Return the ranking of reciprocal rank fusion: documents by their sum of 1 / (60 + rank) in all rankings.

    The rankings are those of several rerankers for the same list of documents, which `result.index` identifies. A document that
    is not in a ranking, or has no score there, gets nothing from it. Documents that have no score in any ranking are below the
    others. Usage is the sum of all calls. Raises InvalidInput if there is no ranking, or if two rankings have different
    documents at an index.
    """
    checked_rankings = list(rankings)
    if not checked_rankings or not all(isinstance(ranking, Ranking) for ranking in checked_rankings):
        raise InvalidInput("rrf takes a list of rankings, as rerank returns them, and at least one")
    results = _results_by_index(checked_rankings)
    sums: dict[int, float] = {}
    for ranking in checked_rankings:
        for result in ranking:
            if result.has_score and not result.no_text:
                sums[result.index] = sums.get(result.index, 0.0) + 1 / (RRF_CONSTANT + result.rank)
    name = f"rrf({', '.join(ranking.model for ranking in checked_rankings)})"
    indices = sorted(results, key=lambda index: (results[index].no_text, index not in sums, -sums.get(index, 0.0), index))
    ranked = [_rrf_result(results[index], sums.get(index), rank, name) for rank, index in enumerate(indices, start=1)]
    return Ranking(
        results=tuple(ranked[: checked_limit(limit)]),
        model=name,
        revision=None,
        score_kind="fused",
        usage=_total_usage([ranking.usage for ranking in checked_rankings]),
        notes=tuple(dict.fromkeys(note for ranking in checked_rankings for note in ranking.notes)),
        reasons=tuple(dict.fromkeys(reason for ranking in checked_rankings for reason in ranking.reasons)),
    )


def _results_by_index(rankings: Sequence[Ranking]) -> dict[int, Result]:
    """Return the first result for each index, with the first passage of its document. Raises InvalidInput as `rrf` does."""
    results: dict[int, Result] = {}
    for ranking in rankings:
        for result in ranking:
            first = results.setdefault(result.index, result)
            if first.document is not result.document and first.document != result.document:
                raise InvalidInput(f"two rankings have different documents at index {result.index}; rank the same list in each")
            if first.passage is None:
                results[result.index] = replace(first, passage=result.passage)
    return results


def _rrf_result(result: Result, score: float | None, rank: int, name: str) -> Result:
    """Return a result with its score in the fused ranking, None if no ranking has one."""
    if result.no_text:
        return replace(result, score=NO_TEXT_SCORES["fused"], rank=rank)
    if score is None:
        return replace(result, score=math.nan, rank=rank, scored_by=None)
    return replace(result, score=score, rank=rank, scored_by=name)


def _total_usage(usages: Sequence[Usage]) -> Usage:
    return Usage(
        pairs=sum(usage.pairs for usage in usages),
        tokens=None if any(usage.tokens is None for usage in usages) else _sum(usage.tokens for usage in usages),
        truncated=None if any(usage.truncated is None for usage in usages) else _sum(usage.truncated for usage in usages),
        billed=summed(usage.billed for usage in usages),
        seconds=sum(usage.seconds for usage in usages),
        source_seconds=usages[0].source_seconds,
        remembered=sum(usage.remembered for usage in usages),
        encoded=_sum(usage.encoded for usage in usages),
        estimated_cost=_sum(usage.estimated_cost for usage in usages),
    )


def _sum(counts: Iterable[Number | None]) -> Number | None:
    """Return the sum of the counts that are known, None if none is."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
