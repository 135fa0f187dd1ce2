"""Networks that would compute wrong scores are refused, each with a remedy."""

from __future__ import annotations

import json

import numpy as np
import pytest

import podium
from checkpoints import edit_json, edit_weights, replace_weights
from environment import NEEDS_ONNX, PARITY_MODELS
from podium.errors import ModelError, UnsupportedModel
from podium.local.files.folder import from_folder
from podium.local.graph import ACTIVATIONS
from podium.local.scorer import LocalScorer


def test_checkpoint_without_head_is_refused(model):
    edit_json(model / "config.json", architectures=["BertModel"])
    edit_weights(model, lambda weights: [weights.pop(name) for name in list(weights) if name.startswith("classifier")])
    with pytest.raises(UnsupportedModel, match=r"no trained head \(classifier\.weight missing.*BertModel.*random"):
        podium.load(model)


def test_modular_head_without_weights_is_refused(ettin):
    (ettin / "2_Dense" / "model.safetensors").unlink()
    with pytest.raises(UnsupportedModel, match="the head is missing"):
        podium.load(ettin)


def test_modular_model_that_ends_in_an_embedding_is_refused(ettin):
    modules = json.loads((ettin / "modules.json").read_text())
    (ettin / "modules.json").write_text(json.dumps(modules[:3]))
    with pytest.raises(UnsupportedModel, match="not one score"):
        podium.load(ettin)


def test_classifier_of_three_labels_is_refused(model):
    replace_weights(
        model, {"classifier.weight": lambda x: np.repeat(x, 3, axis=0), "classifier.bias": lambda x: np.repeat(x, 3)}
    )
    edit_json(model / "config.json", id2label={"0": "contradiction", "1": "entailment", "2": "neutral"})
    with pytest.raises(UnsupportedModel, match=r"3 labels \['contradiction'.*trained to rank"):
        podium.load(model)


@NEEDS_ONNX
def test_exported_model_has_no_int8():
    with pytest.raises(UnsupportedModel, match="float32"):
        podium.load(PARITY_MODELS / "exported-albert", precision="int8")


def test_every_activation_runs(model):
    for name in ACTIVATIONS:
        edit_json(model / "config.json", hidden_act=name)
        assert LocalScorer(from_folder(model)).score("rank", ["query"]).values


# Each of the next functions returns a function that damages the model in a folder.
def without_tensor(name):
    return lambda folder: edit_weights(folder, lambda weights: weights.pop(name))


def first_row_only(name):
    return lambda folder: replace_weights(folder, {name: lambda x: np.ascontiguousarray(x[:1])})


def with_tensor(name, tensor):
    return lambda folder: replace_weights(folder, {name: lambda x: tensor})


def with_config(**changes):
    return lambda folder: edit_json(folder / "config.json", **changes)


def with_tokenizer(**changes):
    return lambda folder: edit_json(folder / "tokenizer.json", **changes)


DAMAGE = {
    "no-classifier-bias": without_tensor("classifier.bias"),
    "no-pooler-bias": without_tensor("bert.pooler.dense.bias"),
    "no-norm-bias": without_tensor("bert.embeddings.LayerNorm.bias"),
    "short-norm": first_row_only("bert.embeddings.LayerNorm.weight"),
    "short-bias": first_row_only("bert.encoder.layer.0.output.dense.bias"),
    "short-positions": first_row_only("bert.embeddings.position_embeddings.weight"),
    "scalar-bias": with_tensor("classifier.bias", np.array(5.0, np.float32)),
    "integer-weights": with_tensor("bert.pooler.dense.weight", np.ones((32, 32), np.int8)),
    "fewer-layers": with_config(num_hidden_layers=1),
    "boolean-layers": with_config(num_hidden_layers=True),
    "other-width": with_config(hidden_size=64),
    "no-special-tokens": with_tokenizer(post_processor=None),
    "no-character-map": with_tokenizer(normalizer={"type": "Precompiled", "precompiled_charsmap": ""}),
    "no-part-length": with_tokenizer(pre_tokenizer={"type": "FixedLength", "length": 0}),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_model_that_would_score_differently_is_refused(model, damage):
    """Without a check, each damage would change the scores: a size could be broadcast, or a part left out."""
    damage(model)
    with pytest.raises(ModelError):
        podium.load(model)
