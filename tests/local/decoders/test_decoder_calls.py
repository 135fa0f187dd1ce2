"""Calls of a language model: concurrent ones, cancelled ones, and the memory of long documents."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import pytest

from checkpoints import edit_json, edit_weights
from environment import NEEDS_CORE
from language_models import PROMPT_MODELS
from podium.local.decoders.scorer import DecoderScorer
from podium.local.files.folder import from_folder

pytestmark = NEEDS_CORE

NAME = "Qwen3-Reranker-0.6B"
QUERY = "where is the river?"
LONG_TEXT = "river " * 8_100  # the model reads 8,192 tokens
LAYERS = 28


@pytest.fixture
def deep_model(model_copy):
    """The folder of a model whose two layers are repeated, as many as Qwen3-Reranker-0.6B has."""
    folder = model_copy(NAME)

    def repeat_layers(weights):
        for name in [name for name in weights if ".layers." in name]:
            before, after = name.split(".layers.")
            number, rest = after.split(".", 1)
            for index in range(int(number), LAYERS, 2):
                weights[f"{before}.layers.{index}.{rest}"] = weights[name]

    edit_weights(folder, repeat_layers)
    edit_json(folder / "config.json", num_hidden_layers=LAYERS, layer_types=["full_attention"] * LAYERS)
    return folder


def test_short_calls_do_not_wait_for_a_long_one():
    """Of three concurrent queries, the two with few documents end first. No score is changed by the others."""
    scorer = DecoderScorer(from_folder(PROMPT_MODELS / NAME), threads=2)
    calls = {"long": [f"river {index} " * 40 for index in range(600)], "short": ["a river"] * 3, "other": ["the sea"] * 2}
    ended = []

    async def score(name):
        scores = await scorer.ascore(QUERY, calls[name])
        ended.append(name)
        return scores.raw

    async def main():
        return await asyncio.gather(*map(score, calls))

    together = asyncio.run(main())
    assert ended[-1] == "long"
    assert together == [scorer.score(QUERY, texts).raw for texts in calls.values()]
    scorer.close()


def test_cancelled_call_ends_within_a_layer(deep_model):
    """A call with one long document takes less than half of its processor time if it is cancelled at its beginning."""
    scorer = DecoderScorer(from_folder(deep_model), threads=1)
    scorer.score(QUERY, ["a river"])
    begin = time.process_time()
    scorer.score(QUERY, [LONG_TEXT])
    complete_seconds = time.process_time() - begin

    async def cancel_soon_after_the_beginning():
        begin = time.process_time()
        task = asyncio.create_task(scorer.ascore(QUERY, [LONG_TEXT]))
        while time.process_time() - begin < complete_seconds / 10:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await scorer.ascore(QUERY, ["a river"])  # The only thread is free again.
        return time.process_time() - begin

    assert asyncio.run(cancel_soon_after_the_beginning()) < complete_seconds / 2
    scorer.close()


MEMORY = """
import resource, sys
from podium.local.decoders.scorer import DecoderScorer
from podium.local.files.folder import from_folder

scorer = DecoderScorer(from_folder(sys.argv[1]), threads=2)
scorer.score("q", ["a river"])
peaks = [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]
for _ in range(3):
    scores = scorer.score("q", ["river " * 8100, "sea " * 8100, "river " * 10000])
    assert min(scores.tokens) > 8000, scores.tokens
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(*peaks)
"""


def test_memory_of_long_documents_is_bounded():
    """One head's products of all queries and keys of such a document would have 268 MB. Later calls need no more memory."""
    output = subprocess.run(
        [sys.executable, "-c", MEMORY, PROMPT_MODELS / NAME], capture_output=True, text=True, check=False, timeout=600
    )
    assert output.returncode == 0, output.stderr
    before, first, _, last = map(int, output.stdout.split())  # in kB
    assert first - before < 100_000
    assert last - first < 20_000
