"""Models on this machine: what loads, what is refused and why, int8, threads, cancelling, memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import podium
from environment import NEEDS_CORE, PARITY, SCRATCH
from podium.errors import InvalidInput, ModelError, ModelNotFound, PodiumError, UnsupportedModel
from podium.local import graph as graphs
from podium.local.cache import cache_folder
from podium.local.cpu import cores
from podium.local.files.checkpoint import Checkpoint
from podium.local.files.folder import from_folder
from podium.local.runtimes.int8 import Quantised, quantise
from podium.local.runtimes.onnx.graph import OnnxGraph
from podium.local.runtimes.onnx.runtime import OnnxRuntime
from podium.local.schedule import Work, Workers, job
from podium.local.scorer import LocalScorer


@pytest.fixture
def model(tmp_path):
    """A copy of a small BERT that a test may spoil."""
    return shutil.copytree(PARITY / "bert", tmp_path / "model")


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(folder, change, file="model.safetensors"):
    weights = load_file(folder / file)
    change(weights)
    save_file(weights, folder / file)


def test_the_bundled_model_puts_washington_first(mini, question, passages):
    results, scores = mini.rank(question, passages, limit=3)
    assert results[0] == passages[3]
    assert scores == sorted(scores, reverse=True)


def test_int8_puts_washington_first_too(question, passages, mini):
    """The best document has a logit of 0.82, the next −0.01: int8 must not move any far."""
    with podium.load("podium-mini", precision="int8") as quantised:
        exact, rounded = mini.scorer.score(question, passages).raw, quantised.scorer.score(question, passages).raw
    assert int(np.argmax(rounded)) == 3
    assert np.abs(np.subtract(exact, rounded)).max() < 0.2


# ---- refusals, each with its remedy


def test_a_checkpoint_without_a_head_is_refused(model):
    edit(model / "config.json", architectures=["BertModel"])
    edit_weights(model, lambda weights: [weights.pop(name) for name in list(weights) if name.startswith("classifier")])
    with pytest.raises(UnsupportedModel, match=r"no trained head \(classifier\.weight missing.*BertModel.*random"):
        podium.load(model)


def test_a_modular_head_without_weights_is_refused(tmp_path):
    model = shutil.copytree(PARITY / "ettin", tmp_path / "ettin")
    (model / "2_Dense" / "model.safetensors").unlink()
    with pytest.raises(UnsupportedModel, match="the head is missing"):
        podium.load(model)


def test_a_modular_model_that_ends_in_an_embedding_is_refused(tmp_path):
    model = shutil.copytree(PARITY / "ettin", tmp_path / "ettin")
    modules = json.loads((model / "modules.json").read_text())
    (model / "modules.json").write_text(json.dumps(modules[:3]))
    with pytest.raises(UnsupportedModel, match="not one score"):
        podium.load(model)


def test_a_classifier_of_three_labels_is_refused(model):
    def widen(weights):
        weights["classifier.weight"] = np.repeat(weights["classifier.weight"], 3, axis=0)
        weights["classifier.bias"] = np.repeat(weights["classifier.bias"], 3)

    edit_weights(model, widen)
    edit(model / "config.json", id2label={"0": "contradiction", "1": "entailment", "2": "neutral"})
    with pytest.raises(UnsupportedModel, match=r"3 labels \['contradiction'.*trained to rank"):
        podium.load(model)


def test_pickles_are_never_loaded(model):
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    with pytest.raises(UnsupportedModel, match=r"pytorch_model\.bin, a pickle"):
        podium.load(model)


def test_remote_code_is_never_run(model):
    edit(model / "config.json", auto_map={"AutoModel": "modeling.Model"})
    with pytest.raises(UnsupportedModel, match="auto_map"):
        podium.load(model)


def test_an_unknown_family_says_what_was_looked_for(model):
    edit(model / "config.json", model_type="t5")
    with pytest.raises(UnsupportedModel, match=r"'t5'.*bert, electra.*onnx/model\.onnx"):
        podium.load(model)


@pytest.mark.parametrize("activation", ["torch.nn.modules.activation.Softmax", "torch.nn.modules.activation.GELU"])
def test_an_activation_that_could_change_the_order_is_refused(model, activation):
    edit(model / "config.json", sentence_transformers={"activation_fn": activation})
    with pytest.raises(UnsupportedModel, match=r"activation.*Sigmoid"):
        podium.load(model)


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}, "logit"),
        ({"sentence_transformers": {}, "sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}, "logit"),
        ({"sentence_transformers": None, "sbert_ce_default_activation_function": None}, "sigmoid"),
        ({"sentence_transformers": {"activation_fn": "mine.Activation"}}, "sigmoid"),
    ],
)
def test_the_activation_is_found_where_the_reference_finds_it(model, config, kind):
    edit(model / "config.json", **config)
    with podium.load(model) as reranker:
        assert reranker.rerank("q", ["a"]).score_kind == kind


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (lambda m: (m / "config.json").unlink(), ModelNotFound, "no config.json"),
        (lambda m: (m / "config.json").write_text("{"), ModelError, "not valid JSON"),
        (lambda m: (m / "tokenizer.json").unlink(), ModelNotFound, "no tokenizer"),
        (lambda m: (m / "model.safetensors").unlink(), ModelNotFound, "no weights"),
        (lambda m: (m / "model.safetensors").write_bytes(b"x" * 100), ModelError, "damaged"),
        (lambda m: (m / "model.safetensors").write_bytes((m / "model.safetensors").read_bytes()[:-500]), ModelError, "damaged"),
        (lambda m: (m / "model.safetensors").write_bytes(b""), ModelError, "damaged"),
        (lambda m: edit(m / "config.json", num_attention_heads=5), ModelError, "5 attention heads"),
        (lambda m: edit(m / "config.json", num_hidden_layers=9), ModelError, "no tensor"),
        (lambda m: edit(m / "config.json", hidden_act="mish"), UnsupportedModel, "'mish'"),
        (lambda m: edit_weights(m, lambda w: w["classifier.weight"].fill(np.nan)), ModelError, "NaN"),
        (lambda m: edit_weights(m, lambda w: w.pop("bert.encoder.layer.1.output.dense.weight")), ModelError, "no tensor"),
        (lambda m: (m / "modules.json").write_text('[{"type": "x.Transformer", "path": "../.."}]'),
         UnsupportedModel, "outside"),
        (lambda m: (m / "modules.json").write_text('[{"type": "x.Transformer", "path": ""}, {"type": "x.CNN", "path": ""}]'),
         UnsupportedModel, "CNN"),
    ],
)  # fmt: skip
def test_a_damaged_model_is_an_error_that_says_how(model, spoil, error, words):
    spoil(model)
    with pytest.raises(error, match=words):
        podium.load(model)


def narrow(name):
    return lambda m: edit_weights(m, lambda w: w.update({name: np.ascontiguousarray(w[name][:1])}))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda m: edit_weights(m, lambda w: w.pop("classifier.bias")),
        lambda m: edit_weights(m, lambda w: w.pop("bert.pooler.dense.bias")),
        lambda m: edit_weights(m, lambda w: w.pop("bert.embeddings.LayerNorm.bias")),
        narrow("bert.embeddings.LayerNorm.weight"),
        narrow("bert.encoder.layer.0.output.dense.bias"),
        narrow("bert.embeddings.position_embeddings.weight"),
        lambda m: edit_weights(m, lambda w: w.update({"classifier.bias": np.array(5.0, np.float32)})),
        lambda m: edit_weights(m, lambda w: w.update({"bert.pooler.dense.weight": np.ones((32, 32), np.int8)})),
        lambda m: edit(m / "config.json", num_hidden_layers=1),
        lambda m: edit(m / "config.json", num_hidden_layers=True),
        lambda m: edit(m / "config.json", hidden_size=64),
        lambda m: edit(m / "tokenizer.json", post_processor=None),
    ],
)
def test_what_would_load_and_score_differently_is_refused(model, spoil):
    """Sizes that would be spread, parts that would be left out: each gave other scores without a word."""
    spoil(model)
    with pytest.raises(ModelError):
        podium.load(model)


@pytest.mark.parametrize("content", ["[]", "5", "null", '"x"', "[" * 100_000])
@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "modules.json", "tokenizer.json", "vocab.txt"])
def test_descriptions_that_are_nonsense_are_a_model_error(model, file, content):
    (model / file).write_text(content)
    if file == "vocab.txt":
        (model / "tokenizer.json").unlink()
    with contextlib.suppress(ModelError), podium.load(model) as reranker:
        assert reranker.rerank("rank", ["query"]).usage.pairs == 1


@pytest.mark.parametrize("value", ["3", [3], None, 2.5, 0, -1, 10**9])
@pytest.mark.parametrize("key", ["num_hidden_layers", "num_attention_heads", "hidden_size", "max_position_embeddings"])
def test_settings_that_are_nonsense_are_a_model_error(model, key, value):
    edit(model / "config.json", **{key: value})
    with pytest.raises(ModelError):
        podium.load(model)


def test_texts_without_tokens_are_noted(model):
    (model / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]))
    with podium.load(PARITY / "bert") as reranker:
        ranking = reranker.rerank("rank", ["\ufffd", "query"])
    assert any("no token that the model knows" in note for note in ranking.notes)


def test_a_missing_shard_is_named(tmp_path):
    model = shutil.copytree(PARITY / "bert-float16-sharded", tmp_path / "model")
    (model / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelNotFound, match="model-00002-of-00002"):
        podium.load(model)


def test_an_index_that_points_elsewhere_is_not_followed(tmp_path):
    model = shutil.copytree(PARITY / "bert-float16-sharded", tmp_path / "model")
    index = model / "model.safetensors.index.json"
    index.write_text(index.read_text().replace("model-00002", "../model-00002"))
    with pytest.raises(ModelError, match="outside its own folder"):
        podium.load(model)


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "int4"},
        {"threads": 0},
        {"threads": True},
        {"max_length": -1},
        {"max_length": 2.5},
        {"api_key": "x"},
        {"timeout": 3},
    ],
)
def test_options_that_do_not_fit_are_refused(options):
    with pytest.raises(InvalidInput):
        podium.load("podium-mini", **options)


@pytest.mark.parametrize("name", ["podium-mino", "nothing", "./nowhere", "coher:x", "C:nowhere", "a b/c", "../x/y/z"])
def test_a_name_that_is_no_model_is_an_error(name):
    with pytest.raises(ModelNotFound):
        podium.load(name)


@pytest.mark.parametrize("option", [{"revision": "main"}, {"cache_dir": "x"}, {"token": "t"}])
def test_options_of_the_hub_are_refused_elsewhere(option):
    for name in ("podium-mini", PARITY / "bert"):
        with pytest.raises(InvalidInput, match="does not have the option"):
            podium.load(name, **option)


@pytest.mark.parametrize(
    "name", ["a/..", "a--b/c", "a/b..c", "a/" + "b" * 120, "./" + "a" * 5000, "a" * 5000, "~nosuchuser/x", "a\0b"]
)
def test_names_that_nothing_can_have_are_an_error_of_ours(name):
    with pytest.raises(ModelNotFound):
        podium.load(name)


@pytest.mark.parametrize("option", [{"revision": "../../x"}, {"revision": 5}, {"revision": ""}, {"cache_dir": 5}])
def test_options_of_the_hub_are_checked(option):
    with pytest.raises(InvalidInput):
        podium.load("acme/bert", **option)


def test_near_misses_are_suggested():
    with pytest.raises(ModelNotFound, match=r"did you mean podium-mini\?"):
        podium.load("podium-min")
    with pytest.raises(ModelNotFound, match=r"did you mean cohere:rerank-v3\.5\?"):
        podium.load("coheer:rerank-v3.5")


def test_a_shorter_maximum_length_is_kept_and_a_longer_one_is_not():
    with podium.load(PARITY / "bert", max_length=16) as reranker:
        assert reranker.rerank("rank", ["query " * 40]).usage.tokens == 16
    with podium.load(PARITY / "bert", max_length=4000) as reranker:
        assert reranker.rerank("rank", ["query " * 90]).usage.tokens == 64


# ---- int8


NATIVE = ("bert", "roberta", "xlm-roberta-bfloat16", "distilbert", "electra", "modernbert", "ettin", "late")


def test_quantised_weights_are_near_and_never_overflow():
    weight = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    weight[2] = 0
    whole, scale = quantise(weight)
    assert whole.shape == (5, 7)
    assert whole.dtype == np.int8
    assert np.abs(whole.T * scale[:, None] - weight).max() <= np.abs(weight).max() / 127 / 2 + 1e-7


@pytest.mark.parametrize("signed", [True, False])
def test_int8_products_are_exact_whichever_way_the_processor_needs_them(signed, tmp_path):
    """Weights as int8 and as uint8 must give the same; which one is used depends on the processor."""
    weight = np.random.default_rng(1).standard_normal((8, 64)).astype(np.float32)
    save_file({"dense.weight": weight}, tmp_path / "x.safetensors")
    graph = OnnxGraph(Checkpoint([tmp_path / "x.safetensors"]), Quantised("none"), signed_int8=signed)
    rows = np.random.default_rng(2).standard_normal((3, 64)).astype(np.float32) * 30
    row = graph.op("Gather", graph.constant(rows, "rows"), graph.input("input_ids"))
    total = graph.op("ReduceSum", graph.op("Abs", graph.linear(row, "dense", bias=False)), keepdims=1)
    runtime = OnnxRuntime.from_graph(graph, total)
    got = runtime.run([np.array([at]) for at in range(3)], [np.array([0])] * 3)[:, 0]
    np.testing.assert_allclose(got, np.abs(rows @ weight.T).sum(axis=1), rtol=0.02)


@pytest.mark.parametrize(
    ("name", "runtime"),
    [(name, "onnx") for name in (*NATIVE, "deberta-v3")] + [pytest.param(name, "native", marks=NEEDS_CORE) for name in NATIVE],
)
def test_int8_keeps_to_float32(name, runtime):
    """These weights are drawn far wider than trained ones are, so only the general direction is asked for."""
    texts = [f"{word} query document rank" * length for word in ("one", "two", "red") for length in (1, 3, 7)]
    with podium.load(PARITY / name, runtime=runtime) as exact:
        expected = exact.scorer.score("rank the query", texts).raw
    with podium.load(PARITY / name, precision="int8", runtime=runtime) as quantised:
        assert np.corrcoef(expected, quantised.scorer.score("rank the query", texts).raw)[0, 1] > 0.9


@pytest.mark.parametrize(("runtime", "folder"), [("onnx", "int8"), pytest.param("native", "native", marks=NEEDS_CORE)])
def test_int8_weights_are_made_once_and_survive_damage(model, runtime, folder):
    def cached():
        return {path.name: path.stat().st_mtime_ns for path in (cache_folder() / folder).glob("*")}

    def score():
        with podium.load(model, precision="int8", runtime=runtime) as reranker:
            return reranker.score("rank", ["query"])

    edit_weights(model, lambda weights: weights["classifier.bias"].fill(0.123))
    before = cached()
    first = score()
    (name,) = set(cached()) - set(before)
    made = cached()[name]
    assert score() == first
    assert cached()[name] == made, "made again though it was there"
    (cache_folder() / folder / name).write_bytes(b"damaged")
    assert score() == first
    edit_weights(model, lambda weights: weights["classifier.bias"].fill(0.5))
    assert score() != first, "other weights, same cache"


@pytest.mark.parametrize(("runtime", "folder"), [("onnx", "int8"), pytest.param("native", "native", marks=NEEDS_CORE)])
def test_two_processes_may_make_int8_weights_at_once(model, runtime, folder):
    edit_weights(model, lambda weights: weights["classifier.bias"].fill(0.777))
    load = f"podium.load({str(model)!r}, precision='int8', runtime={runtime!r})"
    script = f"import podium; print({load}.score('rank', ['query list']))"
    racing = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) for _ in range(3)]
    said = [process.communicate(timeout=120)[0] for process in racing]
    assert all(process.returncode == 0 for process in racing)
    assert len(set(said)) == 1
    assert not list((SCRATCH / "podium" / folder).glob("*.unfinished"))


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(model, tmp_path):
    (tmp_path / "file").write_text("in the way")
    script = f"import podium; print(podium.load({str(model)!r}, precision='int8').score('rank', ['query']))"
    environment = os.environ | {"PODIUM_CACHE": str(tmp_path / "file" / "below")}
    assert subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True).stdout


def test_an_exported_model_runs_as_it_is():
    with pytest.raises(UnsupportedModel, match="float32"):
        podium.load(PARITY / "exported-albert", precision="int8")


# ---- the schedule


def test_work_is_done_longest_first_and_once():
    done = []
    Workers(1).run(Work([3, 9, 1, 9], done.append))
    assert done == [[1], [3], [0], [2]]


def test_short_items_are_run_together_and_fewer_towards_the_end():
    done = []
    Workers(1).run(Work([50, 4, 3, 3, 3, 3, 2, 2, 2], done.append, at_once=10, workers=2))
    assert done[0] == [0]
    assert done[1] == [1]  # 22 tokens are left, a quarter of which is no room for a second
    assert sorted(item for items in done for item in items) == list(range(9))
    together = []
    Workers(1).run(Work([5] * 40, together.append, at_once=10, workers=1))
    assert {len(items) for items in together[:-4]} == {2}
    assert sum(map(len, together)) == 40


def test_a_small_call_passes_a_large_one():
    """… that is under way: it waits for one step of it, not for its end."""
    done, workers, begun = [], Workers(1), threading.Event()

    def large(items):
        begun.set()
        time.sleep(0.002)
        done.append(("large", *items))

    first = threading.Thread(target=workers.run, args=(Work([1] * 60, large),))
    first.start()
    begun.wait(10)
    workers.run(Work([1] * 3, lambda items: done.append(("small", *items))))
    assert len(done) < 30
    assert [kind for kind, _ in done].count("small") == 3
    first.join()
    assert len(done) == 63


def test_small_calls_without_end_do_not_starve_a_large_one():
    """… which gets every fourth step, not what the others leave."""
    done, workers, first = [], Workers(1), threading.Event()

    def small(items):
        first.wait(10)
        done.append("small")

    async def main():
        large = asyncio.create_task(workers.arun(Work([1] * 50, lambda items: done.append("large"))))
        streams = [asyncio.create_task(stream()) for _ in range(3)]
        await asyncio.sleep(0.01)
        first.set()
        await large
        for each in streams:
            each.cancel()
        await asyncio.gather(*streams, return_exceptions=True)

    async def stream():
        while True:
            await workers.arun(Work([1, 1], small))

    blocker = threading.Thread(target=workers.run, args=(Work([1], lambda _: first.wait(10)),))
    blocker.start()
    asyncio.run(main())
    blocker.join()
    assert done.count("large") == 50
    assert done.count("small") < 4 * 2 * 50


@pytest.mark.parametrize("tokens_to_come", [0, 5000])
def test_many_calls_of_one_job_do_not_pass_a_smaller_call(tokens_to_come):
    """Each of the job's calls is smaller than the other call; together they are larger, begun or still to come."""
    order, workers, first = [], Workers(1), threading.Event()
    calls = 2 if tokens_to_come else 40

    async def main():
        with job(tokens_to_come):
            large = [asyncio.create_task(workers.arun(Work([10], lambda _: order.append("large")))) for _ in range(calls)]
        small = asyncio.create_task(workers.arun(Work([10] * 5, lambda _: order.append("small"))))
        await asyncio.sleep(0)  # each of them is in the queue
        first.set()
        await asyncio.gather(small, *large)

    blocker = threading.Thread(target=workers.run, args=(Work([1], lambda _: first.wait(60)),))
    blocker.start()
    asyncio.run(main())
    blocker.join()
    assert order.count("small") == 5
    assert order[:7].count("small") >= 5  # but for each fourth step, which is for the job that came first


def test_a_job_that_was_cancelled_leaves_no_tokens():
    workers, first = Workers(1), threading.Event()

    async def main():
        with job(0) as cancelled:
            task = asyncio.create_task(workers.arun(Work([10] * 5, lambda _: None)))
        await asyncio.sleep(0)
        assert cancelled.tokens_left == 50
        task.cancel()
        first.set()
        await asyncio.gather(task, return_exceptions=True)
        await workers.arun(Work([1], lambda _: None))
        assert cancelled.tokens_left == 0

    blocker = threading.Thread(target=workers.run, args=(Work([1], lambda _: first.wait(60)),))
    blocker.start()
    asyncio.run(main())
    blocker.join()


def test_equal_calls_end_in_the_order_in_which_they_came():
    order, workers, may_go_on = [], Workers(1), threading.Event()

    async def call(name):
        await workers.arun(Work([1] * 5, lambda items: order.append(name)))

    async def main():
        await asyncio.gather(*(call(name) for name in range(4)), asyncio.to_thread(may_go_on.set))

    blocker = threading.Thread(target=workers.run, args=(Work([1], lambda _: may_go_on.wait(10)),))
    blocker.start()
    asyncio.run(main())
    blocker.join()
    assert order == sorted(order)


@pytest.mark.parametrize("threads", [1, 2, 8, 64])  # with many, a close falls between asking one and the next
def test_closing_lets_a_call_under_way_end(threads):
    workers, begun, done = Workers(threads), threading.Event(), []

    def slow(items):
        begun.set()
        time.sleep(0.005)
        done.extend(items)

    call = threading.Thread(target=workers.run, args=(Work([1] * 20, slow),))
    call.start()
    begun.wait(10)
    workers.close()
    call.join(10)
    assert not call.is_alive()
    assert sorted(done) == list(range(20))


def test_identical_texts_are_computed_once():
    with podium.load(PARITY / "bert") as reranker:
        once = reranker.rerank("rank", ["query list", "red"]).usage.tokens
        ranking = reranker.rerank("rank", ["query list", "red", "query list", "query list"])
        assert ranking.usage.tokens == once
        assert ranking.usage.pairs == 4
        assert len({result.score for result in ranking}) == 2


def test_the_first_error_stops_the_rest():
    begun = []

    def fail(item):
        begun.append(item)
        raise ValueError("at the first")

    with pytest.raises(ValueError, match="at the first"):
        Workers(1).run(Work([1] * 50, fail))
    assert begun == [[0]]


def test_cancelling_stops_what_has_not_started():
    begun, may_go_on = [], threading.Event()

    def slow(item):
        begun.append(item)
        may_go_on.wait(10)

    async def main():
        workers = Workers(2)
        task = asyncio.create_task(workers.arun(Work([1] * 100, slow)))
        while len(begun) < 2:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        may_go_on.set()
        await workers.arun(Work([1], lambda _: None))
        workers.close()

    asyncio.run(main())
    time.sleep(0.05)
    assert len(begun) == 2


def test_close_lets_running_calls_finish(question, passages):
    texts = [f"{passage} {index}" for index in range(10) for passage in passages]
    with podium.load("podium-mini", threads=1) as reranker, ThreadPoolExecutor(1) as thread:
        running = threading.Event()
        call = thread.submit(reranker.scorer.score_many, [question], [texts], progress=lambda count: running.set())
        assert running.wait(60)
        reranker.close()
        (scores,) = call.result(60)
    assert len(scores.values) == 50


def test_cancelling_arank_leaves_the_reranker_usable(mini, question, passages):
    texts = [f"{passage} {at}" for at in range(40) for passage in passages]

    async def main():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(mini.arank(question, texts), 0.05)
        return await mini.arank(question, passages)

    assert asyncio.run(main())[0][0] == passages[3]


def test_an_event_loop_goes_on_while_pairs_are_scored(mini, question, passages):
    """The loop turns often during the call; how long it waits at most is for the benchmark to say."""
    texts = [f"{passage} {at}" for at in range(12) for passage in passages]
    turns = 0

    async def main():
        nonlocal turns
        task = asyncio.create_task(mini.arerank(question, texts))
        while not task.done():
            await asyncio.sleep(0.001)
            turns += 1
        return await task

    assert len(asyncio.run(main())) == 60
    assert turns > 10


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="peak memory is read from Linux's /proc")
def test_memory_does_not_grow_with_the_number_of_documents():
    """Peak memory of 10,000 documents in one call is at most 1.3 times that of 100. In processes of their own."""
    script = (
        "import sys, random, podium\n"
        f"reranker = podium.load({str(PARITY / 'bert')!r})\n"
        "draw = random.Random(0)\n"
        "words = 'rank query document score search result index list order best'.split()\n"
        "texts = [' '.join(draw.choices(words, k=draw.randint(5, 50))) + f' {at}' for at in range(int(sys.argv[1]))]\n"
        "assert len(reranker.rerank('query', texts)) == len(texts)\n"
        "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])\n"
    )
    few, many = (
        int(subprocess.run([sys.executable, "-c", script, count], check=True, capture_output=True).stdout)
        for count in ("100", "10000")
    )
    assert many <= 1.3 * few


def test_progress_is_told_and_counts_every_text():
    told = []
    with podium.load(PARITY / "bert") as reranker:
        reranker.scorer.score_many(["a", "b"], [["x", "y", "x"], ["z"]], progress=told.append)
    assert sum(told) == 4


def test_as_many_workers_as_processors_unless_told():
    with podium.load(PARITY / "bert") as reranker:
        assert reranker.scorer.threads == cores()
    with podium.load(PARITY / "bert", threads=3) as reranker:
        assert reranker.scorer.threads == 3


def test_every_activation_in_the_table_runs(model):
    for name in [*graphs.ACTIVATIONS, "silu"]:
        edit(model / "config.json", hidden_act=name)
        assert LocalScorer(from_folder(model)).score("rank", ["query"]).values


FORKS = """
import os, sys, threading
from podium.local.schedule import Work, Workers

workers = Workers(2)
workers.run(Work([1, 2, 3], lambda items: None))
sys.setswitchinterval(1e-6)
for _ in range(60):
    child = os.fork()
    if not child:
        ready, ended = threading.Barrier(12), []
        def call():
            ready.wait()
            workers.run(Work([1, 2, 3], lambda items: None))
            ended.append(1)
        threads = [threading.Thread(target=call, daemon=True) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        os._exit(len(ended) != 12)
    assert os.waitpid(child, 0)[1] == 0, "calls in a forked process never ended"
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_calls_that_begin_together_in_a_forked_process_all_end():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORKS], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr


def test_call_after_another_thread_closed_is_an_error_of_podium():
    workers = Workers(2)
    workers.close()
    with pytest.raises(PodiumError, match="closed"):
        workers.run(Work([1], lambda items: None))


class Threads(list):
    """Texts that remember which threads went through them."""

    def __init__(self, texts):
        super().__init__(texts)
        self.threads = set()

    def __iter__(self):
        self.threads.add(threading.current_thread().name)
        return super().__iter__()


def test_many_texts_are_prepared_outside_the_event_loop():
    scorer = LocalScorer(from_folder(PARITY / "bert"))
    texts = Threads(["a"] * 5_000)
    scores = asyncio.run(scorer.ascore("q", texts))
    assert list(scores.values) == [scores.values[0]] * 5_000
    assert texts.threads
    assert threading.current_thread().name not in texts.threads


def test_damaged_int8_weights_are_made_again():
    weight = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)
    first = Quantised("damaged")
    whole, _ = first.keep("a", weight)
    first.save()
    kept = Quantised("damaged").get("a", 32, 64)
    assert kept is not None
    assert (kept[0] == whole).all()
    content = bytearray(first.path.read_bytes())
    content[-100] ^= 4
    first.path.write_bytes(content)
    assert Quantised("damaged").get("a", 32, 64) is None
