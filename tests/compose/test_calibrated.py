"""Scores as probabilities: fitted as they should be, kept in order, refused where they belong to another model."""

from __future__ import annotations

import asyncio
import json
from typing import get_args

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st

import podium
from commands import command
from fakes import AsyncWordOverlap, FunctionScorer, WordOverlap
from podium.compose.calibrated import CalibratedScorer, Calibration, read_calibration, write_calibration
from podium.errors import InvalidInput
from podium.evaluation.calibration import brier, expected_calibration_error, isotonic, platt
from podium.hosted.providers import PROVIDERS
from podium.hosted.scorer import HostedScorer
from podium.ranking import NO_TEXT_SCORES
from podium.types import ScoreKind, Scores

HALF = Calibration("word-overlap", "1", "platt", slope=2.0, offset=-3.0)


def test_platt_finds_the_curve_that_made_the_data():
    draw = np.random.default_rng(0)
    scores = draw.normal(5, 3, 20_000)
    relevant = draw.random(20_000) < 1 / (1 + np.exp(-(1.5 * scores - 9)))
    assert platt(scores.tolist(), relevant.tolist()) == pytest.approx((1.5, -9), rel=0.05)


def test_platt_is_the_minimum_that_scipy_finds():
    draw = np.random.default_rng(1)
    scores = draw.normal(0, 100, 300)
    relevant = scores + draw.normal(0, 120, 300) > 60
    target = np.where(relevant, (relevant.sum() + 1) / (relevant.sum() + 2), 1 / ((~relevant).sum() + 2))

    def loss(parameters):
        logits = parameters[0] * scores / 100 + parameters[1]
        return (np.logaddexp(0, logits) - target * logits).sum()

    best = scipy.optimize.minimize(loss, [0.0, 0.0], method="BFGS").x
    assert platt(scores.tolist(), relevant.tolist()) == pytest.approx((best[0] / 100, best[1]), rel=1e-3)


def test_platt_stays_finite_where_scores_tell_everything():
    slope, offset = platt([0.0, 1.0, 2.0, 3.0], [False, False, True, True])
    assert np.isfinite([slope, offset]).all()
    assert slope > 0


@pytest.mark.parametrize(
    ("scores", "relevant"), [([1.0, 2.0], [True, True]), ([1.0], [False]), ([3.0, 2.0, 1.0], [False, False, True])]
)
def test_what_cannot_be_calibrated_is_said(scores, relevant):
    with pytest.raises(InvalidInput, match=r"both kinds|do not score higher"):
        platt(scores, relevant)


def test_isotonic_by_hand():
    points = isotonic([1, 2, 3, 4, 5], [False, True, False, True, True])
    assert points == ((1.0, 0.0), (2.0, 0.5), (3.0, 0.5), (4.0, 1.0), (5.0, 1.0))


@given(
    st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2).filter(lambda rows: len({hit for _, hit in rows}) == 2)
)
def test_isotonic_is_scipys(rows):
    scores, relevant = [float(score) for score, _ in rows], [hit for _, hit in rows]
    order = np.argsort(scores, kind="stable")
    grouped = {score: [hit for at, hit in rows if at == score] for score in sorted(set(scores))}
    reference = scipy.optimize.isotonic_regression(
        [np.mean(hits) for hits in grouped.values()], weights=[len(hits) for hits in grouped.values()]
    ).x
    calibration = Calibration("m", None, "isotonic", points=isotonic(scores, relevant))
    assert [calibration(score) for score in grouped] == pytest.approx(list(reference))
    risen = [calibration(scores[at]) for at in order]
    assert risen == sorted(risen)
    assert calibration(-99.0) == calibration(min(scores))
    assert calibration(99.0) == calibration(max(scores))


def test_how_far_probabilities_can_be_believed_by_hand():
    assert brier([1.0, 0.5], [True, False]) == pytest.approx(0.125)
    assert expected_calibration_error([0.95, 0.95, 0.15, 0.15], [True, False, False, False]) == pytest.approx(
        (2 * 0.45 + 2 * 0.15) / 4
    )
    assert expected_calibration_error([1.0], [True]) == 0


def test_values_become_probabilities_and_the_order_stays():
    texts = ["a", "a b", "x", "a b c", "y"]
    plain = podium.Reranker(WordOverlap()).rerank("a b c", texts)
    for scorer in (WordOverlap(), AsyncWordOverlap()):
        reranker = podium.Reranker(CalibratedScorer(scorer, HALF))
        ranking = reranker.rerank("a b c", texts)
        assert [result.index for result in ranking] == [result.index for result in plain]
        assert [result.score for result in ranking] == [pytest.approx(1 / (1 + np.exp(-(2 * r.score - 3)))) for r in plain]
        assert ranking.score_kind == "probability"
        assert asyncio.run(reranker.arerank("a b c", texts)).results == ranking.results
        assert [result.document for result in reranker.rerank("a b c", texts, min_score=0.5)] == ["a b c", "a b"]


def test_only_a_calibrated_scorer_calls_its_scores_probabilities(mini):
    fitted = Calibration(mini.model, mini.scorer.revision, "platt", 2.0, -3.0)
    assert mini.rerank("a", ["b"]).score_kind == "sigmoid"
    assert podium.Reranker(CalibratedScorer(mini.scorer, fitted)).rerank("a", ["b"]).score_kind == "probability"
    assert {row.score_kind for row in PROVIDERS} == {"sigmoid", "logit"}
    assert set(NO_TEXT_SCORES) == set(get_args(ScoreKind))


def test_ties_that_a_calibration_makes_keep_the_models_order():
    level = Calibration("function", None, "isotonic", points=((0.0, 0.2), (9.0, 0.2)))
    scorer = CalibratedScorer(FunctionScorer(lambda texts: Scores([1.0, 3.0, 2.0])), level)
    assert [result.index for result in podium.Reranker(scorer).rerank("q", ["a", "b", "c"])] == [1, 2, 0]


def test_a_calibration_is_kept_in_a_file(tmp_path):
    file = tmp_path / "c.json"
    for calibration in (HALF, Calibration("m", None, "isotonic", points=((0.0, 0.1), (1.0, 0.9)))):
        write_calibration(file, calibration)
        assert read_calibration(file) == calibration
    with pytest.raises(InvalidInput, match=r"is for m \(no revision\), not for word-overlap \(1\)"):
        CalibratedScorer(WordOverlap(), read_calibration(file))
    for content in ("", "[]", "{}", '{"model": "m", "revision": null, "method": "magic"}',
                    '{"model": "m", "revision": null, "method": "platt", "slope": -1}',
                    '{"model": "m", "revision": null, "method": "platt", "slope": "x"}',
                    '{"model": "m", "revision": null, "method": "isotonic", "points": [[0, 0.9], [1, 0.1]]}'):  # fmt: skip
        file.write_text(content)
        with pytest.raises(InvalidInput, match="is not a calibration"):
            read_calibration(file)
    with pytest.raises(InvalidInput, match="cannot read"):
        read_calibration(tmp_path / "none.json")


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_the_command(tmp_path, method):
    rows = ["query,document,grade"]
    for at in range(8):
        rows += [
            f"a red fruit {at},a ripe red apple {at},1",
            f"a red fruit {at},the sea at night {at},0",
            f"a red fruit {at},stones {at},0",
        ]
    (tmp_path / "mine.csv").write_text("\n".join(rows), encoding="utf-8")
    out_file = tmp_path / "c.json"
    code, out, err = command("calibrate", "podium-mini", "--data", tmp_path / "mine.csv", "--out", out_file, "--method", method)
    assert code == 0, err
    assert [line.split()[0] for line in out.splitlines()[1:3]] == ["before", "after"]
    before, after = (float(line.split()[-1]) for line in out.splitlines()[1:3])
    assert max(before, after) < 0.05  # these pairs are told apart perfectly; what is fitted must not spoil that
    with podium.load("podium-mini", calibration=out_file) as reranker:
        found = reranker.rerank("a red fruit 1", ["stones 1", "a ripe red apple 1"], min_score=0.5)
    assert [result.document for result in found] == ["a ripe red apple 1"]
    assert json.loads(out_file.read_text())["method"] == method


def test_calibration_of_hosted_model_fits_every_server_but_no_other_model():
    def scorer(model: str, port: int) -> HostedScorer:
        return HostedScorer("tei", model, base_url=f"http://127.0.0.1:{port}")

    fitted = Calibration(scorer("model-a", 1).model, None, "platt", slope=2.0, offset=-3.0)
    assert CalibratedScorer(scorer("model-a", 2), fitted).score_kind == "probability"
    with pytest.raises(InvalidInput, match=r"is for tei:model-a \(no revision\), not for tei:model-b"):
        CalibratedScorer(scorer("model-b", 1), fitted)
