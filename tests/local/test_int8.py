"""int8 weights: their accuracy, and their cache."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

import podium
from checkpoints import replace_weights
from environment import NEEDS_CORE, NEEDS_ONNX, PARITY_MODELS, RUNTIMES, SCRATCH
from podium.local.cache import cache_folder
from podium.local.files.checkpoint import Checkpoint
from podium.local.runtimes.int8 import Int8Weights, quantise

MODELS = (
    "bert", "roberta", "xlm-roberta-bfloat16", "distilbert", "electra", "modernbert", "ettin", "late",
    "deberta-v2", "deberta-v3",
)  # fmt: skip
CACHES = [pytest.param("onnx", "int8", marks=NEEDS_ONNX), pytest.param("native", "native", marks=NEEDS_CORE)]
"""Runtimes, each with the folder of its cached weights."""


def test_quantised_weights_are_close_and_do_not_overflow():
    weight = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    weight[2] = 0
    quantised, scale = quantise(weight)
    assert quantised.shape == (5, 7)
    assert quantised.dtype == np.int8
    assert np.abs(quantised.T * scale[:, None] - weight).max() <= np.abs(weight).max() / 127 / 2 + 1e-7


@NEEDS_ONNX
@pytest.mark.parametrize("is_signed", [True, False], ids=["int8", "uint8"])
def test_products_are_close_with_signed_and_unsigned_weights(is_signed, tmp_path):
    """Which of the two is used depends on the processor."""
    from podium.local.runtimes.onnx.graph import OnnxGraph
    from podium.local.runtimes.onnx.runtime import OnnxRuntime

    weight = np.random.default_rng(1).standard_normal((8, 64)).astype(np.float32)
    save_file({"dense.weight": weight}, tmp_path / "x.safetensors")
    checkpoint = Checkpoint([tmp_path / "x.safetensors"])
    graph = OnnxGraph(checkpoint, Int8Weights("none"), signed=is_signed)
    rows = np.random.default_rng(2).standard_normal((3, 64)).astype(np.float32) * 30
    row = graph.op("Gather", graph.constant(rows, "rows"), graph.token_ids())
    total = graph.op("ReduceSum", graph.op("Abs", graph.linear(row, "dense", bias=False)), keepdims=1)
    checkpoint.close()
    runtime = OnnxRuntime.from_graph(graph, total)
    sums = runtime.run([np.array([index]) for index in range(3)], [np.array([0])] * 3)[:, 0]
    np.testing.assert_allclose(sums, np.abs(rows @ weight.T).sum(axis=1), rtol=0.02)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_scores_are_close_to_float32(name, runtime):
    """The weights of these models are spread much wider than trained ones, so the scores only correlate."""
    texts = [f"{word} query document rank" * length for word in ("one", "two", "red") for length in (1, 3, 7)]
    with podium.load(PARITY_MODELS / name, runtime=runtime) as reranker:
        expected = reranker.scorer.score("rank the query", texts).raw
    with podium.load(PARITY_MODELS / name, precision="int8", runtime=runtime) as reranker:
        assert np.corrcoef(expected, reranker.scorer.score("rank the query", texts).raw)[0, 1] > 0.9


def test_bundled_model_ranks_washington_first(question, passages, mini):
    """The best document has a logit of 0.82, and the next one −0.01. int8 must not change a logit by 0.2 or more."""
    with podium.load("podium-mini", precision="int8") as quantised:
        expected, scores = mini.scorer.score(question, passages).raw, quantised.scorer.score(question, passages).raw
    assert int(np.argmax(scores)) == 3
    assert np.abs(np.subtract(expected, scores)).max() < 0.2


def set_bias(folder, value):
    replace_weights(folder, {"classifier.bias": lambda bias: np.full_like(bias, value)})


@pytest.mark.parametrize(("runtime", "folder"), CACHES)
def test_weights_are_cached_and_replaced_after_damage(model, runtime, folder):
    def cached_files():
        """Return the modification times of the files in the cache, by name."""
        return {path.name: path.stat().st_mtime_ns for path in (cache_folder() / folder).glob("*")}

    def score():
        with podium.load(model, precision="int8", runtime=runtime) as reranker:
            return reranker.score("rank", ["query"])

    set_bias(model, 0.123)
    before = cached_files()
    first_score = score()
    (name,) = set(cached_files()) - set(before)
    modified_ns = cached_files()[name]
    assert score() == first_score
    assert cached_files()[name] == modified_ns, "the file was written again although it was complete"
    (cache_folder() / folder / name).write_bytes(b"damaged")
    assert score() == first_score
    set_bias(model, 0.5)
    assert score() != first_score, "the cached weights were used after the weights had changed"


@pytest.mark.parametrize(("runtime", "folder"), CACHES)
def test_processes_can_write_the_same_weights_at_once(model, runtime, folder):
    set_bias(model, 0.777)
    load = f"podium.load({str(model)!r}, precision='int8', runtime={runtime!r})"
    script = f"import podium; print({load}.score('rank', ['query list']))"
    processes = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) for _ in range(3)]
    outputs = [process.communicate(timeout=240)[0] for process in processes]
    assert all(process.returncode == 0 for process in processes)
    assert len(set(outputs)) == 1
    assert not list((SCRATCH / "podium" / folder).glob("*.unfinished"))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_unwritable_cache_is_ignored(model, tmp_path, runtime):
    (tmp_path / "file").write_text("in the way")
    load = f"podium.load({str(model)!r}, precision='int8', runtime={runtime!r})"
    environment = os.environ | {"PODIUM_CACHE": str(tmp_path / "file" / "below")}
    script = f"import podium; print({load}.score('rank', ['query']))"
    assert subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True).stdout


def test_damaged_file_is_not_used():
    weight = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)
    weights = Int8Weights("damaged")
    quantised, _ = weights.add("a", weight)
    weights.save()
    cached = Int8Weights("damaged").get("a", 32, 64)
    assert cached is not None
    assert (cached[0] == quantised).all()
    content = bytearray(weights.path.read_bytes())
    content[-100] ^= 4  # one bit of a weight
    weights.path.write_bytes(content)
    assert Int8Weights("damaged").get("a", 32, 64) is None
