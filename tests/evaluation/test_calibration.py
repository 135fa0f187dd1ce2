"""The reliability of probabilities. tests/compose/test_calibrated.py has the tests of fitting."""

from __future__ import annotations

import pytest

from podium.evaluation.calibration import reliability


def test_reliability_equals_values_computed_by_hand():
    rows = reliability([0.05, 0.15, 0.95, 1.0], [False, True, True, False])
    assert rows == [(0.05, 0.0, 1), (0.15, 1.0, 1), (pytest.approx(0.975), 0.5, 2)]
