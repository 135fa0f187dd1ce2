"""The choice of runtime and precision: every variant is measured once, and the measurements are stored."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

import podium
from checkpoints import replace_weights
from environment import NEEDS_CORE, NEEDS_ONNX, PARITY_MODELS
from podium.errors import UnsupportedModel
from podium.local.autotune import choose, measure
from podium.local.build import load, variants_for
from podium.local.cache import cache_folder
from podium.local.runtimes import Variant
from podium.local.spec import read_spec
from read_only import DROP_PRIVILEGES

pytestmark = [NEEDS_CORE, NEEDS_ONNX]

NATIVE, ONNX = Variant("native", "float32"), Variant("onnx", "float32")
NATIVE_INT8, ONNX_INT8 = Variant("native", "int8"), Variant("onnx", "int8")
FLOAT32_VARIANTS = [NATIVE, ONNX]
INT8_VARIANTS = [NATIVE_INT8, ONNX_INT8]
ALL_VARIANTS = [NATIVE, NATIVE_INT8, ONNX, ONNX_INT8]


@pytest.fixture
def spec(tmp_path, request):
    """A model that no other test has measured."""
    folder = shutil.copytree(PARITY_MODELS / "electra", tmp_path / "model")
    # Each test has its own weights, because measurements are stored by the weights.
    bias = np.float32(zlib.crc32(request.node.name.encode()))
    replace_weights(folder, {"classifier.dense.bias": lambda x: x + bias})
    return read_spec(folder)


@pytest.fixture
def measurements_path(spec):
    """The file that has the stored measurements of `spec`."""
    before = set((cache_folder() / "chosen").glob("*.json"))
    choose(spec, FLOAT32_VARIANTS, load)
    (path,) = set((cache_folder() / "chosen").glob("*.json")) - before
    return path


def test_all_variants_are_measured(spec):
    texts_per_second = measure(spec, ALL_VARIANTS, load)
    assert set(texts_per_second) == set(ALL_VARIANTS)
    assert min(texts_per_second.values()) > 0


def test_measurements_are_stored(spec, measurements_path):
    modified_ns = measurements_path.stat().st_mtime_ns
    choice = choose(spec, FLOAT32_VARIANTS, load)
    assert set(choice.measured) == set(FLOAT32_VARIANTS)
    assert choose(spec, FLOAT32_VARIANTS, load) == choice
    assert measurements_path.stat().st_mtime_ns == modified_ns


def test_those_that_start_together_measure_once_and_choose_the_same(spec):
    """Workers of a server start together, and must have the same precision."""
    loaded_variants = []
    barrier = Barrier(4)

    def recording_load(spec, variant):
        loaded_variants.append(variant)
        return load(spec, variant)

    def choose_together(_):
        barrier.wait()
        return choose(spec, ALL_VARIANTS, recording_load)

    with ThreadPoolExecutor(4) as pool:
        choices = list(pool.map(choose_together, range(4)))
    assert all(choice == choices[0] for choice in choices)
    assert sorted(map(str, loaded_variants)) == sorted(map(str, ALL_VARIANTS))


def test_only_missing_variants_are_measured(spec, measurements_path):
    choice_of_two = choose(spec, FLOAT32_VARIANTS, load)
    choice_of_all = choose(spec, ALL_VARIANTS, load)
    assert set(choice_of_all.measured) == set(ALL_VARIANTS)
    assert choice_of_all.measured.items() >= choice_of_two.measured.items()
    assert set(json.loads(measurements_path.read_text())) == {str(variant) for variant in ALL_VARIANTS}


@pytest.mark.parametrize(
    ("variants", "texts_per_second", "expected"),
    [
        (FLOAT32_VARIANTS, (1.0, 2.0), ONNX),
        (INT8_VARIANTS, (3.0, 2.2), NATIVE_INT8),
        (ALL_VARIANTS, (1.0, 3.0, 2.0, 2.2), NATIVE_INT8),
        (ALL_VARIANTS, (2.0, 2.1, 1.0, 2.2), NATIVE),
    ],
    ids=["float32", "int8", "int8-is-faster", "int8-is-only-a-tenth-faster"],
)
def test_fastest_variant_is_chosen_unless_int8_gains_too_little(spec, measurements_path, variants, texts_per_second, expected):
    measurements_path.write_text(
        json.dumps({str(variant): rate for variant, rate in zip(variants, texts_per_second, strict=True)})
    )
    assert choose(spec, variants, load).variant == expected


@pytest.mark.parametrize(
    "damage",
    [
        *("", "[]", "[" * 200_000, '{"native float32": "fast"}', '{"native float32": -1, "onnx float32": NaN}'),
        f'{{"native float32": 1{"0" * 400}}}',
    ],
    ids=["empty", "list", "nested", "string", "not-a-rate", "too-large"],
)
def test_variants_are_measured_again_if_the_file_is_damaged(spec, measurements_path, damage):
    measurements_path.write_text(damage)
    assert set(choose(spec, FLOAT32_VARIANTS, load).measured) == set(FLOAT32_VARIANTS)


def test_single_variant_is_not_measured(spec):
    assert choose(spec, [ONNX_INT8], load).measured == {}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, FLOAT32_VARIANTS),
        ({"precision": "int8"}, INT8_VARIANTS),
        ({"precision": "auto"}, ALL_VARIANTS),
        ({"runtime": "onnx", "precision": "auto"}, [ONNX, ONNX_INT8]),
    ],
    ids=["default", "int8", "auto", "onnx"],
)
def test_variants_of_a_family_that_the_native_core_supports(spec, options, expected):
    assert variants_for(spec, **options) == expected


def test_model_with_its_own_onnx_file_runs_on_onnx_runtime_only():
    with pytest.raises(UnsupportedModel, match="runtime='onnx'"):
        podium.load(PARITY_MODELS / "exported-albert", runtime="native")


def test_model_with_its_own_onnx_file_has_no_int8():
    assert variants_for(read_spec(PARITY_MODELS / "exported-albert")) == [ONNX]
    assert variants_for(read_spec(PARITY_MODELS / "exported-albert"), precision="auto") == [ONNX]


IN_CLOSED_FOLDER = f"""
import contextlib, io, os, sys, podium
from podium.cli import main

# This imports everything while this user can still read it.
podium.load("podium-mini", precision="auto").rank("a", ["b"])
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    main(["models"])
{DROP_PRIVILEGES}
os.environ["PODIUM_CACHE"] = sys.argv[1] + "/cache"
print(podium.load("podium-mini", precision="auto", threads=1).rank("a", ["b"])[0], flush=True)
main(["models", "--cache-dir", sys.argv[1] + "/hub"])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="permissions work differently there")
def test_caches_in_a_folder_that_may_not_be_entered():
    """Such a folder is, for example, the home of another user."""
    with tempfile.TemporaryDirectory() as public:  # pytest's own folders cannot be entered by other users
        os.chmod(public, 0o755)
        closed = Path(public) / "closed"
        closed.mkdir()
        os.chmod(closed, 0o700 if os.geteuid() == 0 else 0)
        process = subprocess.run([sys.executable, "-c", IN_CLOSED_FOLDER, str(closed)], capture_output=True, text=True)
        os.chmod(closed, 0o700)
    assert (process.returncode, process.stdout) == (1, "['b']\n"), process.stderr
    assert "the hub's cache cannot be read (Permission denied: " in process.stderr
    assert "name another folder with --cache-dir" in process.stderr
