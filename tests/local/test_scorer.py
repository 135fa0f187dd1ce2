"""LocalScorer: its options and scores, cancelled calls, closing, and memory."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import podium
from environment import PARITY_MODELS
from podium.errors import InvalidInput
from podium.local.cpu import cores
from podium.local.files.folder import from_folder
from podium.local.scorer import LocalScorer
from podium.scorers import BaseScorer


def test_bundled_model_ranks_washington_first(mini, question, passages):
    results, scores = mini.rank(question, passages, limit=3)
    assert results[0] == passages[3]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "int4"},
        {"runtime": "cuda"},
        {"threads": 0},
        {"threads": True},
        {"max_length": -1},
        {"max_length": 2.5},
        {"api_key": "x"},
        {"timeout": 3},
    ],
    ids=str,
)
def test_wrong_option_is_refused(options):
    with pytest.raises(InvalidInput, match=next(iter(options))):
        podium.load("podium-mini", **options)


@pytest.mark.parametrize(("max_length", "tokens"), [(16, 16), (64, 64), (None, 64)], ids=["shorter", "equal", "default"])
def test_max_length_can_only_be_shortened(max_length, tokens):
    with podium.load(PARITY_MODELS / "bert", max_length=max_length) as reranker:
        assert reranker.rerank("rank", ["query " * 90]).usage.tokens == tokens


@pytest.mark.parametrize(
    ("name", "length"),
    [
        pytest.param("podium-mini", 512, id="podium-mini"),
        pytest.param(PARITY_MODELS / "bert", 64, id="cross-encoder"),
        pytest.param(PARITY_MODELS / "late-interaction" / "pylate-bert", 40, id="colbert"),
        pytest.param(PARITY_MODELS / "prompts" / "Qwen3-Reranker-0.6B", 8192, id="language-model"),
    ],
)
def test_max_length_above_that_of_the_model_is_refused(name, length):
    with pytest.raises(
        InvalidInput, match=rf"max_length={length + 1} is more than the {length:,} tokens that .* reads; use at"
    ):
        podium.load(name, max_length=length + 1)


@pytest.mark.parametrize(("option", "threads"), [(None, cores()), (3, 3)], ids=["default", "option"])
def test_number_of_threads_is_that_of_the_option_or_of_the_cores(option, threads):
    with podium.load(PARITY_MODELS / "bert", threads=option) as reranker:
        assert reranker.scorer.threads == threads


def test_text_without_tokens_is_noted():
    with podium.load(PARITY_MODELS / "bert") as reranker:
        ranking = reranker.rerank("rank", ["\ufffd", "query"])
    assert any("no token that the model knows" in note for note in ranking.notes)


def test_equal_texts_are_computed_once():
    with podium.load(PARITY_MODELS / "bert") as reranker:
        tokens = reranker.rerank("rank", ["query list", "red"]).usage.tokens
        ranking = reranker.rerank("rank", ["query list", "red", "query list", "query list"])
        assert ranking.usage.tokens == tokens
        assert ranking.usage.pairs == 4
        assert len({result.score for result in ranking}) == 2


def test_progress_counts_every_text():
    counts = []
    with podium.load(PARITY_MODELS / "bert") as reranker:
        reranker.scorer.score_many(["a", "b"], [["x", "y", "x"], ["z"]], progress=counts.append)
    assert sum(counts) == 4


def test_score_many_returns_the_scores_of_single_calls():
    scorer = LocalScorer(from_folder(PARITY_MODELS / "bert"))
    queries = ["rank", "query", "rank"]
    texts = [[f"query {index}" for index in range(100)], ["list"], []]
    expected = [scorer.score(query, items).raw for query, items in zip(queries, texts, strict=True)]
    assert [scores.raw for scores in scorer.score_many(queries, texts)] == expected
    scorer.close()


def test_close_lets_running_calls_finish(question, passages):
    texts = [f"{passage} {index}" for index in range(10) for passage in passages]
    with podium.load("podium-mini", threads=1) as reranker, ThreadPoolExecutor(1) as thread:
        running = threading.Event()
        future = thread.submit(reranker.scorer.score_many, [question], [texts], progress=lambda count: running.set())
        assert running.wait(60)
        reranker.close()
        (scores,) = future.result(60)
    assert len(scores.values) == len(texts)


class SignallingScorer(BaseScorer):
    """A scorer that passes calls to another one, and sets the event `begun` as soon as an `ascore` has begun."""

    def __init__(self, scorer):
        self._scorer = scorer
        self.begun = asyncio.Event()

    model = property(lambda self: self._scorer.model)
    score_kind = property(lambda self: self._scorer.score_kind)

    def score(self, query, texts):
        return self._scorer.score(query, texts)

    async def ascore(self, query, texts):
        task = asyncio.ensure_future(self._scorer.ascore(query, texts))
        await asyncio.sleep(0)
        self.begun.set()
        return await task


def test_cancelled_arank_leaves_the_reranker_usable(mini, question, passages):
    texts = [f"{passage} {index}" for index in range(40) for passage in passages]

    async def main():
        scorer = SignallingScorer(mini.scorer)
        task = asyncio.create_task(podium.Reranker(scorer).arank(question, texts))
        await scorer.begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await mini.arank(question, passages)

    results, _ = asyncio.run(main())
    assert results[0] == passages[3]


class RecordingList(list):
    """Texts that record the threads that iterate over them."""

    def __init__(self, texts):
        super().__init__(texts)
        self.threads = set()

    def __iter__(self):
        self.threads.add(threading.current_thread().name)
        return super().__iter__()


def test_many_texts_are_prepared_outside_the_event_loop():
    scorer = LocalScorer(from_folder(PARITY_MODELS / "bert"))
    texts = RecordingList(["a"] * 5_000)
    scores = asyncio.run(scorer.ascore("q", texts))
    assert list(scores.values) == [scores.values[0]] * 5_000
    assert texts.threads
    assert threading.current_thread().name not in texts.threads
    scorer.close()


PEAK_MEMORY_SCRIPT = """
import random, sys
import podium

reranker = podium.load(sys.argv[1])
draw = random.Random(0)
words = "rank query document score search result index list order best".split()
texts = [" ".join(draw.choices(words, k=draw.randint(5, 50))) + f" {index}" for index in range(int(sys.argv[2]))]
assert len(reranker.rerank("query", texts)) == len(texts)
print(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0])
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="peak memory is read from Linux's /proc")
def test_memory_per_document_is_small():
    """A document's text, tokens, token counts and result take about 1.5 kB. Its rows are not in memory with all others."""

    def peak_kilobytes(document_count):
        command = [sys.executable, "-c", PEAK_MEMORY_SCRIPT, PARITY_MODELS / "bert", str(document_count)]
        return int(subprocess.run(command, check=True, capture_output=True).stdout)

    peak_kilobytes(100)  # packs the weights
    assert peak_kilobytes(10_000) - peak_kilobytes(100) <= 17_000
