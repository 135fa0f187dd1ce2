"""Decoders compute the logits of transformers. A shared prefix, other texts and other threads do not change a bit of them."""

from __future__ import annotations

import gzip
import json
import threading

import numpy as np
import pytest

from environment import HAS_CORE, PARITY_MODELS
from lazy_modules import LazyModule

if not HAS_CORE:
    pytest.skip("podium was installed without its native core: no C++ compiler", allow_module_level=True)

from podium import _native
from podium.local.build import load, load_decoder
from podium.local.families import FAMILIES
from podium.local.files.checkpoint import Checkpoint
from podium.local.runtimes import Variant
from podium.local.runtimes.native.graph import NativeGraph
from podium.local.runtimes.native.packed import Packed
from podium.local.runtimes.native.runtime import NativeRuntime
from podium.local.spec import read_spec

stats = LazyModule("scipy.stats")

FOLDER = PARITY_MODELS / "decoders"
NAMES = sorted(path.parent.name for path in FOLDER.glob("*/expected.json.gz"))
DECODERS = [name for name in NAMES if name != "llama-bidirectional"]
PREFIX_TEXTS = 7  # The last texts of a fixture begin with the same tokens.
PREFIX_TOKENS = 77


def load_network(name, precision, expected):
    spec = read_spec(FOLDER / name)
    if name == "llama-bidirectional":
        return load(spec, Variant("native", precision))
    return load_decoder(spec, Variant("native", precision), output_rows=expected["output_rows"])


def read_expected(name):
    return json.loads(gzip.decompress((FOLDER / name / "expected.json.gz").read_bytes()))


@pytest.fixture(scope="module", params=NAMES)
def expected(request):
    """The texts and logits of a fixture, and its name."""
    return read_expected(request.param) | {"name": request.param}


@pytest.fixture(scope="module", params=DECODERS)
def decoder_expected(request):
    return read_expected(request.param) | {"name": request.param}


def arrays(texts):
    return [np.array(text, np.int32) for text in texts]


def segments_of(ids):
    return [np.zeros(len(text), np.int32) for text in ids]


def run(runtime, ids):
    return runtime.run(ids, segments_of(ids))


def run_after_prefix(runtime, prefix, ids, thread_count=1):
    """Return the logits of texts of which `ids` are the tokens after the prefix."""
    result = np.empty((len(ids), runtime.output_count), np.float32)
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in ids])]).astype(np.int64)
    joined = np.concatenate(ids)
    execution = _native.TextsExecution(runtime.network, joined, np.zeros_like(joined), offsets, result, prefix)
    work_together(execution, thread_count)
    return result


def work_together(execution, thread_count):
    threads = [threading.Thread(target=execution.work) for _ in range(thread_count - 1)]
    for thread in threads:
        thread.start()
    assert execution.work()
    for thread in threads:
        thread.join()


def test_every_decoder_is_tested():
    types = {json.loads((FOLDER / name / "config.json").read_text())["model_type"] for name in NAMES}
    assert types == {name for family in FAMILIES if family.runtimes == ("native",) for name in family.model_types}


def test_logits_are_those_of_transformers(expected):
    runtime = load_network(expected["name"], "float32", expected)
    logits = run(runtime, arrays(expected["texts"]))
    np.testing.assert_allclose(logits, expected["logits"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("name", ["qwen3", "qwen3-untied-bfloat16-sharded", "qwen2-two-labels-float16", "gemma"])
def test_instruction_sets_agree(name, precision):
    """All sets but "portable", which does not fuse products and sums, give the same logits to the last bit."""
    spec = read_spec(FOLDER / name)
    expected = read_expected(name)
    results = []
    for instruction_set in _native.instruction_sets():
        checkpoint = Checkpoint(spec.weights, spec.family.prefix)
        graph = NativeGraph(checkpoint, Packed("tests", precision), precision, instruction_set=instruction_set)
        x = spec.architecture.encode(graph, "last")
        rows = expected["output_rows"]
        result = graph.table_rows(x, spec.architecture.output_matrix, rows) if rows else spec.architecture.head(graph, x)
        results.append(run(NativeRuntime(*graph.finish(result)), arrays(expected["texts"])))
        checkpoint.close()
    *fused, portable = results
    for logits in fused:
        np.testing.assert_array_equal(logits, fused[0])
        np.testing.assert_allclose(portable, logits, atol=1e-4 if precision == "float32" else 1, rtol=0)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_logits_do_not_depend_on_other_texts(expected, precision):
    runtime = load_network(expected["name"], precision, expected)
    ids = arrays(expected["texts"])
    alone = np.concatenate([run(runtime, [text]) for text in ids])
    np.testing.assert_array_equal(run(runtime, ids), alone)
    np.testing.assert_array_equal(run(runtime, ids[::-1])[::-1], alone)


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("prefix_tokens", [1, 16, 24, 63, 64, 65, PREFIX_TOKENS])
def test_shared_prefix_and_threads_change_no_bit(decoder_expected, precision, prefix_tokens):
    runtime = load_network(decoder_expected["name"], precision, decoder_expected)
    ids = arrays(decoder_expected["texts"][-PREFIX_TEXTS:])
    alone = np.concatenate([run(runtime, [text]) for text in ids])
    for thread_count in (1, 3):
        prefix = _native.Prefix(runtime.network, ids[0][:prefix_tokens].copy())
        work_together(prefix, thread_count)
        rests = [text[prefix_tokens:] for text in ids]
        np.testing.assert_array_equal(run_after_prefix(runtime, prefix, rests, thread_count), alone)
        np.testing.assert_array_equal(run_after_prefix(runtime, prefix, rests[-1:], thread_count), alone[-1:])


def test_int8_keeps_the_order(expected):
    """Kendall's tau of the scores of random documents in float32 and int8. These small models lose more than large ones."""
    draw = np.random.default_rng(1)
    prefix = draw.integers(1, 200, 40)
    documents = arrays([[*prefix, *draw.integers(1, 200, draw.integers(20, 120))] for _ in range(200)])
    scores = []
    for precision in ("float32", "int8"):
        logits = run(load_network(expected["name"], precision, expected), documents)
        scores.append(logits[:, 0] - logits[:, 1] if logits.shape[1] == 2 else logits[:, 0])
    assert stats.kendalltau(*scores).statistic >= 0.95


def test_encoder_cannot_share_a_prefix():
    """In an encoder, the tokens at the beginning depend on all others."""
    runtime = load_network("llama-bidirectional", "float32", {})
    assert runtime.network.prefix_columns == 0
    with pytest.raises(ValueError, match="causal"):
        _native.Prefix(runtime.network, np.ones(3, np.int32))


def test_incomplete_prefix_is_refused():
    runtime = load_network("qwen3", "float32", {"output_rows": [1]})
    prefix = _native.Prefix(runtime.network, np.ones(3, np.int32))
    with pytest.raises(ValueError, match="not complete"):
        run_after_prefix(runtime, prefix, arrays([[1, 2]]))
    other = load_network("qwen2", "float32", {"output_rows": [1]})
    prefix.work()
    with pytest.raises(ValueError, match="another network"):
        run_after_prefix(other, prefix, arrays([[1, 2]]))


def test_text_and_prefix_longer_than_the_positions_are_refused():
    runtime = load_network("qwen3", "float32", {"output_rows": [1]})
    prefix = _native.Prefix(runtime.network, np.ones(200, np.int32))
    prefix.work()
    with pytest.raises(IndexError, match="a text has 257 tokens: the model has 256 positions"):
        run_after_prefix(runtime, prefix, arrays([[1] * 57]))
    assert run_after_prefix(runtime, prefix, arrays([[1] * 56])).shape == (1, 1)


def test_cancelled_run_has_no_result():
    runtime = load_network("qwen3", "float32", {"output_rows": [1]})
    prefix = _native.Prefix(runtime.network, np.ones(3, np.int32))
    prefix.cancel()
    assert not prefix.work()


def test_helping_thread_leaves_when_it_is_told_to():
    runtime = load_network("qwen3", "float32", {"output_rows": [1]})
    prefix = _native.Prefix(runtime.network, np.ones(3, np.int32))
    flag = _native.Flag()
    flag.set()
    assert not prefix.work(flag)
    assert prefix.work()
