"""The statistics of significance equal values computed by hand and by scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazy_modules import LazyModule
from podium.evaluation.significance import bootstrap_interval, difference, holm, randomisation_p

stats = LazyModule("scipy.stats")


def test_difference_equals_values_computed_by_hand():
    """Five gains of 0.1 have 32 combinations of signs. In two of them, the mean is as far from 0 as the observed mean."""
    result = difference(dict.fromkeys("abcde", 0.6), dict.fromkeys("abcde", 0.5))
    assert (result.mean, result.low, result.high) == (pytest.approx(0.1), pytest.approx(0.1), pytest.approx(0.1))
    assert result.p == pytest.approx(2 / 32)
    assert (result.wins, result.ties, result.losses) == (5, 0, 0)


def test_difference_of_equal_systems_is_zero():
    result = difference({"a": 0.5, "b": 0.2}, {"a": 0.5, "b": 0.2})
    assert (result.p, result.mean, result.ties) == (1.0, 0.0, 2)


@pytest.mark.parametrize("count", [8, 12, 40, 300])
def test_p_and_interval_agree_with_scipy(count):
    gains = np.random.default_rng(count).normal(0.03, 0.1, count)
    gains[: count // 4] = 0
    reference = stats.permutation_test(
        (gains, np.zeros(count)), lambda a, b: (a - b).mean(), permutation_type="samples", n_resamples=20_000, rng=1
    )
    assert randomisation_p(gains) == pytest.approx(reference.pvalue, abs=0.015)
    bootstrap = stats.bootstrap((gains,), np.mean, method="percentile", n_resamples=10_000, rng=1).confidence_interval
    assert bootstrap_interval(gains) == pytest.approx(
        (bootstrap.low, bootstrap.high), abs=0.1 * (bootstrap.high - bootstrap.low)
    )


def test_random_tests_are_reproducible():
    gains = np.random.default_rng(0).normal(size=100)
    assert randomisation_p(gains) == randomisation_p(gains)
    assert bootstrap_interval(gains) == bootstrap_interval(gains)


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_keeps_the_order_and_lowers_no_p(p_values):
    corrected = holm(p_values)
    assert all(p <= corrected_p <= 1 for p, corrected_p in zip(p_values, corrected, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert [corrected[index] for index in order] == sorted(corrected)


def test_holm_equals_values_computed_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
