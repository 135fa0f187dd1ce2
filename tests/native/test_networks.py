"""Networks of the native core: equal results on all instruction sets and threads, and networks that the core refuses."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import podium
from checkpoints import replace_weights
from environment import PARITY_MODELS
from podium import _native
from podium.errors import ModelError
from podium.local.build import add_scorer, load
from podium.local.files.checkpoint import Checkpoint
from podium.local.runtimes import Variant
from podium.local.runtimes.native.graph import NativeGraph
from podium.local.runtimes.native.packed import Packed, pack_floats, pack_int8
from podium.local.runtimes.native.runtime import NativeRuntime
from podium.local.spec import read_spec
from podium.local.tokenizer import PairTokenizer

INSTRUCTION_SETS = _native.instruction_sets()
TEXTS = ["red", "a list of words " * 9, "query " * 40, "rank", "x " * 500]


def random(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def native_scores(folder, precision, instruction_set):
    """Return the logits of a model. Checks that a pair has the same logit alone as together with the others."""
    spec = read_spec(folder)
    checkpoint = Checkpoint(spec.weights, spec.family.prefix)
    graph = NativeGraph(checkpoint, Packed("tests", precision), precision, instruction_set=instruction_set)
    runtime = NativeRuntime(*graph.finish(add_scorer(graph, spec, spec.family, spec.architecture)))
    checkpoint.close()
    tokenizer = PairTokenizer(folder, spec.max_length, has_segments=spec.has_segments)
    pairs = tokenizer.encode([("rank the query list", text) for text in TEXTS])
    ids, segments = [pair.ids for pair in pairs], [tokenizer.segment_ids(pair) for pair in pairs]
    together = runtime.run(ids, segments)[:, 0]
    alone = [runtime.run([ids[index]], [segments[index]])[0, 0] for index in range(len(pairs))]
    assert together.tolist() == alone, "a score depends on the other pairs"
    return together


@pytest.mark.parametrize("name", ["bert", "electra", "roberta", "modernbert", "deberta-v2", "deberta-v3"])
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("int8", 0.05)], ids=["float32", "int8"])
def test_instruction_sets_agree(name, precision, tolerance):
    """All sets but "portable", which does not fuse products and sums, give the same scores to the last bit."""
    *fused, portable = (native_scores(PARITY_MODELS / name, precision, kernels) for kernels in INSTRUCTION_SETS)
    for scores in fused:
        assert scores.tolist() == fused[0].tolist()
        np.testing.assert_allclose(portable, scores, atol=tolerance, rtol=0)


def test_threads_get_equal_results():
    runtime = load(read_spec(PARITY_MODELS / "modernbert"), Variant("native", "int8"))
    draw = np.random.default_rng(0)
    batches = [[draw.integers(5, 60, size, np.int32) for size in draw.integers(1, 90, 7)] for _ in range(8)]
    segments = [[np.zeros(len(ids), np.int32) for ids in batch] for batch in batches]
    expected = [runtime.run(*batch) for batch in zip(batches, segments, strict=True)]
    different = []

    def run(first):
        for index in range(first, first + 24):
            if not (runtime.run(batches[index % 8], segments[index % 8]) == expected[index % 8]).all():
                different.append(index)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not different


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["attention.self.query.weight", "word_embeddings.weight", "LayerNorm.bias"])
def test_weights_that_are_not_finite_are_refused(model, name, value):
    def with_value(weight):
        weight = weight.copy()
        weight.flat[0] = value
        return weight

    replace_weights(model, {name: with_value})
    with pytest.raises(ModelError, match="NaN or infinity"):
        podium.load(model, runtime="native")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("attention.output.dense.weight", lambda weight: np.ascontiguousarray(weight[:, :-1])),
        ("intermediate.dense.weight", lambda weight: weight[:-1]),
        ("output.LayerNorm.weight", lambda weight: weight[:-3]),
        ("word_embeddings.weight", lambda weight: np.ascontiguousarray(weight[:, :-2])),
        ("word_embeddings.weight", lambda weight: weight[:2]),
        ("token_type_embeddings.weight", lambda weight: weight[:1]),
        ("classifier.weight", lambda weight: np.ascontiguousarray(weight[:, :5])),
    ],
    ids=["inputs", "outputs", "norm", "words-width", "words", "segments", "head"],
)
def test_weights_of_other_sizes_are_refused(model, name, change):
    replace_weights(model, {name: change})
    with pytest.raises(ModelError):
        podium.load(model, runtime="native")


# Two texts, of 2 and 4 tokens.
IDS = np.arange(6, dtype=np.int32)
SEGMENTS = np.zeros(6, np.int32)
OFFSETS = np.array([0, 2, 6])


@pytest.fixture
def network_and_words():
    """A network, and the number of its first step, which has width 8."""
    network = _native.Network()
    words = network.embed(
        words=(random(10, 8), None), segments=None, by_segment=False, places=None, positions="counted", padding=0
    )
    return network, words


WRONG_STEPS = {
    "norm-width": lambda network, x: network.norm(x=x, weight=random(7), bias=None, epsilon=1e-5),
    "norm-unknown-step": lambda network, x: network.norm(x=99, weight=random(8), bias=None, epsilon=1e-5),
    "norm-negative-step": lambda network, x: network.norm(x=-1, weight=random(8), bias=None, epsilon=1e-5),
    "linear-inputs": lambda network, x: network.linear(x=x, packed=pack_floats(random(4, 9)), outputs=4, bias=None),
    "linear-outputs": lambda network, x: network.linear(x=x, packed=pack_floats(random(4, 8)), outputs=65, bias=None),
    "linear-bias": lambda network, x: network.linear(x=x, packed=pack_floats(random(4, 8)), outputs=4, bias=random(5)),
    "linear-activation": lambda network, x: network.linear(
        x=x, packed=pack_floats(random(4, 8)), outputs=4, bias=None, activation="square"
    ),
    "linear-added": lambda network, x: network.linear(x=x, packed=pack_floats(random(4, 8)), outputs=4, bias=None, added=x),
    "attend-width": lambda network, x: network.attend(
        queries=x, query_column=0, keys=x, key_column=0, value_column=0, heads=3, size=3, scale=1.0
    ),
    "attend-causal-int8": lambda network, x: network.attend(
        queries=x, query_column=0, keys=x, key_column=0, value_column=0, heads=2, size=4, scale=1.0, causal=True, int8=True
    ),
    "join-nothing": lambda network, x: network.join(inputs=[]),
    "join-rows-and-mean": lambda network, x: network.join(inputs=[x, network.mean(x=x)]),
    "finish-unknown-step": lambda network, x: network.finish(result=99),
    "instruction-set": lambda network, x: _native.Network("sse9"),
}


@pytest.mark.parametrize("add_step", WRONG_STEPS.values(), ids=WRONG_STEPS)
def test_wrong_step_is_refused(network_and_words, add_step):
    with pytest.raises(ValueError, match=r"\w"):
        add_step(*network_and_words)


@pytest.fixture
def finished(network_and_words):
    """A network with two outputs per text."""
    network, words = network_and_words
    mean = network.mean(x=words)
    network.finish(result=network.linear(x=mean, packed=pack_floats(random(2, 8)), outputs=2, bias=None))
    return network


def test_result_can_have_a_row_per_token(network_and_words):
    network, words = network_and_words
    doubled = network.join(inputs=[words, network.add(x=words, y=words)])
    network.finish(result=doubled)
    assert not network.per_text(x=doubled)
    result = np.zeros((6, 16), np.float32)
    network.run(ids=IDS, segments=SEGMENTS, offsets=OFFSETS, result=result)
    assert (result[:, :8] == random(10, 8)[:6]).all()  # the vectors of the words
    assert (result[:, 8:] == 2 * result[:, :8]).all()
    with pytest.raises(ValueError, match="one row per text or per token"):
        network.run(ids=IDS, segments=SEGMENTS, offsets=OFFSETS, result=np.zeros((2, 16), np.float32))


def test_finished_network_runs(finished):
    result = np.zeros((2, 2), np.float32)
    finished.run(ids=IDS, segments=SEGMENTS, offsets=OFFSETS, result=result)
    assert result.any()


@pytest.mark.parametrize(
    ("offsets", "segment_count", "result_count"),
    [([0, 2, 7], 6, 2), ([0, 6, 6], 6, 2), ([0, 7, 6], 6, 2), ([1, 2, 6], 6, 2), ([0, 2, 6], 3, 2), ([0, 2, 6], 6, 1)],
    ids=["beyond-the-end", "empty-text", "decreasing", "not-from-zero", "few-segments", "few-results"],
)
def test_wrong_texts_are_refused(finished, offsets, segment_count, result_count):
    result = np.zeros((result_count, 2), np.float32)
    with pytest.raises(ValueError, match=r"\w"):
        finished.run(ids=IDS, segments=SEGMENTS[:segment_count], offsets=np.array(offsets), result=result)


@pytest.mark.parametrize("token", [10, -1, 2**31 - 1])
def test_unknown_token_is_refused(finished, token):
    result = np.zeros((2, 2), np.float32)
    with pytest.raises(IndexError, match="token id"):
        finished.run(ids=np.full(6, token, np.int32), segments=SEGMENTS, offsets=OFFSETS, result=result)


def exact_attention(x, visible_count, window, heads):
    """Return the attention of rows with query, key and value side by side. They attend only to the first `visible_count`."""
    queries, keys, values = (
        part.reshape(len(x), heads, -1).transpose(1, 0, 2) for part in np.split(x.astype(np.float64), 3, 1)
    )
    products = queries @ keys.transpose(0, 2, 1)
    distances = np.abs(np.subtract.outer(np.arange(len(x)), np.arange(len(x))))
    can_attend = (np.arange(len(x)) < visible_count) & (distances <= (window or len(x)))
    powers = np.where(can_attend, np.exp(products - products.max(-1, keepdims=True)), 0)
    weights = powers / np.maximum(powers.sum(-1, keepdims=True), 1e-300)
    return (weights @ values).transpose(1, 0, 2).reshape(len(x), -1)


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
@pytest.mark.parametrize("window", [0, 8, 70])
@pytest.mark.parametrize(("visible_count", "hidden_count"), [(5, 0), (5, 3), (70, 40), (3, 200), (90, 70), (1, 1)])
def test_no_token_attends_to_hidden_ones(instruction_set, window, visible_count, hidden_count):
    """ColBERT expands queries with hidden tokens. If a token has only hidden tokens in its window, it attends to none."""
    token_count = visible_count + hidden_count
    heads = 2
    words = random(token_count, 24)
    network = _native.Network(instruction_set)
    x = network.embed(words=(words, None), segments=None, by_segment=False, places=None, positions="counted", padding=0)
    y = network.attend(
        queries=x, query_column=0, keys=x, key_column=8, value_column=16, heads=heads, size=4, scale=1.0, window=window,
        hides_segment_1=True,
    )  # fmt: skip
    network.finish(result=y)
    ids = np.concatenate([np.arange(token_count), [0]]).astype(np.int32)  # the second text has one token
    segments = np.concatenate([np.arange(token_count) >= visible_count, [0]]).astype(np.int32)
    result = np.empty((token_count + 1, 8), np.float32)
    network.run(ids=ids, segments=segments, offsets=np.array([0, token_count, token_count + 1]), result=result)
    expected = exact_attention(words, visible_count, window, heads)
    np.testing.assert_allclose(result[:-1], expected, atol=1e-5, rtol=1e-4)
    np.testing.assert_allclose(result[-1], words[0, 16:], atol=1e-6)


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(1, 5, 3), (7, 64, 64), (30, 391, 100)], ids=str)
def test_wide_inputs_lose_less_than_8_bits(instruction_set, rows, inputs, outputs):
    """One number of a row is much larger than the others, which would have only a few of the 255 steps of 8 bits."""
    x, weight, residual = random(rows, inputs), random(outputs, inputs), random(rows, outputs)
    x[:, 0] *= 200
    packed, scales, sums = pack_int8(weight)
    rounded = np.rint(weight / scales[:outputs, None]) * scales[:outputs, None].astype(np.float64)
    exact = x @ rounded.T + residual
    half_steps = np.abs(x).max(axis=1, keepdims=True) / 32767 / 2
    tolerance = half_steps * np.abs(rounded).sum(axis=1) + 1e-6 * np.abs(x) @ np.abs(rounded).T
    errors = []
    for is_wide in (True, False):
        network = _native.Network(instruction_set)
        words = network.embed((x, None), None, False, None, "counted", 0)
        added = network.embed((residual, None), None, False, None, "counted", 0)
        network.finish(network.linear_int8(words, packed, scales, sums, outputs, None, added=added, wide_inputs=is_wide))
        result = np.empty((rows, outputs), np.float32)
        ids = np.arange(rows, dtype=np.int32)
        network.run(ids, np.zeros_like(ids), np.array([0, rows]), result)
        errors.append(np.abs(result - exact))
    assert (errors[0] <= tolerance).all()
    assert errors[0].max() < errors[1].max() / 20


def test_wide_inputs_have_no_activation():
    network = _native.Network()
    x = network.embed((random(4, 8), None), None, False, None, "counted", 0)
    with pytest.raises(ValueError, match="no activation"):
        network.linear_int8(x, *pack_int8(random(8, 8)), 8, None, activation="relu", wide_inputs=True)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_number_that_is_not_finite_makes_wide_rows_nan(value):
    x = random(4, 8)
    x[1, 3] = value
    network = _native.Network()
    words = network.embed((x, None), None, False, None, "counted", 0)
    network.finish(network.linear_int8(words, *pack_int8(random(8, 8)), 8, None, wide_inputs=True))
    result = np.empty((4, 8), np.float32)
    network.run(np.arange(4, dtype=np.int32), np.zeros(4, np.int32), np.array([0, 4]), result)
    assert np.isnan(result[1]).all()
    assert np.isfinite(result[[0, 2, 3]]).all()
