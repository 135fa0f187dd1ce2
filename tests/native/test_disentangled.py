"""DeBERTa's attention over relative positions, and its convolution, compared with numpy in float64."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from podium import _native
from podium.local.families import FAMILIES
from podium.local.families.family import family_of
from podium.local.runtimes.native.packed import pack_floats

INSTRUCTION_SETS = _native.instruction_sets()
POSITIONS = 400
BUCKETS = 32


def random(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def distance_rows(bucket_count):
    """Return the embedding's index of each distance, as DeBERTa-v3 has it, or as v2 without buckets."""
    settings = {
        "num_hidden_layers": 1, "num_attention_heads": 1, "hidden_size": 4, "relative_attention": True,
        "max_position_embeddings": POSITIONS, "position_buckets": bucket_count,
    }  # fmt: skip
    return family_of("deberta-v2", FAMILIES).architecture.from_json(settings)._distance_rows()


def network_of(words, heads, size, terms, rows, instruction_set=None):
    """Return a network whose words are rows of query, key and value, and whose result is a row of attention per token.

    `terms` are the embeddings of relative positions, (heads, embeddings, size), which are multiplied by queries and by keys.
    """
    falling, rising = terms
    count = max(len(term[0]) for term in terms if term is not None)
    network = _native.Network(instruction_set)
    x = network.embed(words=(words, None), segments=None, by_segment=False, places=None, positions="counted", padding=0)
    arguments = {"query_column": 0, "key_column": heads * size, "value_column": 2 * heads * size, "heads": heads, "size": size}
    y = network.attend_disentangled(
        queries=x, keys=x, scale=(3 * size) ** -0.5, **arguments,
        falling=None if falling is None else packed(falling[:, ::-1], count - 1 - rows[::-1]),
        rising=None if rising is None else packed(rising, rows),
    )  # fmt: skip
    network.finish(result=y)
    return network


def packed(embeddings, columns):
    return np.ascontiguousarray(embeddings.transpose(0, 2, 1)), np.ascontiguousarray(columns, np.int32)


def run(network, lengths, width):
    """Return the result for texts of the first `lengths[i]` words, one array per text."""
    ids = np.concatenate([np.arange(length) for length in lengths]).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    result = np.full((len(ids), width), np.nan, np.float32)
    network.run(ids=ids, segments=np.zeros_like(ids), offsets=offsets, result=result)
    return np.split(result, offsets[1:-1])


def exact(words, heads, size, terms, rows):
    """Return the attention as the paper has it (He et al. 2020, arXiv 2006.03654, equation 4)."""
    falling, rising = (None if term is None else term.astype(np.float64) for term in terms)
    query, key, value = (
        part.reshape(len(words), heads, size).transpose(1, 0, 2) for part in np.split(words.astype(np.float64), 3, axis=1)
    )
    products = query @ key.transpose(0, 2, 1)
    positions = np.arange(len(words))
    embeddings = rows[np.subtract.outer(positions, positions) + POSITIONS - 1]  # of the distance of query i to key j
    for head in range(heads):
        if falling is not None:
            products[head] += np.einsum("ic,ijc->ij", query[head], falling[head][embeddings])
        if rising is not None:
            products[head] += np.einsum("jc,ijc->ij", key[head], rising[head][embeddings])
    products *= (3 * size) ** -0.5
    weights = np.exp(products - products.max(axis=2, keepdims=True))
    weights /= weights.sum(axis=2, keepdims=True)
    return (weights @ value).transpose(1, 0, 2).reshape(len(words), -1)


TERMS = {"both": (True, True), "queries": (True, False), "keys": (False, True)}


def case(tokens, heads, size, terms, bucket_count):
    rows = distance_rows(bucket_count)
    count = 2 * (bucket_count if bucket_count > 0 else POSITIONS)
    embeddings = random(heads, count, size), random(heads, count + 1, size)[:, :count]
    used = tuple(term if is_used else None for term, is_used in zip(embeddings, TERMS[terms], strict=True))
    return random(tokens, 3 * heads * size), used, rows


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
@pytest.mark.parametrize("tokens", [1, 2, 9, 24, 25, 64, 65, 130, 301, 400])
@pytest.mark.parametrize(("heads", "size"), [(2, 32), (1, 64), (3, 5), (1, 72)])
@pytest.mark.parametrize(("terms", "bucket_count"), [("both", BUCKETS), ("both", -1), ("queries", BUCKETS), ("keys", BUCKETS)])
def test_attention_is_close(instruction_set, tokens, heads, size, terms, bucket_count):
    words, embeddings, rows = case(tokens, heads, size, terms, bucket_count)
    network = network_of(words, heads, size, embeddings, rows, instruction_set)
    (result,) = run(network, [tokens], heads * size)
    np.testing.assert_allclose(result, exact(words, heads, size, embeddings, rows), atol=2e-5)


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
def test_result_does_not_depend_on_other_texts(instruction_set):
    words, embeddings, rows = case(150, 2, 32, "both", BUCKETS)
    network = network_of(words, 2, 32, embeddings, rows, instruction_set)
    lengths = [3, 150, 24, 1, 70, 149]
    for length, together in zip(lengths, run(network, lengths, 64), strict=True):
        (alone,) = run(network, [length], 64)
        np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("tokens", [1, 25, 64, 150])
@pytest.mark.parametrize("size", [5, 32, 64])
def test_instruction_sets_that_fuse_agree(tokens, size):
    words, embeddings, rows = case(tokens, 2, size, "both", BUCKETS)
    results = [
        run(network_of(words, 2, size, embeddings, rows, instruction_set), [tokens], 2 * size)[0].tobytes()
        for instruction_set in INSTRUCTION_SETS[:-1]  # the last one, "portable", does not fuse products and sums
    ]
    assert len(set(results)) <= 1


def test_threads_that_compute_a_run_together_do_not_change_the_result():
    """Five threads have parts of the queries of two heads."""
    words, embeddings, rows = case(150, 2, 32, "both", BUCKETS)
    network = network_of(words, 2, 32, embeddings, rows)
    ids = np.concatenate([np.arange(150), np.arange(40)]).astype(np.int32)
    offsets = np.array([0, 150, 190])
    expected = np.concatenate(run(network, [150, 40], 64))
    for _ in range(20):
        result = np.empty((190, 64), np.float32)
        execution = _native.TextsExecution(network, ids, np.zeros_like(ids), offsets, result)
        threads = [threading.Thread(target=execution.work) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
def test_number_that_is_not_finite_reaches_the_result(instruction_set):
    words, embeddings, rows = case(30, 1, 32, "both", BUCKETS)
    for term in embeddings:
        damaged = [other.copy() for other in embeddings]
        position = next(index for index, other in enumerate(embeddings) if other is term)
        damaged[position][0, BUCKETS] = np.nan  # the distance 0
        (result,) = run(network_of(words, 1, 32, damaged, rows, instruction_set), [30], 32)
        assert np.isnan(result).all()


def test_text_with_more_tokens_than_positions_is_refused():
    words, embeddings, rows = case(POSITIONS + 1, 1, 8, "both", BUCKETS)
    network = network_of(words, 1, 8, embeddings, rows)
    with pytest.raises(IndexError, match="401 tokens: the model has 400 positions"):
        run(network, [POSITIONS + 1], 8)


WRONG_TERMS = {
    "none": (None, None),
    "heads": (packed(random(3, 8, 4), np.zeros(5)), None),
    "size": (packed(random(2, 8, 5), np.zeros(5)), None),
    "even-columns": (packed(random(2, 8, 4), np.zeros(4)), None),
    "no-columns": (None, packed(random(2, 8, 4), np.zeros(0))),
    "column-too-high": (None, packed(random(2, 8, 4), np.full(5, 8))),
    "negative-column": (packed(random(2, 8, 4), np.full(5, -1)), None),
    "different-columns": (packed(random(2, 8, 4), np.zeros(5)), packed(random(2, 8, 4), np.zeros(7))),
}


@pytest.mark.parametrize(("falling", "rising"), WRONG_TERMS.values(), ids=WRONG_TERMS)
def test_wrong_terms_are_refused(falling, rising):
    network = _native.Network()
    x = network.embed((random(4, 24), None), None, False, None, "counted", 0)
    with pytest.raises((ValueError, IndexError), match=r"\w"):
        network.attend_disentangled(x, 0, x, 8, 16, 2, 4, 1.0, falling, rising)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_neighbours_are_side_by_side_and_zero_outside_of_a_text(size):
    words = random(9, 4)
    network = _native.Network()
    x = network.embed((words, None), None, False, None, "counted", 0)
    network.finish(network.neighbours(x, size))
    for length, rows in zip([1, 4, 9], run(network, [1, 4, 9], 4 * size), strict=True):
        padded = np.pad(words[:length], ((size // 2, size // 2), (0, 0)))
        np.testing.assert_array_equal(rows, [padded[token : token + size].reshape(-1) for token in range(length)])


@pytest.mark.parametrize("size", [0, 2, 1 << 40])
def test_wrong_number_of_neighbours_is_refused(size):
    network = _native.Network()
    x = network.embed((random(4, 8), None), None, False, None, "counted", 0)
    with pytest.raises(ValueError, match="odd"):
        network.neighbours(x, size)
    with pytest.raises(ValueError, match="only tokens"):
        network.neighbours(network.mean(x), 3)


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_weights_of_a_convolution_are_spread(groups):
    """Grouped convolutions are products with weights that are 0 between the groups."""
    from podium.local.runtimes.native.graph import _convolution_weight

    words, weight = random(9, 8), random(8, 8 // groups, 3)
    network = _native.Network()
    x = network.neighbours(network.embed((words, None), None, False, None, "counted", 0), 3)
    network.finish(network.linear(x, pack_floats(_convolution_weight(weight, groups)), 8, None))
    (result,) = run(network, [9], 8)
    padded = np.pad(words, ((1, 1), (0, 0))).astype(np.float64)
    width = 8 // groups
    for output in range(8):
        inputs = slice(output // width * width, output // width * width + width)
        expected = [np.sum(padded[token : token + 3, inputs].T * weight[output]) for token in range(9)]
        np.testing.assert_allclose(result[:, output], expected, atol=1e-5)
