"""The choice of runtime and precision: measured once and stored."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import podium
from checkpoints import replace_weights
from environment import NEEDS_CORE, PARITY
from podium.errors import UnsupportedModel
from podium.local.autotune import choose, measure
from podium.local.build import load, variants_for
from podium.local.cache import cache_folder
from podium.local.runtimes import Variant
from podium.local.spec import read_spec

pytestmark = NEEDS_CORE

NATIVE, ONNX = Variant("native", "float32"), Variant("onnx", "float32")
NATIVE_INT8, ONNX_INT8 = Variant("native", "int8"), Variant("onnx", "int8")
FLOAT32, INT8 = [NATIVE, ONNX], [NATIVE_INT8, ONNX_INT8]
ALL = [NATIVE, NATIVE_INT8, ONNX, ONNX_INT8]


@pytest.fixture
def spec(tmp_path, request):
    """A model that no other test has measured."""
    folder = shutil.copytree(PARITY / "electra", tmp_path / "model")
    bias = np.float32(np.frombuffer(request.node.name.encode(), np.uint8).sum())
    replace_weights(folder, {"classifier.dense.bias": lambda x: x + bias})
    return read_spec(folder)


@pytest.fixture
def stored(spec):
    """The file with the measurements of `spec`."""
    before = set((cache_folder() / "chosen").glob("*"))
    choose(spec, FLOAT32, load)
    (path,) = set((cache_folder() / "chosen").glob("*")) - before
    return path


def test_all_variants_are_measured(spec):
    rates = measure(spec, ALL, load)
    assert set(rates) == set(ALL)
    assert min(rates.values()) > 0


def test_measurements_are_stored(spec, stored):
    written = stored.stat().st_mtime_ns
    first = choose(spec, FLOAT32, load)
    assert set(first.measured) == set(FLOAT32)
    assert choose(spec, FLOAT32, load) == first
    assert stored.stat().st_mtime_ns == written


def test_only_missing_variants_are_measured(spec, stored):
    first = choose(spec, FLOAT32, load)
    every = choose(spec, ALL, load)
    assert set(every.measured) == set(ALL)
    assert every.measured.items() >= first.measured.items()
    assert set(json.loads(stored.read_text())) == {str(variant) for variant in ALL}


@pytest.mark.parametrize(
    ("variants", "rates", "expected"),
    [
        (FLOAT32, (1.0, 2.0), ONNX),
        (INT8, (3.0, 2.2), NATIVE_INT8),
        (ALL, (1.0, 3.0, 2.0, 2.2), NATIVE_INT8),
        (ALL, (2.0, 2.1, 1.0, 2.2), NATIVE),
    ],
    ids=["float32", "int8", "int8-is-faster", "int8-is-only-a-tenth-faster"],
)
def test_fastest_variant_is_chosen(spec, stored, variants, rates, expected):
    stored.write_text(json.dumps({str(variant): rate for variant, rate in zip(variants, rates, strict=True)}))
    assert choose(spec, variants, load).variant == expected


@pytest.mark.parametrize(
    "damage",
    ["", "[]", '{"native float32": "fast"}', '{"native float32": -1, "onnx float32": NaN}'],
    ids=["empty", "list", "string", "not-a-rate"],
)
def test_damaged_file_is_measured_again(spec, stored, damage):
    stored.write_text(damage)
    assert set(choose(spec, FLOAT32, load).measured) == set(FLOAT32)


def test_single_variant_is_not_measured(spec):
    assert choose(spec, [ONNX_INT8], load).measured == {}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, FLOAT32),
        ({"precision": "int8"}, INT8),
        ({"precision": "auto"}, ALL),
        ({"runtime": "onnx", "precision": "auto"}, [ONNX, ONNX_INT8]),
    ],
    ids=["default", "int8", "auto", "onnx"],
)
def test_variants_of_a_native_family(spec, options, expected):
    assert variants_for(spec, **options) == expected


@pytest.mark.parametrize("name", ["deberta-v3", "exported-albert"])
def test_other_models_run_on_onnx_runtime_only(name):
    assert variants_for(read_spec(PARITY / name)) == [ONNX]
    with pytest.raises(UnsupportedModel, match="runtime='onnx'"):
        podium.load(PARITY / name, runtime="native")


def test_model_with_its_own_onnx_file_has_no_int8():
    assert variants_for(read_spec(PARITY / "exported-albert"), precision="auto") == [ONNX]
