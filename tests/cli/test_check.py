"""podium check: what it prints, its exit code, and the size of a download."""

from __future__ import annotations

import loopback
from commands import run_in_process, run_in_subprocess
from environment import PARITY_MODELS


def test_model_is_described_and_measured():
    code, out, _ = run_in_subprocess("check", "podium-mini")
    assert code == 0
    for part in ("late interaction", "a vector per token", "sigmoid", "512 tokens", "F16", "pairs/s", "ordered right"):
        assert part in out


def test_option_of_another_kind_of_model_is_refused_without_a_path_of_the_package():
    code, _, err = run_in_process("check", "podium-mini", "--score", "mean")
    assert code == 2
    assert "--score is an option of ColBERT models, and this model is another kind; leave it out" in err


def test_names_that_are_not_a_model_on_this_machine_are_refused(tmp_path):
    stack = tmp_path / "stack.toml"
    stack.write_text('reranker = "podium-mini"\n')
    code, _, err = run_in_process("check", stack)
    assert code == 2
    assert "stack.toml is a configuration file; check describes one model, so name one of those in the file" in err
    code, _, err = run_in_process("check", "cohere:rerank-v3.5")
    assert code == 2
    assert "try it with podium rank" in err


def test_model_that_orders_the_known_pair_wrong_fails():
    """The weights of this model are random, and happen to order the pair wrong."""
    code, out, err = run_in_process("check", PARITY_MODELS / "ettin")
    assert code == 1
    assert "ORDERED WRONG" in out
    assert "ranks a sentence about museums above the answer" in err


def test_size_of_a_download_is_shown(tmp_path):
    with loopback.Loopback(loopback.Hub({"acme/bert": PARITY_MODELS / "bert"})) as server:
        code, out, _ = run_in_subprocess("check", "acme/bert", "--no-download", HF_ENDPOINT=server.url, HF_HOME=str(tmp_path))
        assert not [request for request in server.requests if "/resolve/" in request.path]
    assert code == 0
    assert "model.safetensors" in out
