"""The comparison of encodings: the native core on every instruction set, and numpy."""

from __future__ import annotations

import numpy as np
import pytest

from environment import NEEDS_CORE
from podium.local.late.comparison import LateFeatures, Lexical, MaxSim
from podium.local.late.encoding import normalised, pack
from podium.local.runtimes import native_core

PRECISIONS = ("float32", "float16", "int8")
INSTRUCTION_SETS = core.instruction_sets() if (core := native_core()) else []
VOCABULARY = 50
DRAW = np.random.default_rng(0)
LEXICAL = Lexical(
    idf=DRAW.uniform(0, 5, VOCABULARY).astype(np.float32),
    piece_idf=DRAW.uniform(0, 5, VOCABULARY).astype(np.float32),
    stem=(np.arange(VOCABULARY) // 2).astype(np.float32),
    k1=1.2,
    b=0.4,
    average_tokens=130.0,
)
# Each shape is (number of the query's vectors, numbers of vectors of the texts, dimensions). The native core compares vectors
# in tiles: some numbers are near the sizes of tiles, others are not.
SHAPES = [(1, [1], 1), (5, [3, 8, 9], 16), (16, [64, 65], 96), (17, [83, 1, 200], 128), (32, [84] * 3, 48), (7, [5, 30], 50)]


def encoding(vector_count, dimensions, precision, *, seed, is_query=False, mean_dimensions=20):
    """Return an encoding of random numbers. Only that of a query has weights."""
    draw = np.random.default_rng(seed)
    rows = draw.standard_normal((vector_count, dimensions)).astype(np.float32)
    weights = draw.dirichlet(np.ones(vector_count)).astype(np.float32) if is_query else None
    ids = draw.integers(0, VOCABULARY, vector_count)
    mean = draw.standard_normal(mean_dimensions).astype(np.float32)
    return pack(rows, precision, tokens=vector_count, ids=ids, weights=weights, mean=mean)


def encodings(shape, precision):
    """Return the encoding of a query, and the encodings of texts, with one of SHAPES."""
    query_count, text_counts, dimensions = shape
    query = encoding(query_count, dimensions, precision, seed=1, is_query=True)
    return query, [encoding(count, dimensions, precision, seed=count + 7 * i) for i, count in enumerate(text_counts)]


def native_features(query, documents, instruction_set):
    """Return the four features that the native core computes for each document."""
    result = np.full((len(documents), 4), np.nan, np.float32)
    core.late_features(
        query=query,
        documents=documents,
        result=result,
        token_idf=LEXICAL.idf,
        token_piece_idf=LEXICAL.piece_idf,
        token_stem=LEXICAL.stem,
        k1=LEXICAL.k1,
        b=LEXICAL.b,
        average_tokens=LEXICAL.average_tokens,
        instruction_set=instruction_set,
    )
    return result


@NEEDS_CORE
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
def test_native_core_computes_what_numpy_computes(shape, precision, instruction_set):
    query, documents = encodings(shape, precision)
    sums = np.zeros((len(documents), 1), np.float32)
    core.max_sim(query=query, documents=documents, result=sums, instruction_set=instruction_set)
    np.testing.assert_allclose(sums, MaxSim(native=False).compare(query, documents), rtol=1e-5, atol=1e-5)
    features = native_features(query, documents, instruction_set)
    np.testing.assert_allclose(features, LateFeatures(LEXICAL, native=False).compare(query, documents), rtol=1e-5, atol=1e-5)


@NEEDS_CORE
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_int8_results_are_equal_on_all_instruction_sets(shape):
    query, documents = encodings(shape, "int8")
    first, *others = (native_features(query, documents, name) for name in INSTRUCTION_SETS)
    for features in others:
        assert (features == first).all()


@NEEDS_CORE
def test_largest_and_smallest_int8_numbers_are_multiplied_exactly():
    rows = np.ones((3, 1040), np.float32)
    query, documents = pack(rows, "int8", tokens=3), [pack(sign * rows, "int8", tokens=3) for sign in (1, -1)]
    expected = MaxSim(native=False).compare(query, documents)
    for name in INSTRUCTION_SETS:
        result = np.zeros((2, 1), np.float32)
        core.max_sim(query=query, documents=documents, result=result, instruction_set=name)
        assert (result == expected).all()
    np.testing.assert_allclose(expected[:, 0], [3, -3], rtol=1e-5)


def test_max_sim_is_the_sum_of_highest_products():
    draw = np.random.default_rng(3)
    query, text = (draw.standard_normal((count, 24)).astype(np.float32) for count in (6, 11))
    expected = (normalised(query) @ normalised(text).T).max(axis=1).sum()
    for precision, tolerance in (("float32", 1e-5), ("float16", 5e-3), ("int8", 0.05)):
        packed = [pack(rows, precision, tokens=len(rows)) for rows in (query, text)]
        assert MaxSim().compare(packed[0], packed[1:])[0, 0] == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("native", [pytest.param(True, marks=NEEDS_CORE), False], ids=["native", "numpy"])
class TestEveryImplementation:
    def test_text_does_not_depend_on_others(self, native, precision):
        query, documents = encodings(SHAPES[3], precision)
        comparison = LateFeatures(LEXICAL, native=native)
        together = comparison.compare(query, documents)
        for document, features in zip(documents, together, strict=True):
            assert (comparison.compare(query, [document])[0] == features).all()
        assert (comparison.compare(query, documents[::-1])[::-1] == together).all()

    def test_encodings_need_not_be_aligned(self, native, precision):
        query, documents = encodings(SHAPES[3], precision)
        comparison = LateFeatures(LEXICAL, native=native)
        shifted = [memoryview(b"x" + document)[1:] for document in documents]
        assert (comparison.compare(query, shifted) == comparison.compare(query, documents)).all()

    def test_text_without_vectors_has_no_match(self, native, precision):
        query = encoding(4, 8, precision, seed=1)
        empty = pack(np.zeros((0, 8), np.float32), precision, tokens=0, mean=np.ones(20, np.float32))
        assert MaxSim(native=native).compare(query, [empty]).tolist() == [[0.0]]
        assert MaxSim(native=native).compare(query, []).shape == (0, 1)

    def test_damaged_bytes_are_refused(self, native, precision):
        query, (document, *_) = encodings(SHAPES[3], precision)
        comparison = LateFeatures(LEXICAL, native=native)
        for damaged in (document[:-1], document + b"x", document[:10], b"", b"\x07" + document[1:]):
            with pytest.raises(ValueError, match="encoding"):
                comparison.compare(query, [document, damaged])
            with pytest.raises(ValueError, match="encoding"):
                comparison.compare(damaged, [document])

    def test_encodings_that_do_not_fit_are_refused(self, native, precision):
        query, (document, *_) = encodings(SHAPES[3], precision)
        comparison = LateFeatures(LEXICAL, native=native)
        other_precision = "int8" if precision == "float32" else "float32"
        unfitting = [
            encoding(5, 64, precision, seed=1),
            encoding(5, 128, other_precision, seed=1),
            encoding(5, 128, precision, seed=1, mean_dimensions=19),
            pack(np.ones((5, 128), np.float32), precision, tokens=5, ids=np.full(5, VOCABULARY), mean=np.ones(20)),
            pack(np.ones((5, 128), np.float32), precision, tokens=5, ids=np.full(5, -1), mean=np.ones(20)),
            pack(np.ones((5, 128), np.float32), precision, tokens=5, mean=np.ones(20)),
        ]
        for other_document in unfitting:
            with pytest.raises(ValueError, match="encoding"):
                comparison.compare(query, [other_document])
        with pytest.raises(ValueError, match="weights"):
            comparison.compare(document, [document])


@NEEDS_CORE
def test_wrong_arguments_are_refused():
    query, documents = encodings(SHAPES[1], "int8")
    with pytest.raises(ValueError, match="one row per document"):
        core.max_sim(query=query, documents=documents, result=np.zeros((1, 1), np.float32))
    with pytest.raises(ValueError, match="instruction set"):
        core.max_sim(query=query, documents=documents, result=np.zeros((3, 1), np.float32), instruction_set="sse9")
    with pytest.raises(TypeError):
        core.max_sim(query=query, documents=[documents[0], "text", 3], result=np.zeros((3, 1), np.float32))
