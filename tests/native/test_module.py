"""The native module refuses arguments that would make it read out of bounds, compute something else, or lose a result."""

from __future__ import annotations

import numpy as np
import pytest

from environment import HAS_CORE

if not HAS_CORE:
    pytest.skip("podium was installed without its native core: no C++ compiler", allow_module_level=True)

from podium import _native
from podium.local.runtimes.native.packed import PANEL, pack_floats, pack_int8

WIDTH = 12
OVERFLOW = 2**64  # one more than the largest std::size_t of C++
# Two texts, of 2 and 3 tokens.
IDS = np.arange(5, dtype=np.int32)
SEGMENTS = np.zeros(5, np.int32)
OFFSETS = np.array([0, 2, 5], np.int64)


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


@pytest.fixture
def network():
    return _native.Network()


@pytest.fixture
def tokens(network):
    """The slot of the token embeddings."""
    words = np.arange(10 * WIDTH, dtype=np.float32).reshape(10, WIDTH)
    return network.embed(words=(words, None), segments=None, by_segment=False, places=None, positions="counted", padding=0)


def attend(network, slot, **options):
    """Add a step in which the rows of a slot attend to each other. Return its slot, whose rows have 4 columns."""
    columns = {"query_column": 0, "key_column": 4, "value_column": 8}
    return network.attend(queries=slot, keys=slot, **columns, heads=1, size=4, scale=1.0, **options)


@pytest.fixture
def finished(network, tokens):
    """A network that can run: it returns the mean of a text's token embeddings."""
    network.finish(network.mean(tokens))
    return network


# Sizes that overflow


def test_number_of_outputs_that_overflows_is_refused(network, tokens):
    with pytest.raises(ValueError, match="packed weights must have shape"):
        network.linear(tokens, np.zeros((0, WIDTH, PANEL), np.float32), OVERFLOW - 1, None)


@pytest.mark.parametrize(
    ("query_column", "key_column", "value_column", "heads", "size"),
    [
        pytest.param(OVERFLOW - 4, 0, 0, 1, 4, id="query column"),
        pytest.param(0, OVERFLOW - 4, 0, 1, 4, id="key column"),
        pytest.param(0, 0, OVERFLOW - 4, 1, 4, id="value column"),
        pytest.param(0, 0, 0, OVERFLOW // 4 + 1, 4, id="heads times size"),
    ],
)
def test_attention_beyond_the_columns_is_refused_if_the_sum_overflows(
    network, tokens, query_column, key_column, value_column, heads, size
):
    with pytest.raises(ValueError, match="fewer columns than the heads"):
        network.attend(tokens, query_column, tokens, key_column, value_column, heads, size, 1.0)


@pytest.mark.parametrize("instruction_set", _native.instruction_sets())
@pytest.mark.parametrize("window", [6, 2**63, OVERFLOW - 1])
def test_window_larger_than_the_text_has_no_effect(instruction_set, window):
    qkv = np.random.default_rng(0).standard_normal((5, 3 * WIDTH)).astype(np.float32)
    options = {"heads": 2, "scale": 0.5, "instruction_set": instruction_set}
    unlimited, limited = np.empty((5, WIDTH), np.float32), np.empty((5, WIDTH), np.float32)
    _native.attend(qkv=qkv, y=unlimited, window=0, **options)
    _native.attend(qkv=qkv, y=limited, window=window, **options)
    assert (limited == unlimited).all()


@pytest.mark.parametrize("inputs", [65_000, 65_001])
def test_number_of_int8_inputs_is_limited(inputs):
    """The sum of 65,000 products is the largest that fits into an int32."""
    x, weight, y = np.full((1, inputs), 255, np.float32), ones(1, inputs), np.empty((1, 1), np.float32)
    x[0, 0] = 0
    if inputs > 65_000:
        with pytest.raises(ValueError, match="65,000 inputs"):
            _native.multiply_int8(x, *pack_int8(weight), y, "portable")
    else:
        _native.multiply_int8(x, *pack_int8(weight), y, "portable")
        np.testing.assert_allclose(y, 255 * (inputs - 1), rtol=1e-6)


# Arrays that the bindings would have to copy because of their type or layout


@pytest.mark.parametrize(
    "result",
    [
        pytest.param(np.zeros((2, WIDTH)), id="float64"),
        pytest.param(np.zeros((2, WIDTH), np.float32, order="F"), id="column-major"),
        pytest.param(np.zeros((2, 2 * WIDTH), np.float32)[:, ::2], id="strided"),
    ],
)
def test_result_is_not_written_to_a_copy(finished, result):
    with pytest.raises(TypeError, match="incompatible function arguments"):
        finished.run(IDS, SEGMENTS, OFFSETS, result)


def test_seconds_are_not_written_to_a_copy(finished):
    with pytest.raises(TypeError, match="incompatible function arguments"):
        finished.run(IDS, SEGMENTS, OFFSETS, ones(2, WIDTH), np.zeros(2, np.float32))


@pytest.mark.parametrize(
    "kernel",
    [
        pytest.param(lambda x, y: _native.multiply(x, pack_floats(x), y, None, "none", None, "portable"), id="multiply"),
        pytest.param(lambda x, y: _native.multiply_int8(x, *pack_int8(x), y, "portable"), id="multiply_int8"),
        pytest.param(lambda x, y: _native.attend(np.hstack([x] * 3), y, 1, 1.0, 0, "portable"), id="attend"),
        pytest.param(lambda x, y: _native.normalise(x, x[0], None, 1e-5, y, "portable"), id="normalise"),
        pytest.param(lambda x, y: _native.activate(x, "relu", y, "portable"), id="activate"),
        pytest.param(lambda x, y: _native.widen(x[0].astype(np.uint16), y[0], "portable"), id="widen"),
    ],
)
def test_kernels_do_not_write_to_a_copy(kernel):
    kernel(ones(PANEL, PANEL), ones(PANEL, PANEL))
    with pytest.raises(TypeError, match="incompatible function arguments"):
        kernel(ones(PANEL, PANEL), np.ones((PANEL, PANEL)))


def test_ids_do_not_wrap_to_other_ids(finished):
    with pytest.raises(TypeError, match="incompatible function arguments"):
        finished.run(IDS.astype(np.int64) + 2**32, SEGMENTS, OFFSETS, ones(2, WIDTH))


# Steps that contradict each other


def rotate(network, slot, position_count):
    """Add a step that rotates the first head of 4 columns. Return its slot."""
    tables = {"cos": ones(position_count, 2), "sin": ones(position_count, 2)}
    return network.transform_heads(slot, column=0, heads=1, size=4, **tables)


@pytest.mark.parametrize("missing", ["cos", "sin"])
def test_half_of_the_rotary_positions_is_refused(network, tokens, missing):
    tables = {"cos": ones(9, 2), "sin": ones(9, 2)} | {missing: None}
    with pytest.raises(ValueError, match="both cos and sin"):
        network.transform_heads(tokens, column=0, heads=1, size=4, **tables)


def test_rows_that_rotary_positions_changed_cannot_be_read_again(network, tokens):
    rotate(network, tokens, 9)
    with pytest.raises(ValueError, match="overwritten by the norm or the rotary positions"):
        network.mean(tokens)


def test_text_longer_than_the_rotary_positions_is_refused(network, tokens):
    network.finish(network.mean(attend(network, rotate(network, tokens, 2))))
    with pytest.raises(IndexError, match="a text has 3 tokens: the model has 2 positions"):
        network.run(IDS, SEGMENTS, OFFSETS, ones(2, 4))


def test_network_cannot_be_finished_twice(network, tokens):
    """`finish` assigns buffers. A second time, it would take them from a run on another thread."""
    mean = network.mean(tokens)
    network.finish(mean)
    with pytest.raises(ValueError, match="the network is finished"):
        network.finish(mean)
