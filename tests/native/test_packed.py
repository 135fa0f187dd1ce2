"""The cache of packed weights: a damaged file is not used, and is written again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import podium
from checkpoints import replace_weights, write_random
from environment import PARITY_MODELS, SCRATCH
from podium.atomic import atomic_write
from podium.errors import ModelError
from podium.local.files.folder import from_folder
from podium.local.runtimes.native.packed import Packed
from podium.local.scorer import LocalScorer
from podium.local.spec import read_spec


def raw_scores(folder):
    return LocalScorer(from_folder(folder), runtime="native").score("rank", ["query"]).raw


def copy_of_bert(name):
    """Return a folder with a copy of a small BERT, which all examples of a test share."""
    folder = SCRATCH / name
    if not folder.exists():
        shutil.copytree(PARITY_MODELS / "bert", folder)
    return folder


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_cache_is_written_again(data):
    folder = copy_of_bert("damaged-cache")
    expected = raw_scores(folder)
    path = Packed(read_spec(folder).digest, "float32").path
    content = path.read_bytes()
    # Half of the examples damage only the header, which is at the end, and the bytes before it.
    first_offset = data.draw(st.sampled_from([0, content.index(b'{"arrays"') - 200]))
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(first_offset, len(content) - 1))] = data.draw(st.integers(0, 255))
    length = data.draw(st.one_of(st.none(), st.integers(0, len(content))))
    path.write_bytes(bytes(damaged[:length]))
    try:
        assert raw_scores(folder) == expected
    finally:
        path.write_bytes(content)


REPLACED_WHILE_LOADING = """
import os, sys
import podium

folder, new_weights = sys.argv[1:]

def replace_weights(event, arguments):
    # The module is imported after the file of weights was opened.
    if event == "import" and arguments[0] == "podium.local.runtimes.native.packed" and os.path.exists(new_weights):
        os.replace(new_weights, os.path.join(folder, "model.safetensors"))

sys.addaudithook(replace_weights)
try:
    podium.load(folder, precision="float32", runtime="native")
except podium.PodiumError as error:
    print(error)
"""


def test_weights_replaced_while_a_model_is_loaded_are_not_cached(tmp_path):
    """Otherwise the cache would have the old weights for the new file."""
    folder = shutil.copytree(PARITY_MODELS / "bert", tmp_path / "model")
    shutil.copyfile(folder / "model.safetensors", tmp_path / "old.safetensors")
    old_scores = raw_scores(folder)
    replace_weights(folder, {"word_embeddings.weight": lambda tensor: tensor * 2})
    shutil.move(folder / "model.safetensors", tmp_path / "new.safetensors")
    shutil.move(tmp_path / "old.safetensors", folder / "model.safetensors")
    command = [sys.executable, "-c", REPLACED_WHILE_LOADING, folder, tmp_path / "new.safetensors"]
    environment = os.environ | {"PODIUM_CACHE": str(tmp_path / "cache")}
    process = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert "changed while the model was loaded; load it again" in process.stdout, process.stderr
    assert not list((tmp_path / "cache" / "native").glob("*"))
    assert raw_scores(folder) != old_scores


DAMAGED_PAGES = {
    "lost": lambda first, second: bytes(4096) + second,
    "swapped": lambda first, second: second + first,
    "one-byte": lambda first, second: first[:-1] + b"\x55" + second,
}


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("damage", DAMAGED_PAGES.values(), ids=DAMAGED_PAGES)
def test_damaged_page_is_noticed(precision, damage):
    def load_scorer():
        return podium.load("podium-mini", runtime="native", precision=precision).scorer

    expected = load_scorer().score("a red fruit", ["a ripe apple", "the sea"]).raw
    path = Packed(load_scorer().spec.digest, precision).path
    content = path.read_bytes()
    middle = len(content) // 2 // 4096 * 4096
    pages = damage(content[middle : middle + 4096], content[middle + 4096 : middle + 8192])
    with atomic_write(path) as file:  # a new file: rerankers of other tests have the old one mapped
        file.write(content[:middle] + pages + content[middle + 8192 :])
    assert load_scorer().score("a red fruit", ["a ripe apple", "the sea"]).raw == expected
    assert path.read_bytes() == content, "the damaged file was not written again"


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"podium packed 2\n", b"podium packed 2\n" + b"\xff" * 16, b"\0" * 4096],
    ids=["empty", "byte", "only-the-format", "huge-header", "zeros"],
)
def test_other_file_is_replaced(content):
    folder = copy_of_bert("other-file")
    expected = raw_scores(folder)
    path = Packed(read_spec(folder).digest, "float32").path
    path.write_bytes(content)
    assert raw_scores(folder) == expected
    assert path.read_bytes() != content


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_damaged_checkpoint_is_an_error_of_podium_or_loads(data):
    folder = copy_of_bert("damaged-checkpoint")
    damaged = bytearray((PARITY_MODELS / "bert" / "model.safetensors").read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(0, 6000))] = data.draw(st.integers(0, 255))
    (folder / "model.safetensors").write_bytes(bytes(damaged))
    try:
        raw_scores(folder)
    except ModelError:
        pass


UNWRITABLE_CACHE = """
import sys, podium
bert, mini = podium.load(sys.argv[1]), podium.load("podium-mini", precision="auto")
print(bert.scorer.runtime, bert.score("rank", ["query"])[0], mini.scorer.runtime)
"""


def test_unwritable_cache_is_ignored(tmp_path):
    (tmp_path / "file").write_text("in the way")
    environment = os.environ | {"PODIUM_CACHE": str(tmp_path / "file" / "below")}
    command = [sys.executable, "-c", UNWRITABLE_CACHE, PARITY_MODELS / "bert"]
    process = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    expected = LocalScorer(from_folder(PARITY_MODELS / "bert"), runtime="native").score("rank", ["query"]).values[0]
    assert process.stdout.split() == ["native", str(expected), "native"]


BUILD_AND_RUN = """
import pathlib, re, sys
import numpy as np
from podium.local.build import load
from podium.local.runtimes import Variant
from podium.local.spec import read_spec

def peak_bytes():
    return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) * 1024

spec = read_spec(pathlib.Path(sys.argv[1]))
import podium.local.runtimes.native.runtime
before = peak_bytes()
runtime = load(spec, Variant("native", sys.argv[2]))
built = peak_bytes()
runtime.run([np.arange(5, 25, dtype=np.int32)], [np.zeros(20, np.int32)])
print(built - before, peak_bytes() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak memory is read from /proc")
@pytest.mark.parametrize(("precision", "most_built"), [("float32", 0.5), ("int8", 1.0)], ids=["float32", "int8"])
def test_first_start_needs_little_more_memory_than_the_packed_weights(tmp_path, precision, most_built):
    """The weights are read, packed and written matrix by matrix, and mapped when they are used."""
    shape = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 6, "num_attention_heads": 12}
    write_random(tmp_path / "model", PARITY_MODELS / "roberta", **shape)
    environment = os.environ | {"PODIUM_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", BUILD_AND_RUN, tmp_path / "model", precision]
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    built, peak = map(int, output.split())
    (packed,) = (tmp_path / "cache" / "native").iterdir()
    size = packed.stat().st_size
    assert size > 40_000_000
    assert built <= most_built * size
    assert peak <= 1.3 * size
