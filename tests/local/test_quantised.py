"""Quantised matrices: the same results as with the widened matrix, bit for bit, and damaged matrices that are refused."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import podium
from checkpoints import edit_json, edit_weights
from environment import NEEDS_CORE, PARITY_MODELS, RUNTIMES
from podium.errors import ModelError, UnsupportedModel
from podium.local.files.folder import from_folder
from podium.local.files.quantised import SCALE_SUFFIX, Quantised
from podium.local.scorer import LocalScorer
from podium.local.spec import QUANTISATION

WORDS = "bert.embeddings.word_embeddings.weight"
POSITIONS = "bert.embeddings.position_embeddings.weight"
LAYER = "bert.encoder.layer.1.intermediate.dense.weight"
TEXTS = ["red", "a list of words " * 4, "rank"]
FORMATS = [(8, 32, np.float32), (8, 8, np.float16), (4, 32, np.float16), (4, 16, np.float32), (4, 2, np.float16)]


def quantise(folder, names, bits=8, block_width=32, scale_type=np.float32):
    """Quantise matrices of a model, whose names are `names`."""

    def change(weights):
        for name in names:
            quantised = Quantised.from_matrix(weights[name], bits, block_width, scale_type)
            weights[name] = quantised.values
            weights[name + SCALE_SUFFIX] = quantised.scales

    edit_weights(folder, change)
    edit_json(folder / "config.json", quantization_config=QUANTISATION)


def widened_copy(folder):
    """Return a copy of a model whose quantised matrices are stored in float32."""
    copy = shutil.copytree(folder, folder.with_name("widened"))
    edit_json(copy / "config.json", quantization_config=None)

    def change(weights):
        for scale_name in [name for name in weights if name.endswith(SCALE_SUFFIX)]:
            name = scale_name.removesuffix(SCALE_SUFFIX)
            weights[name] = Quantised(weights[name], weights.pop(scale_name)).widened()

    edit_weights(copy, change)
    return copy


def scores(folder, **options):
    return LocalScorer(from_folder(folder), **options).score("rank the words", TEXTS).raw


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize(("bits", "block_width", "scale_type"), FORMATS)
def test_scores_equal_those_of_the_widened_model(model, runtime, precision, bits, block_width, scale_type):
    quantise(model, [WORDS, POSITIONS, LAYER], bits, block_width, scale_type)
    expected = scores(widened_copy(model), runtime=runtime, precision=precision)
    for _ in range(2):  # the second time from podium's cache
        assert scores(model, runtime=runtime, precision=precision) == expected


@NEEDS_CORE
def test_int8_weights_of_rows_are_computed_as_they_are_stored(model):
    """The core quantises weights in the same way, so storing them in 8 bits changes no score of an int8 network."""
    names = [f"bert.encoder.layer.{index}.{part}.dense.weight" for index in range(3) for part in ("intermediate", "output")]
    expected = scores(model, runtime="native", precision="int8")
    quantise(model, [name for name in names if "intermediate" in name], 8, 32, np.float32)
    quantise(model, [name for name in names if "output" in name], 8, 64, np.float32)
    assert scores(model, runtime="native", precision="int8") == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("scale_type", [np.float16, np.float32])
@given(
    arrays(np.int8, (3, 8), elements=st.integers(-8, 7)),
    arrays(np.float16, (3, 2), elements=st.floats(0.0078125, 1, width=16)),
)
def test_4_bit_matrix_is_quantised_to_the_same_numbers(scale_type, numbers, scales):
    """Each block contains -8, as in the format Q4_0."""
    numbers[:, 0] = numbers[:, 4] = -8
    matrix = numbers.reshape(3, 2, 4) * scales.astype(np.float32)[:, :, None]
    quantised = Quantised.from_matrix(matrix.reshape(3, 8), 4, 4, scale_type)
    assert (quantised.scales == scales).all()
    assert (quantised.widened() == matrix.reshape(3, 8)).all()


def test_blocks_of_zeros_stay_zeros():
    for bits in (4, 8):
        assert not Quantised.from_matrix(np.zeros((2, 8), np.float32), bits, 4).widened().any()


def set_scales(change):
    return lambda weights: weights.update({WORDS + SCALE_SUFFIX: change(weights[WORDS + SCALE_SUFFIX])})


def set_values(change):
    return lambda weights: weights.update({WORDS: change(weights[WORDS])})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda weights: weights.pop(WORDS + SCALE_SUFFIX), "missing"),
        (set_scales(lambda scales: scales[:-1]), "do not belong together"),
        (set_scales(lambda scales: np.repeat(scales, 3, axis=1)), "do not belong together"),
        (set_scales(lambda scales: scales[:, :0]), "do not belong together"),
        (set_scales(lambda scales: scales[:, 0]), "do not belong together"),
        (set_scales(lambda scales: scales.astype(np.int8)), "do not belong together"),
        (set_scales(lambda scales: scales * np.float32(np.nan)), "NaN or infinity"),
        (set_scales(lambda scales: np.full_like(scales, 3e38)), "infinite"),
        (set_values(lambda values: values[:-1]), "do not belong together"),
        (set_values(lambda values: values.reshape(-1)), "do not belong together"),
        (set_values(lambda values: values.astype(np.int32)), "not quantised"),
        (set_values(lambda values: values.astype(np.float16)), "not quantised"),
        (set_values(lambda values: values[:, :8].view(np.uint8)), "does not match|do not fit|cannot"),
    ],
    ids=[
        "no-scales", "few-scales", "blocks", "no-blocks", "vector", "scale-type", "nan", "huge", "few-values", "flat", "int32",
        "float16", "four-bits",
    ],
)  # fmt: skip
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_damaged_matrix_is_refused(model, runtime, damage, message):
    quantise(model, [WORDS])
    edit_weights(model, damage)
    with pytest.raises(ModelError, match=message):
        podium.load(model, runtime=runtime)


def test_whole_numbers_without_the_setting_are_refused(model):
    quantise(model, [WORDS])
    edit_json(model / "config.json", quantization_config=None)
    with pytest.raises(ModelError, match="stored as int8"):
        podium.load(model)


@pytest.mark.parametrize(
    "settings",
    [{"quant_method": "bitsandbytes", "load_in_8bit": True}, QUANTISATION | {"version": 2}, "podium"],
    ids=["method", "version", "string"],
)
def test_other_formats_are_refused(model, settings):
    edit_json(model / "config.json", quantization_config=settings)
    with pytest.raises(UnsupportedModel, match="quantization_config"):
        podium.load(model)


def test_late_interaction_model_can_be_quantised(tmp_path):
    folder = shutil.copytree(PARITY_MODELS / "late", tmp_path / "model")
    quantise(folder, [WORDS, "late.projection.weight", LAYER], 4, 16, np.float16)
    copy = widened_copy(folder)
    expected, ranked = (podium.load(path).rank("rank the words", TEXTS)[1] for path in (copy, folder))
    assert ranked == expected
