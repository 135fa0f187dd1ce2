"""The kernels of the native core, compared with numpy in float64 on every instruction set of this machine."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest

from podium import _native
from podium.local.runtimes.native.packed import pack_floats, pack_int8

INSTRUCTION_SETS = _native.instruction_sets()
# Each shape is (rows, inputs, outputs). Some numbers are near the sizes of the tiles and panels of the kernels, others are not.
SHAPES = [
    (1, 1, 1),
    (1, 384, 384),
    (5, 7, 3),
    (6, 64, 64),
    (7, 65, 63),
    (13, 127, 129),
    (23, 383, 385),
    (511, 40, 66),
    (2, 1537, 100),
]


@pytest.fixture(params=INSTRUCTION_SETS)
def instruction_set(request):
    return request.param


def random(*shape, scale=1.0):
    return (np.random.default_rng(sum(shape)).standard_normal(shape) * scale).astype(np.float32)


def multiply(x, weight, instruction_set, bias=None, activation="none", added=None):
    """Return activation(x · weightᵀ + bias) + added."""
    y = np.full((len(x), len(weight)), np.nan, np.float32)
    _native.multiply(
        x=x, packed=pack_floats(weight), y=y, bias=bias, activation=activation, added=added, instruction_set=instruction_set
    )
    return y


def multiply_int8(x, weight, instruction_set):
    y = np.full((len(x), len(weight)), np.nan, np.float32)
    packed, scales, sums = pack_int8(weight)
    _native.multiply_int8(x=x, packed=packed, scales=scales, sums=sums, y=y, instruction_set=instruction_set)
    return y


def exact_product(x, weight):
    return x.astype(np.float64) @ weight.astype(np.float64).T


def test_portable_kernels_are_always_available():
    assert INSTRUCTION_SETS[-1] == "portable"


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_product_is_close(instruction_set, shape):
    rows, inputs, outputs = shape
    x, weight = random(rows, inputs), random(outputs, inputs)
    bias, added = random(outputs), random(rows, outputs)
    exact = exact_product(x, weight)
    tolerance = 1e-6 * exact_product(np.abs(x), np.abs(weight)).max() + 1e-6
    np.testing.assert_allclose(multiply(x, weight, instruction_set), exact, atol=tolerance, rtol=0)
    y = multiply(x, weight, instruction_set, bias=bias, activation="relu", added=added)
    np.testing.assert_allclose(y, np.maximum(exact + bias, 0) + added, atol=tolerance, rtol=0)


@pytest.mark.parametrize("scale", [1e-18, 1e12], ids=["tiny", "huge"])
def test_product_of_tiny_and_huge_numbers_is_close(instruction_set, scale):
    x, weight = random(9, 100, scale=scale), random(70, 100)
    exact = exact_product(x, weight)
    tolerance = 1e-6 * exact_product(np.abs(x), np.abs(weight)).max()
    np.testing.assert_allclose(multiply(x, weight, instruction_set), exact, atol=tolerance, rtol=0)
    assert np.abs(multiply_int8(x, weight, instruction_set) - exact).max() < 0.03 * np.abs(exact).max()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_int8_product_of_integers_is_exact(instruction_set, shape):
    """The integers include the largest, which an instruction that saturates would get wrong."""
    rows, inputs, outputs = shape
    draw = np.random.default_rng(inputs)
    weight = draw.choice([-127, 127], (outputs, inputs)).astype(np.float32)
    x = draw.choice([0, 255], (rows, inputs)).astype(np.float32)
    x[:, 0] = 255  # the largest number of each row, so that a quantisation step is 1
    x[0] = 255
    if rows > 1:
        x[1] = draw.integers(0, 256, inputs)
        x[1, 0] = 255
    exact = (x.astype(np.int64) @ weight.astype(np.int64).T).astype(np.float32)
    np.testing.assert_allclose(multiply_int8(x, weight, instruction_set), exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_int8_product_is_close(instruction_set, shape):
    """Rounding to int8 changes each number by at most half a quantisation step."""
    rows, inputs, outputs = shape
    x, weight = random(rows, inputs), random(outputs, inputs)
    steps = (np.maximum(x.max(axis=1), 0) - np.minimum(x.min(axis=1), 0)) / 255
    weight_steps = np.abs(weight).max(axis=1) / 127
    tolerance = steps[:, None] * np.abs(weight).sum(axis=1) / 2 + np.abs(x).sum(axis=1)[:, None] * weight_steps / 2
    tolerance += inputs * steps[:, None] * weight_steps / 4 + 1e-5
    assert (np.abs(multiply_int8(x, weight, instruction_set) - exact_product(x, weight)) <= tolerance * 1.01).all()


@pytest.mark.parametrize("value", [0.0, 3.5, -3.5])
def test_int8_product_of_constant_rows_is_close(instruction_set, value):
    x, weight = np.full((4, 48), value, np.float32), random(10, 48)
    exact = exact_product(x, weight)
    np.testing.assert_allclose(multiply_int8(x, weight, instruction_set), exact, atol=0.03 * max(np.abs(exact).max(), 1e-9))


@pytest.mark.parametrize("product", [multiply, multiply_int8], ids=["float32", "int8"])
def test_row_does_not_depend_on_the_number_of_rows(instruction_set, product):
    x, weight = random(31, 130), random(150, 130)
    together = product(x, weight, instruction_set)
    for count in (1, 2, 5, 6, 7, 13):
        assert (product(x[:count], weight, instruction_set) == together[:count]).all()
        assert (product(np.ascontiguousarray(x[-count:]), weight, instruction_set) == together[-count:]).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("product", [multiply, multiply_int8], ids=["float32", "int8"])
def test_product_of_a_number_that_is_not_finite_is_not_finite(instruction_set, product, value):
    x, weight = random(8, 70), np.abs(random(5, 70)) + 1
    x[3, 11] = value
    y = product(x, weight, instruction_set)
    assert not np.isfinite(y[3]).any()
    assert np.isfinite(np.delete(y, 3, axis=0)).all()


EXACT_ACTIVATIONS = {
    "gelu": lambda x: x * 0.5 * (1 + np.vectorize(math.erf)(x / np.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-np.clip(x, -700, 700))),
    "silu": lambda x: x / (1 + np.exp(-np.clip(x, -700, 700))),
}


@pytest.mark.parametrize("name", EXACT_ACTIVATIONS)
def test_activation_is_close(instruction_set, name):
    x = np.concatenate([np.linspace(-12, 12, 10_001), [0, -0.0, 1e-30, -1e-30, 88, -88, 500, -500]])[None].astype(np.float32)
    y = np.empty_like(x)
    _native.activate(x=x, activation=name, y=y, instruction_set=instruction_set)
    np.testing.assert_allclose(y, EXACT_ACTIVATIONS[name](x.astype(np.float64)), atol=1e-6, rtol=5e-7)
    _native.activate(x=np.full_like(x, np.nan), activation=name, y=y, instruction_set=instruction_set)
    assert np.isnan(y).all() or name == "relu"


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (2, 16), (7, 384), (4, 1023)], ids=str)
@pytest.mark.parametrize("mean", [0.0, 100.0])
def test_norm_is_close(instruction_set, shape, mean):
    x, weight, bias = random(*shape) + np.float32(mean), random(shape[1]), random(shape[1])
    y = np.empty_like(x)
    _native.normalise(x=x, weight=weight, bias=bias, epsilon=1e-5, y=y, instruction_set=instruction_set)
    wide = x.astype(np.float64)
    exact = (wide - wide.mean(axis=1, keepdims=True)) / np.sqrt(wide.var(axis=1, keepdims=True) + 1e-5) * weight + bias
    np.testing.assert_allclose(y, exact, atol=2e-5 * (1 + mean))


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (7, 384)], ids=str)
def test_norm_of_constant_rows_is_zero(instruction_set, shape):
    x = np.full(shape, 3.0, np.float32)
    y = np.empty_like(x)
    _native.normalise(x=x, weight=random(shape[1]), bias=None, epsilon=1e-5, y=y, instruction_set=instruction_set)
    np.testing.assert_allclose(y, 0, atol=1e-4)


def exact_attention(qkv, heads, size, window):
    """Return the attention of rows with query, key and value side by side. If `window` is 0, tokens attend to all others."""
    tokens = len(qkv)
    query, key, value = (
        part.reshape(tokens, heads, size).transpose(1, 0, 2) for part in np.split(qkv.astype(np.float64), 3, axis=1)
    )
    products = query @ key.transpose(0, 2, 1) * size**-0.5
    positions = np.arange(tokens)
    if window:
        products[:, np.abs(positions[:, None] - positions) > window] = -np.inf
    weights = np.exp(products - products.max(axis=2, keepdims=True))
    weights /= weights.sum(axis=2, keepdims=True)
    return (weights @ value).transpose(1, 0, 2).reshape(tokens, heads * size)


@pytest.mark.parametrize("tokens", [1, 2, 23, 24, 25, 63, 64, 65, 130, 511])
@pytest.mark.parametrize(("heads", "size"), [(2, 32), (1, 64), (3, 5), (1, 72)])
@pytest.mark.parametrize("window", [0, 1, 64])
def test_attention_is_close(instruction_set, tokens, heads, size, window):
    """If the result has only one row, only the first token's attention is computed."""
    width = heads * size
    qkv = random(tokens, 3 * width)
    options = {"heads": heads, "scale": size**-0.5, "window": window, "instruction_set": instruction_set}
    y = np.full((tokens, width), np.nan, np.float32)
    _native.attend(qkv=qkv, y=y, **options)
    np.testing.assert_allclose(y, exact_attention(qkv, heads, size, window), atol=1e-5)
    first_row = np.empty((1, width), np.float32)
    _native.attend(qkv=qkv, y=first_row, **options)
    assert (first_row == y[:1]).all()


def attend_int8(qkv, instruction_set, *, heads=1, window=0, rows=None):
    """Return the attention of the first rows, by default all, with int8 products."""
    width = qkv.shape[1] // 3
    y = np.full((rows or len(qkv), width), np.nan, np.float32)
    scale = (width // heads) ** -0.5
    _native.attend(qkv=qkv, y=y, heads=heads, scale=scale, window=window, instruction_set=instruction_set, int8=True)
    return y


@pytest.mark.parametrize("tokens", [1, 2, 11, 12, 13, 63, 64, 65, 130, 511])
@pytest.mark.parametrize(("heads", "size"), [(2, 32), (1, 64), (3, 5), (1, 72)])
@pytest.mark.parametrize("window", [0, 1, 64])
def test_int8_attention_is_close(instruction_set, tokens, heads, size, window):
    qkv = random(tokens, 3 * heads * size)
    y = attend_int8(qkv, instruction_set, heads=heads, window=window)
    exact = exact_attention(qkv, heads, size, window)
    assert np.abs(y - exact).max() < 0.03 * np.abs(qkv).max()
    assert np.sqrt(np.square(y - exact).mean()) < 0.04 * np.sqrt(np.square(exact).mean())


def test_int8_attention_of_keys_far_from_zero_is_close(instruction_set):
    """A vector that is added to all keys does not change the weights, so it must not take steps of the quantisation."""
    qkv = random(100, 3 * 32)
    qkv[:, 32:64] += 50 * random(32)
    np.testing.assert_allclose(attend_int8(qkv, instruction_set), exact_attention(qkv, 1, 32, 0), atol=0.1)


@pytest.mark.parametrize("scale", [0.0, 1e-25, 1e-15, 1e12], ids=str)
def test_int8_attention_of_tiny_and_huge_values_is_close(instruction_set, scale):
    qkv = random(50, 3 * 32)
    qkv[:, 64:] *= np.float32(scale)
    tolerance = 0.1 * scale if scale > 1e-20 else 1e-20
    np.testing.assert_allclose(attend_int8(qkv, instruction_set), exact_attention(qkv, 1, 32, 0), atol=tolerance, rtol=0)


def test_row_of_int8_attention_does_not_depend_on_the_number_of_rows(instruction_set):
    qkv = random(130, 3 * 64)
    together = attend_int8(qkv, instruction_set, window=20)
    for rows in (1, 5, 11, 12, 13, 29):
        np.testing.assert_array_equal(attend_int8(qkv, instruction_set, window=20, rows=rows), together[:rows])


@pytest.mark.parametrize("tokens", [1, 15, 17, 64, 130])
@pytest.mark.parametrize(("heads", "size"), [(1, 5), (1, 16), (2, 32), (1, 72)])
def test_int8_attention_is_the_same_on_every_instruction_set_that_fuses_products_and_sums(tokens, heads, size):
    qkv = random(tokens, 3 * heads * size)
    results = [attend_int8(qkv, instruction_set, heads=heads).tobytes() for instruction_set in INSTRUCTION_SETS[:-1]]
    assert len(set(results)) <= 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("column", "changed_rows", "changed_columns"), [
    (3, [7], slice(None)),
    (32 + 3, slice(None), slice(None)),
    (64 + 3, slice(None), [3]),
], ids=["query", "key", "value"])  # fmt: skip
def test_int8_attention_to_a_number_that_is_not_finite_is_not_finite(
    instruction_set, value, column, changed_rows, changed_columns
):
    qkv = random(40, 3 * 32)
    expected = attend_int8(qkv, instruction_set)
    qkv[7, column] = value
    y = attend_int8(qkv, instruction_set)
    assert not np.isfinite(y[changed_rows][:, changed_columns]).any()
    is_same = y == expected
    is_same[np.ix_(np.arange(40)[changed_rows], np.arange(32)[changed_columns])] = True
    assert is_same.all()


def test_causal_attention_with_int8_products_is_refused():
    qkv = random(4, 3 * 8)
    with pytest.raises(ValueError, match="causal"):
        _native.attend(
            qkv=qkv, y=qkv[:, :8].copy(), heads=1, scale=1.0, window=0, instruction_set="portable", causal=True, int8=True
        )


@pytest.mark.parametrize("tokens", [1, 15, 17, 31, 64, 130])
@pytest.mark.parametrize("width", [5, 16, 40, 72, 384, 391])
def test_sums_are_the_same_on_every_instruction_set_that_fuses_products_and_sums(tokens, width):
    x, weight = random(tokens, width), random(width)
    qkv = random(tokens, 3 * width)
    results = []
    for instruction_set in INSTRUCTION_SETS[:-1]:  # the last one, "portable", does not fuse them
        normal, attended = np.empty_like(x), np.empty_like(x)
        _native.normalise(x=x, weight=weight, bias=None, epsilon=1e-5, y=normal, instruction_set=instruction_set)
        _native.attend(qkv=qkv, y=attended, heads=1, scale=width**-0.5, window=0, instruction_set=instruction_set)
        results.append((normal.tobytes(), attended.tobytes(), multiply_int8(x, qkv[:, :width], instruction_set).tobytes()))
    assert len(set(results)) <= 1


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=["float16", "bfloat16"])
def test_product_with_half_weights_is_that_with_the_same_float32_weights(instruction_set, shape, dtype):
    rows, inputs, outputs = shape
    x, weight = random(rows, inputs), random(outputs, inputs).astype(dtype)
    packed = pack_floats(weight)
    y = np.full((rows, outputs), np.nan, np.float32)
    _native.multiply(
        x=x, packed=packed, y=y, bias=None, activation="none", added=None,
        instruction_set=instruction_set,
    )  # fmt: skip
    np.testing.assert_array_equal(y, multiply(x, weight.astype(np.float32), instruction_set))


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (7, 64), (2, 391), (9, 1024)], ids=str)
def test_rms_norm_is_close(instruction_set, shape):
    x, weight = random(*shape), random(shape[1])
    y = np.empty_like(x)
    _native.rms_normalise(x=x, weight=weight, epsilon=1e-6, y=y, instruction_set=instruction_set)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(y, wide / np.sqrt((wide**2).mean(axis=1, keepdims=True) + 1e-6) * weight, atol=2e-6, rtol=2e-6)


def exact_causal_attention(qkv, heads, key_heads, size):
    """Return the attention of rows with queries, keys and values side by side."""
    tokens, width = len(qkv), heads * size
    query, key, value = np.split(qkv.astype(np.float64), [width, width + key_heads * size], axis=1)
    attended = np.empty((tokens, width))
    for head in range(heads):
        columns = slice(head * size, (head + 1) * size)
        shared = slice(head * key_heads // heads * size, (head * key_heads // heads + 1) * size)
        products = query[:, columns] @ key[:, shared].T * size**-0.5
        products[np.triu_indices(tokens, 1)] = -np.inf
        weights = np.exp(products - products.max(axis=1, keepdims=True))
        attended[:, columns] = weights / weights.sum(axis=1, keepdims=True) @ value[:, shared]
    return attended


@pytest.mark.parametrize("tokens", [1, 2, 23, 24, 25, 63, 64, 65, 130, 300])
@pytest.mark.parametrize(("heads", "key_heads", "size"), [(2, 2, 32), (4, 1, 64), (6, 2, 5), (4, 2, 72)])
def test_causal_attention_is_close_and_independent_of_the_first_query(instruction_set, tokens, heads, key_heads, size):
    qkv = random(tokens, (heads + 2 * key_heads) * size)
    options = {
        "heads": heads, "scale": size**-0.5, "window": 0, "key_heads": key_heads, "causal": True,
        "instruction_set": instruction_set,
    }  # fmt: skip
    y = np.full((tokens, heads * size), np.nan, np.float32)
    _native.attend(qkv=qkv, y=y, **options)
    np.testing.assert_allclose(y, exact_causal_attention(qkv, heads, key_heads, size), atol=1e-5)
    for first_query in {1, 7, 24, 63, tokens - 1} & set(range(tokens)):
        rest = np.empty((tokens - first_query, heads * size), np.float32)
        _native.attend(qkv=qkv, y=rest, first_query=first_query, **options)
        np.testing.assert_array_equal(rest, y[first_query:])
    shorter = np.empty((tokens - tokens // 3, heads * size), np.float32)
    _native.attend(qkv=qkv[: len(shorter)].copy(), y=shorter, **options)
    np.testing.assert_array_equal(shorter, y[: len(shorter)])


def test_every_finite_bfloat16_becomes_the_same_float32(instruction_set):
    halves = np.arange(1 << 16, dtype=np.uint16)
    expected = (halves.astype(np.uint32) << 16).view(np.float32)
    y = np.empty(len(halves), np.float32)
    _native.widen(halves=halves, y=y, instruction_set=instruction_set, bfloat16=True)
    np.testing.assert_array_equal(y, expected)
    _native.widen(halves=halves[1000:1003], y=y[:3], instruction_set=instruction_set, bfloat16=True)
    np.testing.assert_array_equal(y[:3], expected[1000:1003])


def test_every_finite_float16_becomes_the_same_float32(instruction_set):
    halves = np.arange(1 << 16, dtype=np.uint16)
    halves = halves[np.isfinite(halves.view(np.float16))]
    y = np.empty(len(halves), np.float32)
    _native.widen(halves=halves, y=y, instruction_set=instruction_set)
    assert (y == halves.view(np.float16).astype(np.float32)).all()
    _native.widen(halves=halves[:3], y=y[:3], instruction_set=instruction_set)
