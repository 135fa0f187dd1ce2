"""The selection of settings: noise selects nothing, and the estimate uses queries that were not used to select."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.tuning.grid import Setting, Space, grid
from podium.tuning.selection import folds_of, preferred_index, selection


def by_index(index):
    return index


def noisy_values(gains, query_count=200, noise=0.05, seed=0):
    """Return the values of settings with these gains, with noise for each setting and query."""
    generator = np.random.default_rng(seed)
    queries = generator.uniform(0.2, 0.8, query_count)
    return np.stack([queries + gain + generator.normal(0, noise, query_count) for gain in gains])


def test_setting_with_a_clear_gain_is_preferred():
    assert preferred_index(noisy_values([0.0, 0.01, 0.1]), by_index) == 2


def test_simplest_setting_within_noise_of_the_best_is_preferred():
    values = noisy_values([0.0, 0.1, 0.1, 0.1])[[0, 1, 1, 1]]
    assert preferred_index(values, lambda index: -index) == 3
    assert preferred_index(values, by_index) == 1


@pytest.mark.parametrize("seed", range(20))
def test_noise_rarely_selects_a_setting(seed):
    """Many settings of equal quality: the best one by chance is not selected, with few exceptions."""
    values = noisy_values([0.0] * 20, noise=0.05, seed=seed)
    index = preferred_index(values, by_index)
    gain = values[index] - values[0]
    assert index == 0 or gain.mean() > 2 * gain.std(ddof=1) / np.sqrt(len(gain))


def test_nested_estimate_of_noise_has_no_bias():
    """The mean of the best setting is too high on the queries that selected it, but the estimate is not."""
    estimates = []
    for seed in range(30):
        values = noisy_values([0.0] * 30, query_count=60, noise=0.2, seed=seed)
        estimates.append(selection(values, by_index, folds_of(60, 5)).gain.mean)
    assert abs(np.mean(estimates)) < 3 * np.std(estimates) / np.sqrt(len(estimates)) + 0.005


def test_nested_estimate_of_a_real_gain():
    result = selection(noisy_values([0.0, 0.1]), by_index, folds_of(200, 5))
    assert result.selected_index == 1
    assert result.fold_indices == (1,) * 5
    assert result.gain.low < 0.1 < result.gain.high
    assert result.gain.p < 0.01


def test_fold_is_measured_with_the_setting_that_the_others_select():
    """A setting that is only good on one fold cannot be selected for it."""
    values = np.zeros((2, 10))
    values[1, :2] = 1.0
    folds = [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    result = selection(values, by_index, folds)
    assert result.fold_indices[0] == 0
    assert result.gain.mean == 0.0


def test_preferred_setting_whose_estimated_gain_is_within_noise_is_not_selected():
    values = np.zeros((3, 20))
    values[1, :10] = 1.0  # best on the first ten queries,
    values[2, 10:] = 1.0  # and best on the others
    values[1, 10:] = values[2, :10] = -0.3
    folds = [list(range(10)), list(range(10, 20))]
    result = selection(values, by_index, folds)
    assert result.preferred_index != 0
    assert result.gain.mean < 0
    assert result.selected_index == 0


@given(st.integers(1, 100), st.integers(2, 10))
def test_folds_have_each_query_once(query_count, fold_count):
    folds = folds_of(query_count, fold_count)
    assert sorted(index for fold in folds for index in fold) == list(range(query_count))
    assert max(map(len, folds)) - min(map(len, folds)) <= 1
    assert folds == folds_of(query_count, fold_count)


def space(**changes):
    options = {"models": ["a", "b"], "candidates": 100, "precisions": {"a": ("float32",)}}
    return Space(**(options | changes))


def test_first_setting_of_the_grid_is_plain():
    settings = grid(space())
    assert settings[0] == Setting(model="a", candidates=100)
    assert len(set(settings)) == len(settings)
    assert all(setting.complexity >= (0, 0) for setting in settings)


def test_grid_has_each_part_only_if_it_can_help():
    smallest = grid(space(models=["a"], precisions={}))
    assert {(setting.cheap, setting.passages, setting.embed, setting.precision) for setting in smallest} == {(None,) * 4}
    assert {setting.candidates for setting in smallest} == {100, 50, 20}
    assert any(setting.passages for setting in grid(space(truncating_models=["a"])))
    assert any(setting.embed for setting in grid(space(embed="e")))
    cascades = [setting for setting in grid(space()) if setting.cheap]
    assert {(setting.cheap, setting.model) for setting in cascades} == {("a", "b"), ("b", "a")}
    assert all(setting.keep < setting.candidates for setting in cascades)


def test_table_of_a_setting_has_the_parts_in_each_other():
    first = {"model": "s", "precision": "int8", "cheap": "c", "keep": 10, "passages": "max"}
    setting = Setting(**first, weight=0.7, embed="e", neighbour_weight=0.8, candidates=50)
    table = setting.table()
    assert table["candidates"] == 50
    uses = []
    scorer = table["reranker"]
    while "use" in scorer:
        uses.append(scorer["use"])
        scorer = scorer["strong"] if "strong" in scorer else scorer["scorer"]
    assert uses == ["Neighbours", "Fused", "Cascade", "Passages"]
    assert scorer == {"model": "s", "precision": "int8"}
