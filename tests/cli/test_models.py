"""podium models and podium demo."""

from __future__ import annotations

import re

from commands import run_in_subprocess


def test_models_and_apis_are_listed():
    code, out, err = run_in_subprocess("models")
    assert (code, err) == (0, "")
    assert "podium-mini" in out
    assert "cohere:<model>" in out
    assert re.search(r"^Qwen/Qwen3-Reranker-0.6B +apache-2.0 +0.6B +8192 +instructions", out, re.MULTILINE)
    assert all(len(line) <= 80 for line in out.splitlines())


def test_demo_ranks_washington_first_twice():
    code, out, err = run_in_subprocess("demo")
    best = [line for line in out.splitlines() if line.split()[:1] == ["1"]]
    assert (code, err) == (0, "")
    assert len(best) == 2
    assert all("Washington" in line for line in best)
