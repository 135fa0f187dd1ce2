"""TruncationWarning: once per process and model, with the share that was not read, at the caller's line."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import warnings

import podium
from fakes import FunctionScorer, Reader
from podium.types import Scores

SCRIPT = """
import podium
reranker = podium.load("podium-mini")
for _ in range(2):
    reranker.rerank("fruit", ["apple " * 1000, "pear"])
    reranker.rank("fruit", ["apple " * 1000])
"""


def warnings_of(reranker, documents, calls=2):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(calls):
            reranker.rerank("red", documents)
            asyncio.run(reranker.arerank("red", documents))
    assert all(warning.category is podium.TruncationWarning for warning in caught)
    return [str(warning.message) for warning in caught]


def test_warning_is_issued_once_per_process_and_model_at_the_callers_line():
    process = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert process.stderr.count("TruncationWarning") == 1
    assert process.stderr.startswith(
        "<string>:5: TruncationWarning: podium-mini did not read 49% of the text, because 1 of 2 documents are longer than it "
        "reads; podium.Reranker(podium.Passages(reranker)) reads them completely"
    )


def test_each_model_has_its_own_warning():
    for name in ("model 1", "model 2"):
        (message,) = warnings_of(podium.Reranker(Reader(11, model=name)), ["a " * 40, "a"])
        assert message.startswith(f"{name} did not read 73% of the text")


def test_share_is_left_out_if_the_tokens_that_were_read_are_not_known():
    scorer = FunctionScorer(lambda texts: Scores([0.0], dropped_tokens=[5]))
    scorer.model = "model 3"
    assert "model 3 did not read a part of the text, because 1 of 1" in warnings_of(podium.Reranker(scorer), ["a"])[0]


def test_texts_that_are_read_completely_give_no_warning():
    assert warnings_of(podium.Reranker(Reader(11, model="model 4")), ["a b", ""]) == []


def test_limit_of_passages_gives_no_warning():
    scorer = podium.Passages(Reader(20, model="model 5"), max_passages=1)
    assert warnings_of(podium.Reranker(scorer), ["a " * 100]) == []
