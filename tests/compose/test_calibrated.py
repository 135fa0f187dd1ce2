"""Calibration: fitting, CalibratedScorer, files, and the command."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import podium
from commands import run_in_subprocess
from fakes import AsyncWordOverlap, FunctionScorer, WordOverlap
from lazy_modules import LazyModule
from podium.compose.calibrated import CalibratedScorer, Calibration, read_calibration, write_calibration
from podium.errors import InvalidInput
from podium.evaluation.calibration import brier, expected_calibration_error, isotonic, platt
from podium.hosted.providers import PROVIDERS
from podium.hosted.scorer import HostedScorer
from podium.ordering import NO_TEXT_SCORES
from podium.types import ScoreKind, Scores

optimize = LazyModule("scipy.optimize")

PLATT = Calibration("word-overlap", "1", "platt", slope=2.0, offset=-3.0)
ISOTONIC = Calibration("m", None, "isotonic", points=((0.0, 0.1), (1.0, 0.9)))


def test_scores_of_other_models_are_not_calibrated():
    """The calibration is of the first tier's model. The text of another tier, and one without a score, keep their values."""
    scores = Scores([1.0, 5.0, math.nan], tiers=[0, 1, 1], scored_by=["word-overlap", "cheap", None])
    scorer = FunctionScorer(lambda texts: scores)
    scorer.model, scorer.revision = "word-overlap", "1"
    values = CalibratedScorer(scorer, PLATT).score("q", ["a", "b", "c"]).values
    assert values[:2] == [pytest.approx(PLATT(1.0)), 5.0]
    assert math.isnan(values[2])
    ranking = podium.Reranker(CalibratedScorer(scorer, PLATT)).rerank("q", ["a", "b", "c"])
    assert [result.index for result in ranking] == [0, 1, 2]


def test_ranking_of_a_fallback_is_not_calibrated_and_a_note_says_so():
    scores = Scores([7.0], model="other", score_kind="logit", reasons=("it failed",))
    scorer = FunctionScorer(lambda texts: scores)
    scorer.model, scorer.revision = "word-overlap", "1"
    ranking = podium.Reranker(CalibratedScorer(scorer, PLATT)).rerank("q", ["a"])
    assert (ranking[0].score, ranking.score_kind, ranking.model) == (7.0, "logit", "other")
    assert "the calibration is not for other, so its scores are not probabilities" in ranking.notes


def test_platt_recovers_the_curve_of_the_data():
    generator = np.random.default_rng(0)
    scores = generator.normal(5, 3, 20_000)
    relevant = generator.random(20_000) < 1 / (1 + np.exp(-(1.5 * scores - 9)))
    assert platt(scores.tolist(), relevant.tolist()) == pytest.approx((1.5, -9), rel=0.05)


def test_platt_finds_the_same_minimum_as_scipy():
    generator = np.random.default_rng(1)
    scores = generator.normal(0, 100, 300)
    relevant = scores + generator.normal(0, 120, 300) > 60
    target = np.where(relevant, (relevant.sum() + 1) / (relevant.sum() + 2), 1 / ((~relevant).sum() + 2))

    def loss(parameters):
        logits = parameters[0] * scores / 100 + parameters[1]
        return (np.logaddexp(0, logits) - target * logits).sum()

    best = optimize.minimize(loss, [0.0, 0.0], method="BFGS").x
    assert platt(scores.tolist(), relevant.tolist()) == pytest.approx((best[0] / 100, best[1]), rel=1e-3)


def test_platt_is_finite_for_separable_scores():
    slope, offset = platt([0.0, 1.0, 2.0, 3.0], [False, False, True, True])
    assert np.isfinite([slope, offset]).all()
    assert slope > 0


@pytest.mark.parametrize(
    ("scores", "relevant", "message"),
    [
        ([1.0, 2.0], [True, True], "both kinds"),
        ([1.0], [False], "both kinds"),
        ([3.0, 2.0, 1.0], [False, False, True], "do not score higher"),
    ],
    ids=["only relevant", "only irrelevant", "reversed"],
)
def test_platt_refuses_data_that_cannot_be_calibrated(scores, relevant, message):
    with pytest.raises(InvalidInput, match=message):
        platt(scores, relevant)


def test_isotonic_probability_does_not_exceed_that_of_a_higher_score():
    calibration = Calibration("m", None, "isotonic", points=((0.4586250063780283, 0.14285714285714285), (2.0, 1.0)))
    assert calibration(1.9999999999999998) <= calibration(2.0) == 1.0


def test_isotonic_of_five_pairs():
    points = isotonic([1, 2, 3, 4, 5], [False, True, False, True, True])
    assert points == ((1.0, 0.0), (2.0, 0.5), (3.0, 0.5), (4.0, 1.0), (5.0, 1.0))


@given(
    st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2).filter(
        lambda pairs: len({relevant for _, relevant in pairs}) == 2
    )
)
def test_isotonic_equals_scipy(pairs):
    scores = [float(score) for score, _ in pairs]
    relevant_by_score: dict[float, list[bool]] = {score: [] for score in sorted(set(scores))}
    for score, relevant in pairs:
        relevant_by_score[score].append(relevant)
    groups = list(relevant_by_score.values())
    reference = optimize.isotonic_regression([np.mean(group) for group in groups], weights=[len(group) for group in groups]).x
    points = isotonic(scores, [relevant for _, relevant in pairs])
    calibration = Calibration("m", None, "isotonic", points=points)
    probabilities = [calibration(score) for score in relevant_by_score]
    assert probabilities == pytest.approx(list(reference))
    assert probabilities == sorted(probabilities)
    assert calibration(-99.0) == calibration(min(scores))
    assert calibration(99.0) == calibration(max(scores))


def test_brier_score_and_calibration_error():
    assert brier([1.0, 0.5], [True, False]) == pytest.approx(0.125)
    error = expected_calibration_error([0.95, 0.95, 0.15, 0.15], [True, False, False, False])
    assert error == pytest.approx((2 * 0.45 + 2 * 0.15) / 4)
    assert expected_calibration_error([1.0], [True]) == 0


@pytest.mark.parametrize("scorer", [WordOverlap(), AsyncWordOverlap()], ids=["sync", "async"])
def test_values_become_probabilities_in_the_same_order(scorer):
    texts = ["a", "a b", "x", "a b c", "y"]
    uncalibrated = podium.Reranker(WordOverlap()).rerank("a b c", texts)
    reranker = podium.Reranker(CalibratedScorer(scorer, PLATT))
    ranking = reranker.rerank("a b c", texts)
    assert [result.index for result in ranking] == [result.index for result in uncalibrated]
    probabilities = [1 / (1 + np.exp(-(2 * result.score - 3))) for result in uncalibrated]
    assert [result.score for result in ranking] == pytest.approx(probabilities)
    assert ranking.score_kind == "probability"
    assert asyncio.run(reranker.arerank("a b c", texts)).results == ranking.results
    assert [result.document for result in reranker.rerank("a b c", texts, min_score=0.5)] == ["a b c", "a b"]


def test_only_calibrated_scores_are_probabilities(mini):
    calibration = Calibration(mini.model, mini.scorer.revision, "platt", 2.0, -3.0)
    assert mini.rerank("a", ["b"]).score_kind == "sigmoid"
    assert podium.Reranker(CalibratedScorer(mini.scorer, calibration)).rerank("a", ["b"]).score_kind == "probability"
    assert {provider.score_kind for provider in PROVIDERS} == {"sigmoid", "logit"}
    assert set(NO_TEXT_SCORES) == set(get_args(ScoreKind))


def test_equal_probabilities_are_in_the_order_of_the_scores():
    constant = Calibration("function", None, "isotonic", points=((0.0, 0.2), (9.0, 0.2)))
    scorer = CalibratedScorer(FunctionScorer(lambda texts: Scores([1.0, 3.0, 2.0])), constant)
    assert [result.index for result in podium.Reranker(scorer).rerank("q", ["a", "b", "c"])] == [1, 2, 0]


@pytest.mark.parametrize("calibration", [PLATT, ISOTONIC], ids=["platt", "isotonic"])
def test_calibration_is_written_and_read(tmp_path, calibration):
    write_calibration(tmp_path / "c.json", calibration)
    assert read_calibration(tmp_path / "c.json") == calibration


def test_calibration_of_another_model_is_refused():
    with pytest.raises(InvalidInput, match=r"is for m \(no revision\), not for word-overlap \(1\)"):
        CalibratedScorer(WordOverlap(), ISOTONIC)


def test_calibration_of_another_kind_of_scores_is_refused():
    """The sum and the mean of a ColBERT model's similarities are scores of one model and revision."""
    calibration = Calibration("function", None, "platt", slope=1.0, score_kind="similarity")
    scorer = FunctionScorer(lambda texts: Scores([1.0] * len(texts)), "similarity_sum")
    with pytest.raises(InvalidInput, match=r"is for scores of the kind similarity, .* the same score as for podium calibrate"):
        CalibratedScorer(scorer, calibration)
    CalibratedScorer(scorer, replace(calibration, score_kind=None))  # written by an earlier version


def test_calibration_of_a_hosted_model_depends_on_the_model_and_not_on_the_server():
    def scorer(model: str, port: int) -> HostedScorer:
        return HostedScorer("tei", model, base_url=f"http://127.0.0.1:{port}")

    calibration = Calibration(scorer("model-a", 1).model, None, "platt", slope=2.0, offset=-3.0)
    assert CalibratedScorer(scorer("model-a", 2), calibration).score_kind == "probability"
    with pytest.raises(InvalidInput, match=r"is for tei:model-a \(no revision\), not for tei:model-b"):
        CalibratedScorer(scorer("model-b", 1), calibration)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "[" * 200_000,
        "{}",
        '{"model": "m", "revision": null, "method": "magic"}',
        '{"model": "m", "revision": null, "method": "platt", "slope": -1}',
        '{"model": "m", "revision": null, "method": "platt", "slope": "x"}',
        f'{{"model": "m", "revision": null, "method": "platt", "slope": 1{"0" * 400}}}',
        '{"model": "m", "revision": null, "method": "isotonic", "points": [[0, 0.9], [1, 0.1]]}',
    ],
    ids=[
        "empty",
        "list",
        "nested",
        "no fields",
        "unknown method",
        "negative slope",
        "slope is a string",
        "slope is too large",
        "decreasing points",
    ],
)
def test_file_that_is_not_a_calibration_is_refused(tmp_path, content):
    file = tmp_path / "c.json"
    file.write_text(content)
    with pytest.raises(InvalidInput, match="is not a calibration"):
        read_calibration(file)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="there is no file"):
        read_calibration(tmp_path / "none.json")


def test_calibration_that_is_not_a_path_is_refused():
    with pytest.raises(InvalidInput, match="pass its path"):
        podium.load("podium-mini", calibration=1)


def test_calibrate_command_refuses_scores_of_another_model(tmp_path):
    """Nothing listens on the port, so that podium-mini replaces the hosted model."""
    rows = [f"q{number},{text} {number},{grade}" for number in range(4) for text, grade in (("red", 1), ("sea", 0))]
    (tmp_path / "judged.csv").write_text("\n".join(["query,document,grade", *rows]), encoding="utf-8")
    hosted = '{model = "tei:m", base_url = "http://127.0.0.1:9", retries = 0}'
    (tmp_path / "stack.toml").write_text(f'[reranker]\nuse = "Fallback"\nscorers = [{hosted}, "podium-mini"]\n')
    file = tmp_path / "c.json"
    code, _, err = run_in_subprocess("calibrate", tmp_path / "stack.toml", "--data", tmp_path / "judged.csv", "--out", file)
    assert code == 1
    assert "podium-mini scored query" in err
    assert "in the place of tei:m, whose scores a calibration needs" in " ".join(err.split())
    assert not file.exists()


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_calibrate_command_writes_a_calibration(tmp_path, method):
    rows = ["query,document,grade"]
    for number in range(8):
        rows += [
            f"a red fruit {number},a ripe red apple {number},1",
            f"a red fruit {number},the sea at night {number},0",
            f"a red fruit {number},stones {number},0",
        ]
    (tmp_path / "judged.csv").write_text("\n".join(rows), encoding="utf-8")
    file = tmp_path / "c.json"
    code, out, err = run_in_subprocess(
        "calibrate", "podium-mini", "--data", tmp_path / "judged.csv", "--out", file, "--method", method
    )
    assert code == 0, err
    lines = out.splitlines()[1:3]
    assert [line.split()[0] for line in lines] == ["before", "after"]
    before, after = (float(line.split()[-1]) for line in lines)
    assert after < min(before, 0.05), "the calibration error is large although the scores separate the documents"
    with podium.load("podium-mini", calibration=file) as reranker:
        ranking = reranker.rerank("a red fruit 1", ["stones 1", "a ripe red apple 1"], min_score=0.5)
    assert [result.document for result in ranking] == ["a ripe red apple 1"]
    content = json.loads(file.read_text())
    assert (content["method"], content["score_kind"]) == (method, "sigmoid")
