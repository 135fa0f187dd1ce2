"""The native core: its kernels beside numpy in float64 on every instruction set here, its networks, and what it refuses."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from scipy.special import erf

import podium
from environment import CORE, PARITY, SCRATCH
from podium.atomic import atomic_write
from podium.errors import ModelError, UnsupportedModel
from podium.local import build as network
from podium.local import spec as models
from podium.local.autotune import choose
from podium.local.files.checkpoint import Checkpoint
from podium.local.files.folder import from_folder
from podium.local.scorer import LocalScorer
from podium.local.tokenizer import PairTokenizer

if not CORE:
    pytest.skip("podium was installed without its native core: no C++ compiler", allow_module_level=True)

from podium import _native
from podium.local.runtimes.native.graph import NativeGraph
from podium.local.runtimes.native.packed import Packed, pack_float32, pack_int8
from podium.local.runtimes.native.runtime import NativeRuntime

SETS = _native.instruction_sets()
# Around the sizes of tiles and panels, and far from them: rows, inputs, outputs.
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


@pytest.fixture(params=SETS)
def kernels(request):
    return request.param


def drawn(*shape, spread=1.0):
    return (np.random.default_rng(sum(shape)).standard_normal(shape) * spread).astype(np.float32)


def multiplied(x, weight, kernels, bias=None, activation="none", added=None):
    y = np.full((len(x), len(weight)), np.nan, np.float32)
    _native.multiply(x, pack_float32(weight), y, bias, activation, added, kernels)
    return y


def multiplied_int8(x, weight, kernels):
    y = np.full((len(x), len(weight)), np.nan, np.float32)
    _native.multiply_int8(x, *pack_int8(weight), y, kernels)
    return y


# ---- kernels


def test_the_portable_kernels_are_always_there():
    assert SETS[-1] == "portable"


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_products_are_numpys(kernels, shape):
    rows, inputs, outputs = shape
    x, weight = drawn(rows, inputs), drawn(outputs, inputs)
    bias, added = drawn(outputs), drawn(rows, outputs)
    exact = x.astype(np.float64) @ weight.astype(np.float64).T
    room = 1e-6 * (np.abs(x).astype(np.float64) @ np.abs(weight).astype(np.float64).T).max() + 1e-6
    np.testing.assert_allclose(multiplied(x, weight, kernels), exact, atol=room, rtol=0)
    whole = multiplied(x, weight, kernels, bias, "relu", added)
    np.testing.assert_allclose(whole, np.maximum(exact + bias, 0) + added, atol=room, rtol=0)


@pytest.mark.parametrize("spread", [1e-18, 1e12], ids=["tiny", "huge"])
def test_products_of_tiny_and_huge_numbers(kernels, spread):
    x, weight = drawn(9, 100, spread=spread), drawn(70, 100)
    exact = x.astype(np.float64) @ weight.astype(np.float64).T
    room = 1e-6 * (np.abs(x).astype(np.float64) @ np.abs(weight).astype(np.float64).T).max()
    np.testing.assert_allclose(multiplied(x, weight, kernels), exact, atol=room, rtol=0)
    near = multiplied_int8(x, weight, kernels)
    assert np.abs(near - exact).max() < 0.03 * np.abs(exact).max()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_int8_products_are_exact_where_the_numbers_are_whole(kernels, shape):
    """Among them the largest there are, which an instruction that saturates would get wrong."""
    rows, inputs, outputs = shape
    draw = np.random.default_rng(inputs)
    weight = draw.choice([-127, 127], (outputs, inputs)).astype(np.float32)
    x = draw.choice([0, 255], (rows, inputs)).astype(np.float32)
    x[:, 0] = 255  # so that a step between whole numbers is 1
    x[0] = 255
    if rows > 1:
        x[1] = draw.integers(0, 256, inputs)
        x[1, 0] = 255
    scale = np.float32(127) / np.float32(127)
    exact = (x.astype(np.int64) @ weight.astype(np.int64).T).astype(np.float32) * scale
    np.testing.assert_allclose(multiplied_int8(x, weight, kernels), exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_int8_products_are_near(kernels, shape):
    rows, inputs, outputs = shape
    x, weight = drawn(rows, inputs), drawn(outputs, inputs)
    steps = (np.maximum(x.max(axis=1), 0) - np.minimum(x.min(axis=1), 0)) / 255
    weight_steps = np.abs(weight).max(axis=1) / 127
    room = steps[:, None] * np.abs(weight).sum(axis=1) / 2 + np.abs(x).sum(axis=1)[:, None] * weight_steps / 2
    room += inputs * steps[:, None] * weight_steps / 4 + 1e-5
    assert (
        np.abs(multiplied_int8(x, weight, kernels) - x.astype(np.float64) @ weight.astype(np.float64).T) <= room * 1.01
    ).all()


@pytest.mark.parametrize("value", [0.0, 3.5, -3.5])
def test_int8_rows_that_are_all_equal(kernels, value):
    x, weight = np.full((4, 48), value, np.float32), drawn(10, 48)
    exact = x.astype(np.float64) @ weight.astype(np.float64).T
    np.testing.assert_allclose(multiplied_int8(x, weight, kernels), exact, atol=0.03 * max(np.abs(exact).max(), 1e-9))


@pytest.mark.parametrize("product", [multiplied, multiplied_int8])
def test_a_row_does_not_depend_on_how_many_there_are(kernels, product):
    x, weight = drawn(31, 130), drawn(150, 130)
    together = product(x, weight, kernels)
    for count in (1, 2, 5, 6, 7, 13):
        assert (product(x[:count], weight, kernels) == together[:count]).all()
        assert (product(np.ascontiguousarray(x[-count:]), weight, kernels) == together[-count:]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_never_becomes_a_number(kernels, bad):
    x, weight = drawn(8, 70), np.abs(drawn(5, 70)) + 1
    x[3, 11] = bad
    for y in (multiplied(x, weight, kernels), multiplied_int8(x, weight, kernels)):
        assert not np.isfinite(y[3]).any()
        assert np.isfinite(np.delete(y, 3, axis=0)).all()


EXACT = {
    "gelu": lambda x: x * 0.5 * (1 + erf(x / np.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-np.clip(x, -700, 700))),
    "silu": lambda x: x / (1 + np.exp(-np.clip(x, -700, 700))),
}


@pytest.mark.parametrize("name", EXACT)
def test_activations(kernels, name):
    x = np.concatenate([np.linspace(-12, 12, 10_001), [0, -0.0, 1e-30, -1e-30, 88, -88, 500, -500]])[None].astype(np.float32)
    y = np.empty_like(x)
    _native.activate(x, name, y, kernels)
    np.testing.assert_allclose(y, EXACT[name](x.astype(np.float64)), atol=1e-6, rtol=5e-7)
    _native.activate(np.full_like(x, np.nan), name, y, kernels)
    assert np.isnan(y).all() or name == "relu"


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (2, 16), (7, 384), (4, 1023)], ids=str)
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_norms(kernels, shape, offset):
    x, weight, bias = drawn(*shape) + np.float32(offset), drawn(shape[1]), drawn(shape[1])
    y = np.empty_like(x)
    _native.normalise(x, weight, bias, 1e-5, y, kernels)
    wide = x.astype(np.float64)
    exact = (wide - wide.mean(axis=1, keepdims=True)) / np.sqrt(wide.var(axis=1, keepdims=True) + 1e-5) * weight + bias
    np.testing.assert_allclose(y, exact, atol=2e-5 * (1 + offset))
    _native.normalise(np.full_like(x, 3.0), weight, None, 1e-5, y, kernels)
    np.testing.assert_allclose(y, 0, atol=1e-4)


@pytest.mark.parametrize("tokens", [1, 2, 23, 24, 25, 63, 64, 65, 130, 511])
@pytest.mark.parametrize(("heads", "size"), [(2, 32), (1, 64), (3, 5), (1, 72)])
@pytest.mark.parametrize("window", [0, 1, 64])
def test_attention(kernels, tokens, heads, size, window):
    qkv, width = drawn(tokens, 3 * heads * size), heads * size
    y = np.full((tokens, width), np.nan, np.float32)
    _native.attend(qkv, y, heads, size**-0.5, window, kernels)
    query, key, value = (
        part.reshape(tokens, heads, size).transpose(1, 0, 2) for part in np.split(qkv.astype(np.float64), 3, axis=1)
    )
    products = query @ key.transpose(0, 2, 1) * size**-0.5
    places = np.arange(tokens)
    if window:
        products[:, np.abs(places[:, None] - places) > window] = -np.inf
    weights = np.exp(products - products.max(axis=2, keepdims=True))
    weights /= weights.sum(axis=2, keepdims=True)
    exact = (weights @ value).transpose(1, 0, 2).reshape(tokens, width)
    np.testing.assert_allclose(y, exact, atol=1e-5)
    first = np.empty((1, width), np.float32)
    _native.attend(qkv, first, heads, size**-0.5, window, kernels)
    assert (first == y[:1]).all()


def test_every_finite_half_becomes_the_float_it_is(kernels):
    halves = np.arange(1 << 16, dtype=np.uint16)
    halves = halves[np.isfinite(halves.view(np.float16))]
    y = np.empty(len(halves), np.float32)
    _native.widen(halves, y, kernels)
    assert (y == halves.view(np.float16).astype(np.float32)).all()
    _native.widen(halves[:3], y[:3], kernels)


# ---- networks


def native_scores(folder, precision, kernels):
    """Return logits of a folder's model on one instruction set, all pairs of its fixture at once and one at a time."""
    spec = models.read(folder)
    checkpoint = Checkpoint(spec.weights, spec.family.prefix)
    graph = NativeGraph(checkpoint, Packed("tests", precision), precision, instruction_set=kernels)
    family = spec.family
    rows = network._pooled(spec, family, graph)
    runtime = NativeRuntime(*graph.finish((family.native_head or family.head)(graph, spec.config, rows)))
    checkpoint.close()
    tokenizer = PairTokenizer(folder, spec.max_length, spec.config["model_type"])
    pairs = list(tokenizer.pairs("rank the query list", ["red", "a list of words " * 9, "query " * 40, "rank", "x " * 500]))
    given = [pair.ids for pair in pairs], [tokenizer.segments(pair) for pair in pairs]
    together = runtime.run(*given)[:, 0]
    alone = [runtime.run([ids], [segments])[0, 0] for ids, segments in zip(*given, strict=True)]
    assert together.tolist() == alone, "a score depends on its neighbours"
    return together


@pytest.mark.parametrize("name", ["bert", "electra", "roberta", "modernbert", "late"])
def test_all_instruction_sets_agree(name):
    """In int8 a rounding that falls the other way, where products are not fused with sums, moves these wide weights' scores."""
    for precision, room in (("float32", 1e-4), ("int8", 0.05)):
        scores = [native_scores(PARITY / name, precision, kernels) for kernels in SETS]
        for found in scores[1:]:
            np.testing.assert_allclose(found, scores[0], atol=room, rtol=0)


def test_many_threads_get_what_one_gets():
    spec = models.read(PARITY / "modernbert")
    runtime, draw = network.load(spec, "int8", "native"), np.random.default_rng(0)
    batches = [[draw.integers(5, 60, size, np.int32) for size in draw.integers(1, 90, 7)] for _ in range(8)]
    segments = [[np.zeros(len(ids), np.int32) for ids in batch] for batch in batches]
    expected, wrong = [runtime.run(*given) for given in zip(batches, segments, strict=True)], []

    def again(first):
        for at in range(first, first + 24):
            if not (runtime.run(batches[at % 8], segments[at % 8]) == expected[at % 8]).all():
                wrong.append(at)

    threads = [threading.Thread(target=again, args=(at,)) for at in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.fixture
def model(tmp_path):
    shutil.copytree(PARITY / "bert", tmp_path / "model")
    return tmp_path / "model"


def spoil(model, **changed):
    weights = load_file(model / "model.safetensors")
    for name, value in changed.items():
        key = next(each for each in weights if each.endswith(name.replace("__", ".")))
        weights[key] = value(weights[key])
    save_file(weights, model / "model.safetensors")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["attention__self__query__weight", "word_embeddings__weight", "LayerNorm__bias"])
def test_weights_that_are_not_finite_are_refused(model, name, bad):
    def put(weight):
        weight = weight.copy()
        weight.flat[0] = bad
        return weight

    spoil(model, **{name: put})
    with pytest.raises(ModelError, match="NaN or infinity"):
        podium.load(model, runtime="native")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("attention__output__dense__weight", lambda w: w[:, :-1]),
        ("intermediate__dense__weight", lambda w: w[:-1]),
        ("output__LayerNorm__weight", lambda w: w[:-3]),
        ("word_embeddings__weight", lambda w: np.ascontiguousarray(w[:, :-2])),
        ("word_embeddings__weight", lambda w: w[:2]),
        ("token_type_embeddings__weight", lambda w: w[:1]),
        ("classifier__weight", lambda w: w[:, :5]),
    ],
)
def test_weights_that_do_not_fit_are_refused_at_load(model, name, change):
    spoil(model, **{name: change})
    with pytest.raises(ModelError):
        podium.load(model, runtime="native")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_cache_of_weights_is_made_again(data):
    folder = SCRATCH / "fuzz"
    if not folder.exists():
        shutil.copytree(PARITY / "bert", folder)
    expected = LocalScorer(from_folder(folder), runtime="native").score("rank", ["query"]).raw
    checkpoint = Checkpoint(models.read(folder).weights)
    path = Packed(checkpoint.digest(), "float32").path
    whole = path.read_bytes()
    last = data.draw(st.sampled_from([whole.index(b"}") + 200, len(whole) - 1]))
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, last))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.none(), st.integers(0, len(whole))))
    path.write_bytes(bytes(damaged[:cut]))
    try:
        assert LocalScorer(from_folder(folder), runtime="native").score("rank", ["query"]).raw == expected
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_lost_or_swapped_page_of_cached_weights_is_noticed(precision):
    load = lambda: podium.load("podium-mini", runtime="native", precision=precision).scorer  # noqa: E731
    expected = load().score("a red fruit", ["a ripe apple", "the sea"]).raw
    path = Packed(load().spec.digest, precision).path
    whole = path.read_bytes()
    middle = len(whole) // 2 // 4096 * 4096
    pages = whole[middle : middle + 4096], whole[middle + 4096 : middle + 8192]
    for damaged in (bytes(4096) + pages[1], pages[1] + pages[0], pages[0][:-1] + b"\x55" + pages[1]):
        with atomic_write(path) as file:  # a new file: rerankers of other tests have the old one mapped
            file.write(whole[:middle] + damaged + whole[middle + 8192 :])
        assert load().score("a red fruit", ["a ripe apple", "the sea"]).raw == expected
        assert path.read_bytes() == whole, "it is written anew"


@pytest.mark.parametrize("spoilt", [b"", b"x", b"podium packed 1\n", b"podium packed 1\n" + b"\xff" * 8, b"\0" * 4096])
def test_a_cache_that_is_no_cache_is_made_again(spoilt):
    expected = LocalScorer(from_folder(PARITY / "bert"), runtime="native").score("rank", ["query"]).raw
    path = Packed(Checkpoint(models.read(PARITY / "bert").weights).digest(), "float32").path
    path.write_bytes(spoilt)
    assert LocalScorer(from_folder(PARITY / "bert"), runtime="native").score("rank", ["query"]).raw == expected
    assert path.read_bytes() != spoilt


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_a_damaged_checkpoint_is_an_error_of_ours_or_loads(data):
    folder = SCRATCH / "damaged"
    if not folder.exists():
        shutil.copytree(PARITY / "bert", folder)
    whole = (PARITY / "bert" / "model.safetensors").read_bytes()
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(0, 6000))] = data.draw(st.integers(0, 255))
    (folder / "model.safetensors").write_bytes(bytes(damaged))
    try:
        LocalScorer(from_folder(folder), runtime="native").score("rank", ["query"])
    except ModelError:
        pass


def test_what_python_could_get_wrong_is_refused_not_crashed():
    net = _native.Network()
    words = net.embed(drawn(10, 8), None, False, None, "counted", 0)
    for wrong in (
        lambda: net.norm(words, drawn(7), None, 1e-5),
        lambda: net.norm(99, drawn(8), None, 1e-5),
        lambda: net.norm(-1, drawn(8), None, 1e-5),
        lambda: net.linear(words, pack_float32(drawn(4, 9)), 4, None),
        lambda: net.linear(words, pack_float32(drawn(4, 8)), 65, None),
        lambda: net.linear(words, pack_float32(drawn(4, 8)), 4, drawn(5)),
        lambda: net.linear(words, pack_float32(drawn(4, 8)), 4, None, "square"),
        lambda: net.linear(words, pack_float32(drawn(4, 8)), 4, None, "none", words),
        lambda: net.attend(words, 0, words, 0, 0, 3, 3, 1.0),
        lambda: net.finish(words),
        lambda: _native.Network("sse9"),
    ):
        with pytest.raises(ValueError, match=r"\w"):
            wrong()
    net.finish(net.linear(net.mean(words), pack_float32(drawn(2, 8)), 2, None))
    ids, none = np.arange(6, dtype=np.int32), np.zeros(6, np.int32)
    result = np.zeros((2, 2), np.float32)
    net.run(ids, none, np.array([0, 2, 6]), result)
    assert result.any()
    for arguments in (
        (ids, none, np.array([0, 2, 7]), result),
        (ids, none, np.array([0, 6, 6]), result),
        (ids, none, np.array([0, 7, 6]), result),
        (ids, none, np.array([1, 2, 6]), result),
        (ids, none[:3], np.array([0, 2, 6]), result),
        (ids, none, np.array([0, 2, 6]), result[:1]),
    ):
        with pytest.raises(ValueError, match=r"\w"):
            net.run(*arguments)
    for beyond in (10, -1, 2**31 - 1):
        with pytest.raises(IndexError, match="token id"):
            net.run(np.full(6, beyond, np.int32), none, np.array([0, 2, 6]), result)


def test_other_weights_after_the_encoder_are_other_weights(tmp_path):
    shutil.copytree(PARITY / "ettin", tmp_path / "model")
    before = LocalScorer(from_folder(tmp_path / "model"), runtime="native")
    identity = before.identity
    (file,) = (tmp_path / "model" / "4_Dense").glob("*.safetensors")
    save_file({name: weight * 2 for name, weight in load_file(file).items()}, file)
    after = LocalScorer(from_folder(tmp_path / "model"), runtime="native")
    assert after.score("rank", ["query"]).raw != before.score("rank", ["query"]).raw
    assert after.identity != identity


def test_where_nothing_can_be_kept_everything_still_runs(tmp_path):
    (tmp_path / "file").write_text("in the way")
    script = (
        f"import podium; r = podium.load({str(PARITY / 'bert')!r}); q = podium.load('podium-mini', precision='auto');"
        "print(r.scorer.runtime, r.score('rank', ['query'])[0], q.scorer.runtime)"
    )
    environment = os.environ | {"PODIUM_CACHE": str(tmp_path / "file" / "below")}
    ran = subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True)
    expected = LocalScorer(from_folder(PARITY / "bert"), runtime="native").score("rank", ["query"]).values[0]
    assert ran.stdout.split() == ["native", str(expected), "native"]


# ---- which runtime


def test_a_family_the_core_does_not_run_goes_to_onnx_runtime():
    with podium.load(PARITY / "deberta-v3") as reranker:
        assert reranker.scorer.runtime == "onnx"
    with pytest.raises(UnsupportedModel, match="runtime='onnx'"):
        podium.load(PARITY / "deberta-v3", runtime="native")
    with pytest.raises(UnsupportedModel, match="its own ONNX file"):
        podium.load(PARITY / "exported-albert", runtime="native")


def test_the_choice_is_measured_once_and_kept(tmp_path):
    shutil.copytree(PARITY / "electra", tmp_path / "model")
    spoil(tmp_path / "model", classifier__dense__bias=lambda w: w + np.float32(0.25))
    kept = SCRATCH / "podium" / "chosen"
    before = set(kept.glob("*")) if kept.exists() else set()
    spec = models.read(tmp_path / "model")
    first = choose(spec, "float32", "auto")
    (path,) = set(kept.glob("*")) - before
    assert set(first.measured) == {"native float32", "onnx float32"}
    made = path.stat().st_mtime_ns
    assert choose(spec, "float32", "auto") == first
    assert path.stat().st_mtime_ns == made
    every = choose(spec, "auto", "auto")
    assert set(every.measured) == {"native float32", "onnx float32", "native int8", "onnx int8"}
    assert every.measured.items() >= first.measured.items()
    path.write_text(json.dumps({"native float32": 1.0, "onnx float32": 2.0, "native int8": 3.0, "onnx int8": 2.2}))
    assert (choose(spec, "float32", "auto").runtime, choose(spec, "int8", "auto").runtime) == ("onnx", "native")
    assert choose(spec, "auto", "auto").precision == "int8"
    path.write_text(json.dumps({"native float32": 2.0, "onnx float32": 1.0, "native int8": 2.1, "onnx int8": 2.2}))
    assert choose(spec, "auto", "auto").precision == "float32", "int8 is not worth a tenth"
    for damage in ("", "[]", '{"native float32": "fast"}', '{"native float32": -1, "onnx float32": NaN}'):
        path.write_text(damage)
        assert set(choose(spec, "float32", "auto").measured) == {"native float32", "onnx float32"}
    assert choose(spec, "int8", "onnx").measured == {}


WITHOUT = "import sys; sys.modules['podium._native'] = None; import podium; "


def test_without_the_core_everything_works_and_the_log_says_so_once():
    script = WITHOUT + (
        "a = podium.load('podium-mini'); b = podium.load('podium-mini', precision='int8');"
        "print(a.scorer.runtime, b.scorer.runtime, len(a.rerank('q', ['one', 'two'])))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["onnx", "onnx", "2"]
    assert ran.stderr.count("without podium's native core") == 1
    assert "compiler" in ran.stderr
    refused = WITHOUT + "podium.load('podium-mini', runtime='native')"
    ran = subprocess.run([sys.executable, "-c", refused], capture_output=True, text=True, check=False)
    assert "UnsupportedModel" in ran.stderr
    assert "runtime='onnx'" in ran.stderr


def test_with_the_core_nothing_is_said(caplog):
    with caplog.at_level(logging.DEBUG, "podium"), podium.load(PARITY / "bert", runtime="native") as reranker:
        reranker.rerank("q", ["a"])
    assert not caplog.records


def test_the_native_core_does_not_load_onnx_runtime():
    """That is most of the time and memory of a short program."""
    script = (
        "import sys, podium; r = podium.load('podium-mini', precision='int8', runtime='native'); r.rerank('q', ['a']);"
        "print([name for name in ('onnx', 'onnxruntime', 'huggingface_hub', 'httpx') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ)
    assert ran.stdout.strip() == "[]"


def test_a_daemon_thread_may_hold_a_model_when_the_process_ends():
    script = (
        "import threading, podium\n"
        "loaded, reranker = threading.Event(), podium.load('podium-mini', runtime='native')\n"
        "def hold(reranker):\n"
        "    reranker.rank('q', ['a'])\n"
        "    loaded.set()\n"
        "    threading.Event().wait()\n"
        "threading.Thread(target=hold, args=[reranker], daemon=True).start()\n"
        "loaded.wait()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert done.stderr == ""
