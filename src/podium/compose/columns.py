"""The columns of Scores: their fields with one value per text."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from podium.ordering import raw_scores
from podium.scorers import BaseScorer
from podium.types import Scores

__all__ = [
    "COLUMNS",
    "attributed",
    "concatenated_scores",
    "cost_of",
    "is_by_own_model",
    "merged_scores",
    "models_of",
    "placed_columns",
    "selected_scores",
    "summed",
]

COLUMNS = (
    "values", "raw", "tokens", "dropped_tokens", "query_tokens", "query_dropped_tokens", "tiers", "scored_by", "passages",
)  # fmt: skip


class _Model(NamedTuple):
    """A model, so that two scores of it can be compared.

    - `call`: the model that replaced the scorer's own one for a call, None if none did. It can have the same name as the own
      one, for example if it is the same model in another precision.
    - `name`: the model that replaced that one for some texts of the call, None if none did.
    """

    call: str | None
    name: str | None


def selected_scores(scores: Scores, positions: Sequence[int]) -> Scores:
    """Return the scores of the texts at these positions, in this order. The call's cost and notes stay the same."""
    columns: dict[str, Any] = {}
    for name in COLUMNS:
        column = getattr(scores, name)
        columns[name] = None if column is None else [column[position] for position in positions]
    return replace(scores, **columns)


def concatenated_scores(calls: Sequence[Scores], scorer: BaseScorer) -> Scores:
    """Return the scores of several calls of a scorer as those of one call with all their texts."""
    if len(calls) == 1:
        return calls[0]
    counts = [len(scores.values) for scores in calls]
    ends = list(itertools.accumulate(counts))
    ranges = [range(end - count, end) for end, count in zip(ends, counts, strict=True)]
    return merged_scores(sum(counts), list(zip(ranges, calls, strict=True)), scorer)


def merged_scores(count: int, parts: Sequence[tuple[Sequence[int], Scores]], scorer: BaseScorer) -> Scores:
    """Return the scores of `count` texts from several calls of a scorer, each with the positions of its texts.

    Texts in no call count as not scored. In some calls, another model may have replaced the scorer's own one, for all texts or
    for some. Scores of two models cannot be compared, so each tier is divided into one tier per model: first that of the
    scorer's own model, then those of other models in the order of the calls.
    """
    call_models = list(dict.fromkeys(scores.model for positions, scores in parts if len(positions)))
    call_models.sort(key=lambda model: model is not None)  # None is the scorer's own model
    models = list(dict.fromkeys(model for _, scores in parts for model in _distinct_models(scores, scorer)))
    models.sort(key=lambda model: (model.call is not None, model.name is not None))
    tiers = [(0, 0)] * count
    scored_by: list[str | None] = [None] * count
    for positions, scores in parts:
        call_tiers = [0] * len(positions) if scores.tiers is None else scores.tiers
        text_models = zip(models_of(scores, scorer), _distinct_models(scores, scorer), strict=True)
        for position, tier, (name, model) in zip(positions, call_tiers, text_models, strict=True):
            tiers[position] = (tier, models.index(model))
            scored_by[position] = name
    numbers = {tier: number for number, tier in enumerate(sorted(set(tiers)))}
    calls = [scores for _, scores in parts]
    needs_scored_by = len(call_models) > 1 or any(scores.scored_by is not None for scores in calls)
    columns = {"values": [math.nan] * count, **placed_columns(count, parts)}
    first = next((scores for positions, scores in parts if len(positions) and scores.model == call_models[0]), Scores(()))
    return Scores(
        **columns,
        **cost_of(calls),
        tiers=[numbers[tier] for tier in tiers] if len(numbers) > 1 else None,
        scored_by=scored_by if needs_scored_by or None in scored_by else None,
        model=first.model,
        revision=first.revision,
        score_kind=first.score_kind,
    )


def _distinct_models(scores: Scores, scorer: BaseScorer) -> list[_Model]:
    """Return the model of each text. A text that was not scored has the model of the call."""
    call_name = scorer.model if scores.model is None else scores.model
    names = models_of(scores, scorer)
    return [_Model(scores.model, None if name in (None, call_name) else name) for name in names]


def placed_columns(count: int, parts: Iterable[tuple[Sequence[int], Scores]]) -> dict[str, Any]:
    """Return the columns for `count` texts, except `tiers` and `scored_by`, from parts, each with the scores of some texts.

    A part has the positions of its texts, and their scores. If several parts have a text, the last one counts. A column that no
    part has is left out, except `raw`.
    """
    columns: dict[str, Any] = {"raw": [math.nan] * count}
    for positions, scores in parts:
        for name in COLUMNS:
            if name in ("tiers", "scored_by"):
                continue
            part_column = raw_scores(scores) if name == "raw" else getattr(scores, name)
            if part_column is None:
                if name not in columns:
                    continue
                part_column = [None] * len(positions)  # replaces the values of earlier parts, which belong to replaced scores
            column = columns.setdefault(name, [math.nan if name == "values" else None] * count)
            for position, value in zip(positions, part_column, strict=True):
                column[position] = value
    return columns


def models_of(scores: Scores, scorer: BaseScorer) -> list[str | None]:
    """Return the name of the model that scored each text, None for a text that was not scored."""
    if scores.scored_by is not None:
        return list(scores.scored_by)
    return [scorer.model if scores.model is None else scores.model] * len(scores.values)


def attributed(scores: Scores, scorer: BaseScorer) -> Scores:
    """Return the scores of a scorer with the name, the revision and the kind of scores of the model that computed them."""
    is_by_other_model = scores.model is not None
    return replace(
        scores,
        model=scores.model if is_by_other_model else scorer.model,
        revision=scores.revision if is_by_other_model else scorer.revision,
        score_kind=scores.score_kind or scorer.score_kind,
    )


def is_by_own_model(scores: Scores) -> bool:
    """Whether the scorer's own model scored all texts, so that their scores can be compared with its other scores."""
    names_models = scores.tiers is not None or scores.scored_by is not None
    return scores.model is None and not names_models and not scores.reasons  # the reasons say why a model was not used


def cost_of(calls: Iterable[Scores]) -> dict[str, Any]:
    """Return the fields of Scores that belong to a call and not to its texts: costs added up, and all notes and reasons."""
    calls = list(calls)
    totals = [scores.total_tokens for scores in calls]
    encoded = [scores.encoded for scores in calls if scores.encoded is not None]
    costs = [scores.estimated_cost for scores in calls if scores.estimated_cost is not None]
    return {
        "total_tokens": None if None in totals else sum(total for total in totals if total),
        "billed": summed(scores.billed for scores in calls),
        "notes": tuple(dict.fromkeys(note for scores in calls for note in scores.notes)),
        "reasons": tuple(dict.fromkeys(reason for scores in calls for reason in scores.reasons)),
        "remembered": sum(scores.remembered for scores in calls),
        "encoded": sum(encoded) if encoded else None,
        "estimated_cost": sum(costs) if costs else None,
    }


def summed(mappings: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the sum of the mappings' values for each name."""
    total: dict[str, float] = {}
    for mapping in mappings:
        for name, value in mapping.items():
            total[name] = total.get(name, 0) + value
    return total
