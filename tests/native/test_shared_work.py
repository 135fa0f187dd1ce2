"""The texts of a call that several workers compute together: groups with a shared prefix, cancelling, and errors."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError

import numpy as np
import pytest

from environment import HAS_CORE, PARITY_MODELS

if not HAS_CORE:
    pytest.skip("podium was installed without its native core: no C++ compiler", allow_module_level=True)

from podium.errors import ModelError
from podium.local.build import load, load_decoder
from podium.local.runtimes import Variant
from podium.local.runtimes.native.runtime import MIN_SHARED_WORK, NativeRuntime
from podium.local.runtimes.native.shared_work import MAX_PREFIX_BYTES, MIN_PREFIX_TOKENS, SharedWork
from podium.local.spec import read_spec
from podium.schedule import Work, Workers

DRAW = np.random.default_rng(5)


def random_ids(count):
    return DRAW.integers(1, 200, count).astype(np.int32)


@pytest.fixture(scope="module")
def runtime():
    return load_decoder(read_spec(PARITY_MODELS / "decoders" / "qwen3"), Variant("native", "float32"), output_rows=[3, 5])


@pytest.fixture(scope="module")
def texts():
    """Texts of two queries, each with its own prefix, and texts without one: (ids, number of shared tokens)."""
    first, second = random_ids(40), random_ids(70)
    lengths = [1, 30, 150, 60, 60, 3, 24]
    shared = [(np.concatenate([prefix, random_ids(length)]), len(prefix)) for prefix in (first, second) for length in lengths]
    return shared + [(random_ids(length), 0) for length in lengths]


def shared_work(runtime, texts):
    ids, shared_tokens = zip(*texts, strict=True)
    return SharedWork(runtime, ids, [np.zeros(len(text), np.int32) for text in ids], shared_tokens)


def run_alone(runtime, texts):
    return np.concatenate([runtime.run([ids], [np.zeros(len(ids), np.int32)]) for ids, _ in texts])


@pytest.mark.parametrize("workers", [1, 2, 5], ids=["1-thread", "2-threads", "5-threads"])
def test_results_are_those_of_each_text_alone(runtime, texts, workers):
    work = shared_work(runtime, texts)
    results = np.empty((len(texts), 2), np.float32)

    def run(indices):
        results[list(indices)] = work.run(indices)

    options = {"at_once": 128, "workers": workers, "groups": work.groups, "helpers": work}
    Workers(workers).run(Work(work.lengths, run, **options))
    np.testing.assert_array_equal(results, run_alone(runtime, texts))


def test_tokens_of_a_prefix_are_not_computed_again(runtime, texts):
    work = shared_work(runtime, texts)
    assert work.lengths == [len(ids) - shared_tokens for ids, shared_tokens in texts]
    assert work.groups == [1] * 7 + [2] * 7 + [0] * 7


def test_prefix_of_one_text_is_not_shared(runtime):
    work = shared_work(runtime, [(random_ids(50), 40), (random_ids(50), 40)])
    assert work.groups == [0, 0]
    assert work.lengths == [50, 50]


def test_short_prefix_is_not_shared(runtime):
    ids = random_ids(50)
    assert shared_work(runtime, [(ids, MIN_PREFIX_TOKENS - 1)] * 2).groups == [0, 0]
    assert shared_work(runtime, [(ids, MIN_PREFIX_TOKENS)] * 2).groups == [1, 1]


def test_text_that_is_the_prefix_keeps_its_last_token(runtime):
    ids = random_ids(50)
    work = shared_work(runtime, [(ids, 50), (ids, 50)])
    assert work.lengths == [1, 1]
    np.testing.assert_array_equal(work.run([0, 1]), run_alone(runtime, [(ids, 0)] * 2))


def test_prefix_beyond_the_limit_is_shared_in_part(texts):
    """The limit is that of memory. The tokens after it are computed with each text."""
    runtime = load_decoder(read_spec(PARITY_MODELS / "decoders" / "qwen3"), Variant("native", "float32"), output_rows=[3, 5])
    columns = runtime.network.prefix_columns
    assert runtime.max_prefix_tokens == MAX_PREFIX_BYTES // (4 * columns) > 256
    limited = type("Limited", (type(runtime),), {"max_prefix_tokens": 30})(runtime.network, 2)
    work = shared_work(limited, texts[:7])
    assert work.lengths == [len(ids) - 30 for ids, _ in texts[:7]]
    np.testing.assert_array_equal(work.run(range(7)), run_alone(runtime, texts[:7]))


def test_small_network_without_a_prefix_is_not_shared(runtime):
    ids = [random_ids(5)]
    assert runtime.shared_work(ids, ids, [0]) is None
    assert runtime.shared_work(ids, ids, [4]) is not None


def test_texts_are_shared_if_they_take_long_together(runtime):
    runtime = NativeRuntime(runtime.network, 2, size=MIN_SHARED_WORK // 100)
    short, long = [random_ids(49)] * 2, [random_ids(50)] * 2
    assert runtime.shared_work(short, short, [0, 0]) is None
    assert runtime.shared_work(long, long, [0, 0]) is not None


@pytest.mark.parametrize("name", ["modernbert", "ettin"])
@pytest.mark.parametrize("workers", [2, 5], ids=["2-threads", "5-threads"])
def test_int8_results_are_those_of_each_text_alone(name, workers):
    runtime = load(read_spec(PARITY_MODELS / name), Variant("native", "int8"))
    texts = [(random_ids(length), 0) for length in (1, 63, 64, 65, 110, 30, 120)]
    work = shared_work(runtime, texts)
    results = np.empty((len(texts), 1), np.float32)

    def run(indices):
        results[list(indices)] = work.run(indices)

    Workers(workers).run(Work(work.lengths, run, at_once=128, workers=workers, helpers=work))
    np.testing.assert_array_equal(results, run_alone(runtime, texts))


def test_cancelled_work_raises(runtime, texts):
    work = shared_work(runtime, texts)
    work.cancel()
    with pytest.raises(CancelledError):
        work.run([0])


def test_text_beyond_the_positions_is_an_error_for_all_that_compute_it(runtime):
    work = shared_work(runtime, [(random_ids(257), 0)])
    with pytest.raises(ModelError, match="257 tokens"):
        work.run([0])
    assert work.new_helper() is None


def test_helper_returns_when_it_is_released(runtime, texts):
    work = shared_work(runtime, texts)
    with work._running():
        flag = work.new_helper()
        thread = threading.Thread(target=work.help, args=(flag,))
        thread.start()
        work.release_helpers()
        thread.join(60)
        assert not thread.is_alive()
