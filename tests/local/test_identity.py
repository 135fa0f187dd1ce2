"""ModelScorer.identity, which is part of the keys of cached scores: it changes whenever a score could change."""

from __future__ import annotations

import json
import shutil

import pytest

from checkpoints import edit_json, replace_weights
from environment import FIRST_RUNTIME, NEEDS_CORE, NEEDS_ONNX, PARITY_MODELS
from podium.compose.cached import CachedScorer
from podium.compose.stores.sqlite import SqliteScores
from podium.load import local_scorer
from podium.local.files.folder import from_folder
from podium.local.scorer import LocalScorer


def disable_lowercase(folder):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["normalizer"]["lowercase"] = False
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


TANH = "torch.nn.modules.activation.Tanh"
CHANGES = {
    "activation": ("bert", lambda folder: edit_json(folder / "config.json", sentence_transformers={"activation_fn": TANH})),
    "bm25": ("late", lambda folder: edit_json(folder / "config.json", bm25_k1=0.5)),
    "hidden-activation": ("bert", lambda folder: edit_json(folder / "config.json", hidden_act="relu")),
    "tokenizer": ("bert", disable_lowercase),
    "truncation": ("bert", lambda folder: edit_json(folder / "tokenizer_config.json", truncation_side="left")),
    "module": ("ettin", lambda folder: edit_json(folder / "2_Dense" / "config.json", activation_function=TANH)),
    "pooling": ("ettin", lambda folder: (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": "mean"}')),
    "modular-activation": ("ettin", lambda folder: edit_json(folder / "config_sentence_transformers.json", activation_fn=TANH)),
    "lowercase": ("ettin", lambda folder: edit_json(folder / "sentence_bert_config.json", do_lower_case=True)),
}  # fmt: skip


@NEEDS_ONNX
def test_identity_changes_with_the_weights_of_an_onnx_file(tmp_path):
    check_identity_changes(
        tmp_path, "exported-albert", lambda folder: (folder / "onnx" / "model.onnx_data").write_bytes(b"weights")
    )


@pytest.mark.parametrize(("model_name", "change"), CHANGES.values(), ids=CHANGES)
def test_identity_changes_with_every_file(tmp_path, model_name, change):
    check_identity_changes(tmp_path, model_name, change)


def check_identity_changes(tmp_path, model_name, change):
    folder = shutil.copytree(PARITY_MODELS / model_name, tmp_path / "model")
    before = local_scorer(folder).identity
    assert local_scorer(folder).identity == before
    change(folder)
    assert local_scorer(folder).identity != before


def test_identity_of_a_loaded_model_stays_when_its_file_is_replaced(tmp_path):
    """Its weights stay, too. Otherwise its scores would be stored as those of the new file."""
    folder = shutil.copytree(PARITY_MODELS / "bert", tmp_path / "model")
    loaded = local_scorer(folder)
    before = loaded.identity
    replace_weights(folder, {"word_embeddings.weight": lambda tensor: tensor * 2})
    assert loaded.identity == before
    assert local_scorer(folder).identity != before


@pytest.mark.parametrize(
    "options",
    [{"precision": "int8"}, {"max_length": 32}, pytest.param({"runtime": "native"}, marks=[NEEDS_CORE, NEEDS_ONNX])],
    ids=["precision", "length", "runtime"],
)
def test_identity_changes_with_options(options):
    files = from_folder(PARITY_MODELS / "bert")
    assert (
        LocalScorer(files, **{"runtime": FIRST_RUNTIME} | options).identity
        != LocalScorer(files, runtime=FIRST_RUNTIME).identity
    )


def test_identity_changes_with_the_weights_of_a_module(ettin):
    before = LocalScorer(from_folder(ettin))
    identity_before = before.identity  # computed now, because it is computed from the files
    replace_weights(ettin / "4_Dense", {"linear.weight": lambda x: x * 2})
    after = LocalScorer(from_folder(ettin))
    assert after.score("rank", ["query"]).raw != before.score("rank", ["query"]).raw
    assert after.identity != identity_before


def test_cached_score_is_not_used_after_the_activation_changed(model, tmp_path):
    def cached_scores():
        return CachedScorer(LocalScorer(from_folder(model)), SqliteScores(tmp_path / "scores")).score("rank", ["query"])

    logit = cached_scores().values[0]
    assert cached_scores().remembered == 1
    edit_json(model / "config.json", sentence_transformers={"activation_fn": TANH})
    assert cached_scores().values[0] != logit
