"""The scores of several calls of a scorer, as those of one call."""

from __future__ import annotations

import math

from fakes import WordOverlap
from podium.compose.columns import concatenated_scores, merged_scores
from podium.ordering import order_of
from podium.scorers import as_scorer
from podium.types import Scores

SCORER = as_scorer(WordOverlap())


def two_tiers(model=None):
    """Return the scores of two texts in different tiers, as those of a cascade."""
    return Scores([5.0, 9.0], tiers=[0, 1], scored_by=["strong", "cheap"], model=model)


def test_tiers_come_before_models_and_the_own_model_before_others():
    merged = merged_scores(6, [([0, 3], two_tiers("other")), ([1, 4], two_tiers()), ([2, 5], two_tiers("third"))], SCORER)
    assert order_of(merged) == [1, 0, 2, 4, 3, 5]
    assert merged.tiers == [1, 0, 2, 4, 3, 5]
    assert merged.model is None


def test_models_that_replaced_the_own_one_have_a_tier_each():
    """The first call of the last two has scores of two models, as those of calls that were merged before."""
    mixed = Scores([1.0, 8.0], tiers=[0, 1], scored_by=["second", "third"], model="second")
    merged = merged_scores(
        4, [([0], Scores([9.0], model="second")), ([2, 1], mixed), ([3], Scores([3.0], model="third"))], SCORER
    )
    assert [merged.scored_by[position] for position in order_of(merged)] == ["second", "second", "third", "third"]
    assert merged.model == "second"


def test_calls_in_which_different_models_replaced_the_own_one_for_some_texts():
    first = Scores([5.0, 9.0], tiers=[0, 1], scored_by=["word-overlap", "second"])
    other = Scores([4.0, 8.0], tiers=[0, 1], scored_by=["word-overlap", "third"])
    merged = merged_scores(4, [([0, 1], first), ([2, 3], other)], SCORER)
    assert merged.tiers == [0, 1, 0, 2]
    assert merged.scored_by == ["word-overlap", "second", "word-overlap", "third"]


def test_concatenated_scores_have_the_same_tiers():
    calls = [two_tiers("other"), two_tiers()]
    assert concatenated_scores(calls, SCORER).tiers == merged_scores(4, [([0, 1], calls[0]), ([2, 3], calls[1])], SCORER).tiers


def test_texts_without_a_call_are_not_scored():
    merged = merged_scores(3, [([2], Scores([1.0], tokens=[4])), ([], Scores((), notes=("a note",)))], SCORER)
    assert math.isnan(merged.values[0])
    assert merged.scored_by == [None, None, "word-overlap"]
    assert list(merged.tokens) == [None, None, 4]
    assert merged.tiers is None
    assert merged.notes == ("a note",)


def test_scores_of_the_own_model_only_have_no_tiers():
    merged = merged_scores(2, [([1], Scores([1.0])), ([0], Scores([2.0]))], SCORER)
    assert list(merged.values) == [2.0, 1.0]
    assert (merged.tiers, merged.scored_by, merged.model) == (None, None, None)
