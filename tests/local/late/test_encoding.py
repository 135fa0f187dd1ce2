"""The bytes of encodings: unpacking returns the values that were packed, and detects damage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.local.late.encoding import HEADER, normalised, pack, token_counts, unpack

PRECISIONS = ("float32", "float16", "int8")
TOLERANCES = {"float32": 0, "float16": 5e-4, "int8": 0.5 / 127 + 1e-6}
"""Precision → by how much an unpacked number of a normalised row may differ. Half a step of int8 is 0.5 / 127."""


def random_rows(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def packed_encoding(precision="int8", vector_count=5, dimensions=8, mean_dimensions=7):
    return pack(
        random_rows(vector_count, dimensions),
        precision,
        tokens=vector_count,
        dropped_tokens=2,
        ids=np.arange(vector_count + 1),
        weights=random_rows(vector_count),
        mean=random_rows(mean_dimensions),
    )


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("vector_count", "dimensions"), [(1, 1), (7, 5), (84, 128), (0, 16)])
def test_unpacked_rows_are_the_normalised_ones(precision, vector_count, dimensions):
    rows = random_rows(vector_count, dimensions)
    encoding = unpack(pack(rows, precision, tokens=vector_count, dropped_tokens=3))
    assert (encoding.precision, encoding.tokens, encoding.dropped_tokens) == (precision, vector_count, 3)
    assert encoding.rows.shape == (vector_count, dimensions)
    np.testing.assert_allclose(encoding.vectors, normalised(rows), atol=TOLERANCES[precision], rtol=0)
    assert encoding.ids is encoding.weights is encoding.mean is None


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("mean_dimensions", [1, 3, 4, 384])
def test_ids_weights_and_mean_are_unpacked(precision, mean_dimensions):
    ids = np.arange(9, dtype=np.int32)
    weights = random_rows(6)
    mean = random_rows(mean_dimensions)
    encoding = unpack(pack(random_rows(6, 8), precision, tokens=6, ids=ids, weights=weights, mean=mean))
    assert encoding.ids.tolist() == ids.tolist()
    assert encoding.weights.tolist() == weights.tolist()
    stored_mean = encoding.mean.astype(np.float32) * encoding.mean_scale
    np.testing.assert_allclose(stored_mean, normalised(mean[None])[0], atol=TOLERANCES[precision], rtol=0)


def test_row_of_zeros_stays_zeros():
    assert not unpack(pack(np.zeros((2, 8), np.float32), "int8", tokens=2)).vectors.any()


def test_token_counts_are_read_from_the_header():
    assert token_counts(packed_encoding(vector_count=5)) == (5, 2)


def test_encoding_need_not_be_aligned():
    data = packed_encoding()
    assert (unpack(memoryview(b"x" + data)[1:]).vectors == unpack(data).vectors).all()


def test_encoding_of_a_usual_text_is_small():
    """There are 83 tokens and [SEP], with 128 dimensions. The mean has 384."""
    data = packed_encoding(vector_count=84, dimensions=128, mean_dimensions=384)
    assert len(data) < 12_500


@pytest.mark.parametrize("precision", PRECISIONS)
def test_encoding_of_another_length_is_refused(precision):
    data = packed_encoding(precision)
    for length in range(len(data)):
        with pytest.raises(ValueError, match="encoding"):
            unpack(data[:length])
    with pytest.raises(ValueError, match="bytes"):
        unpack(data + b"x")


@pytest.mark.parametrize(("offset", "value"), [(0, 2), (1, 3), (2, 2)], ids=["version", "precision", "flags"])
def test_unknown_header_is_refused(offset, value):
    data = bytearray(packed_encoding())
    data[offset] = value
    with pytest.raises(ValueError, match="not an encoding"):
        unpack(bytes(data))


@settings(max_examples=300)
@given(st.binary(max_size=HEADER.size + 40), st.integers(0, HEADER.size))
def test_arbitrary_bytes_after_a_part_of_a_header_are_unpacked_or_refused(data, header_bytes):
    try:
        unpack(packed_encoding()[:header_bytes] + data)
    except ValueError:
        pass
