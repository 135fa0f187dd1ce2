"""Options that several commands have: which models they are for, and --calibration in every command that takes a model."""

from __future__ import annotations

import json

import pytest

from commands import run_in_process
from podium.cli.options import options_for
from podium.compose.calibrated import Calibration, write_calibration
from podium.errors import InvalidInput

NAMES = ("podium-mini", "cohere:m")


def test_options_go_to_the_models_that_have_them():
    options = {"max_length": 64, "base_url": "http://127.0.0.1:9"}
    assert [list(options_for(options, name, NAMES)) for name in NAMES] == [["max_length"], ["base_url"]]


def test_calibration_for_several_models_is_refused():
    with pytest.raises(InvalidInput, match="a calibration belongs to one model"):
        options_for({"calibration": "c.json"}, "podium-mini", NAMES)


@pytest.fixture
def judgments_file(tmp_path):
    rows = [f"a red fruit {n},a ripe red apple {n},1\na red fruit {n},the sea at night {n},0" for n in range(4)]
    path = tmp_path / "judged.csv"
    path.write_text("\n".join(["query,document,grade", *rows]))
    return path


@pytest.fixture(params=["rank", "search", "eval", "calibrate", "check"])
def arguments(request, text_file, judgments_file, tmp_path):
    """The arguments of a valid call, for each command that takes a model."""
    return {
        "rank": ["rank", "a red fruit", text_file, "--json"],
        "search": ["search", "a red apple", "--in", text_file, "--json"],
        "eval": ["eval", judgments_file, "--reranker", "podium-mini", "--metrics", "nDCG@10"],
        "calibrate": ["calibrate", "podium-mini", "--data", judgments_file, "--out", tmp_path / "new.json"],
        "check": ["check", "podium-mini"],
    }[request.param]


def test_calibration_and_maximum_length_are_used(arguments, tmp_path):
    write_calibration(tmp_path / "c.json", Calibration("podium-mini", "v1", "platt", slope=0.5, offset=0.0))
    code, out, err = run_in_process(*arguments, "--calibration", tmp_path / "c.json", "--max-length", "64")
    assert code == 0, err
    if "--json" in arguments:
        assert json.loads(out)["score_kind"] == "probability"


def test_encoding_and_pooling_are_used(arguments):
    code, _, err = run_in_process(*arguments, "--encoding", "float16", "--pooling", "2")
    assert code == 0, err


def test_option_of_colbert_models_is_refused_for_another(arguments):
    code, _, err = run_in_process(*arguments, "--score", "mean")
    assert (code, "--score" in err) == (2, True)


def test_calibration_of_another_model_is_refused(arguments, tmp_path):
    write_calibration(tmp_path / "other.json", Calibration("other", None, "platt"))
    assert run_in_process(*arguments, "--calibration", tmp_path / "other.json")[0] == 2


def test_option_of_hosted_apis_is_refused_for_a_local_model(arguments):
    code, _, err = run_in_process(*arguments, "--base-url", "http://127.0.0.1:9")
    assert (code, "--base-url" in err) == (2, True)


def test_error_names_the_option_as_the_command_line_writes_it(text_file):
    _, _, err = run_in_process("rank", "q", text_file, "--model", "cohere:m", "--max-length", "3")
    assert "--max-length" in err
    assert "max_length" not in err
