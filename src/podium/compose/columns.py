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
    "call_totals",
    "concatenated_scores",
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
    """Identifies a model. Two scores can be compared if their `_Model` is equal.

    - `call_model`: the name of the model that replaced the scorer's own one for a whole call, None if none did. It can be the
      own model's name, for example if it is the same model in another precision.
    - `text_model`: the name of the model that replaced the call's model for some texts, None if none did.
    """

    call_model: str | None
    text_model: str | None


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
    scorer's own model, then those that replaced it for some texts, then those that replaced it for whole calls.
    """
    call_models = list(dict.fromkeys(scores.model for positions, scores in parts if len(positions)))
    call_models.sort(key=lambda model: model is not None)  # None is the scorer's own model
    models_per_part = [_models(scores, scorer) for _, scores in parts]
    models = list(dict.fromkeys(itertools.chain.from_iterable(models_per_part)))
    models.sort(key=lambda model: (model.call_model is not None, model.text_model is not None))
    pairs = [(0, 0)] * count  # of each text's tier in its call, and the index of its model
    scored_by: list[str | None] = [None] * count
    for (positions, scores), part_models in zip(parts, models_per_part, strict=True):
        call_tiers = [0] * len(positions) if scores.tiers is None else scores.tiers
        columns_of_texts = zip(positions, call_tiers, models_of(scores, scorer), part_models, strict=True)
        for position, tier, name, model in columns_of_texts:
            pairs[position] = (tier, models.index(model))
            scored_by[position] = name
    tiers = {pair: tier for tier, pair in enumerate(sorted(set(pairs)))}
    calls = [scores for _, scores in parts]
    needs_scored_by = len(call_models) > 1 or any(scores.scored_by is not None for scores in calls)
    columns = {"values": [math.nan] * count, **placed_columns(count, parts)}
    first = next((scores for positions, scores in parts if len(positions) and scores.model == call_models[0]), Scores(()))
    return Scores(
        **columns,
        **call_totals(calls),
        tiers=[tiers[pair] for pair in pairs] if len(tiers) > 1 else None,
        scored_by=scored_by if needs_scored_by or None in scored_by else None,
        model=first.model,
        revision=first.revision,
        score_kind=first.score_kind,
    )


def _models(scores: Scores, scorer: BaseScorer) -> list[_Model]:
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
                part_column = [None] * len(positions)  # so that nothing of an earlier part remains beside the new values
            column = columns.setdefault(name, [math.nan if name == "values" else None] * count)
            for position, value in zip(positions, part_column, strict=True):
                column[position] = value
    return columns


def models_of(scores: Scores, scorer: BaseScorer) -> list[str | None]:
    """Return the name of the model that scored each text, None for a text that was not scored, if `scored_by` says so."""
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
    may_mix_models = scores.tiers is not None or scores.scored_by is not None
    return scores.model is None and not may_mix_models and not scores.reasons  # the reasons say why a model was not used


def call_totals(calls: Iterable[Scores]) -> dict[str, Any]:
    """Return the costs, the notes and the reasons of several calls, as fields of Scores.

    The total of tokens is unknown if that of one call is. Calls without `encoded` or `estimated_cost` are left out of these
    sums, because models that store nothing, or that run on this machine, have neither.
    """
    calls = list(calls)
    totals = [scores.total_tokens for scores in calls]
    encoded = [scores.encoded for scores in calls if scores.encoded is not None]
    costs = [scores.estimated_cost for scores in calls if scores.estimated_cost is not None]
    return {
        "total_tokens": None if None in totals else sum(total for total in totals if total is not None),
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
