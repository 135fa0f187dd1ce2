"""ColBERT checkpoints for which podium would compute other scores than their own libraries: refused with a remedy."""

from __future__ import annotations

import json
import shutil

import pytest

import podium
from checkpoints import edit_json, edit_weights
from environment import PARITY_MODELS
from podium.errors import UnsupportedModel
from podium.local.late.spec import read_late_spec

LATE = PARITY_MODELS / "late-interaction"


# Each of the next functions changes the model in a folder, or returns a function that does.
def edit_settings(file, **changes):
    return lambda folder: edit_json(folder / file, **changes)


def change_all(*changes):
    def change_folder(folder):
        for change in changes:
            change(folder)

    return change_folder


def only_pickled(path):
    """Rename a file of weights, so that it has the name of a pickle."""

    def change(folder):
        (folder / path / "model.safetensors").rename(folder / path / "pytorch_model.bin")

    return change


def only_exported(folder):
    (folder / "onnx").mkdir()
    (folder / "model.safetensors").rename(folder / "onnx" / "model.onnx")


def with_module(kind, **config):
    """Add a module at the end of modules.json."""

    def change(folder):
        entries = json.loads((folder / "modules.json").read_text())
        entries.append({"idx": 9, "name": "9", "path": f"9_{kind}", "type": f"sentence_transformers.modules.{kind}"})
        (folder / "modules.json").write_text(json.dumps(entries))
        (folder / f"9_{kind}").mkdir()
        (folder / f"9_{kind}" / "config.json").write_text(json.dumps(config))

    return change


def without_module(kind):
    def change(folder):
        entries = json.loads((folder / "modules.json").read_text())
        (folder / "modules.json").write_text(json.dumps([entry for entry in entries if not entry["type"].endswith(kind)]))

    return change


def without_projection(folder):
    edit_weights(folder, lambda weights: weights.pop("linear.weight"))


REMOTE_CODE = {"AutoModel": "modeling.Model"}
REFUSED = {
    "remote-code": ("pylate-bert", edit_settings("config.json", auto_map=REMOTE_CODE), "auto_map.*GTE-ModernColBERT"),
    "remote-code-in-a-subfolder": (
        "stanford-and-modules",
        edit_settings("0_Transformer/config.json", auto_map=REMOTE_CODE),
        "auto_map.*GTE-ModernColBERT",
    ),
    "language-model": ("pylate-bert", edit_settings("config.json", model_type="lfm2"), "'lfm2'.*not language models.*bert"),
    "flipr": (
        "stanford-bert",
        edit_settings("artifact.metadata", interaction="flipr"),
        "interaction 'flipr'.*use a checkpoint",
    ),
    "euclidean": ("stanford-bert", edit_settings("artifact.metadata", similarity="l2"), "similarity 'l2'.*use a checkpoint"),
    "pickle": ("pylate-bert", only_pickled("."), "pickle.*use a revision with model.safetensors"),
    "pickled-dense": ("pylate-bert", only_pickled("1_Dense"), "1_Dense.*pickle.*use a revision with model.safetensors"),
    "onnx": ("pylate-bert", only_exported, "no model.safetensors.*use a revision"),
    "no-projection": ("stanford-bert", without_projection, "no tensor 'linear.weight'"),
    "pooling-module": ("native-bert-min", with_module("HierarchicalTokenPooling"), "load the model with pooling=2"),
    "other-module": ("native-bert-min", with_module("Router"), "Router; podium runs late interaction as Transformer"),
    "no-mask": ("native-bert-min", without_module("MultiVectorMask"), "no MultiVectorMask or no Normalize; use"),
    "no-norm": ("native-bert-min", without_module("Normalize"), "no MultiVectorMask or no Normalize; use"),
    "images": ("native-bert-min", edit_settings("2_MultiVectorMask/config.json", keep_only_token_ids=[3]), "models of images"),
    "dense-of-sentences": (
        "native-bert-min",
        edit_settings("1_Dense/config.json", module_input_name="sentence_embedding"),
        "does not project token vectors; use",
    ),
    "activation": (
        "pylate-bert",
        edit_settings("1_Dense/config.json", activation_function="torch.nn.modules.activation.PReLU"),
        "'prelu'; podium has gelu",
    ),
    "query-length": (
        "pylate-bert",
        edit_settings("config_sentence_transformers.json", query_length=-5),
        "query_length -5, which leaves too few tokens",
    ),
    "expansion": (
        "pylate-modernbert-expanded",
        change_all(
            edit_settings("config.json", max_position_embeddings=60_000),
            edit_settings("config_sentence_transformers.json", query_length=10**9),
        ),
        "expands each query to 60,000 tokens .*maximum of 4,096",
    ),
    "positions": (
        "pylate-modernbert",
        edit_settings("config.json", max_position_embeddings=10**9),
        "max_position_embeddings 1000000000; podium runs models with at most 65,536",
    ),
    "unknown-mask-token": (
        "native-bert-min",
        edit_settings("sentence_bert_config.json", query_expansion={"strategy": "min", "length": 16, "token": "[NONE]"}),
        r"expanded with \[NONE\].*download",
    ),
}


@pytest.mark.parametrize(("name", "change", "message"), REFUSED.values(), ids=REFUSED)
def test_model_is_refused(tmp_path, name, change, message):
    folder = shutil.copytree(LATE / name, tmp_path / "model")
    change(folder)
    with pytest.raises(podium.ModelError, match=message):
        podium.load(folder)


def test_length_without_room_for_text_is_refused():
    with pytest.raises(UnsupportedModel, match=r"max_length=4.*use 8 or more"):
        podium.load(LATE / "pylate-bert", max_length=4)


def test_unattended_expansion_of_deberta_is_refused(tmp_path):
    """In DeBERTa's kind of attention, an expansion token could not attend to any token."""
    folder = shutil.copytree(PARITY_MODELS / "embedders" / "deberta-v3-mean", tmp_path / "model")
    settings = {"model_type": "ColBERT", "query_prefix": "", "document_prefix": ""}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    assert read_late_spec(folder).expansion
    with pytest.raises(UnsupportedModel, match=r"cannot run a DeBERTa model.*use another model"):
        podium.load(folder)
