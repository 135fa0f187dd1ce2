"""Safetensors files that are missing, damaged, or do not have what config.json says."""

from __future__ import annotations

import os
import re
import shutil

import numpy as np
import pytest

import podium
from checkpoints import edit_json, edit_weights, replace_weights
from environment import PARITY_MODELS
from podium.errors import ModelError, ModelNotFound


@pytest.fixture
def sharded(tmp_path):
    return shutil.copytree(PARITY_MODELS / "bert-float16-sharded", tmp_path / "model")


def test_missing_shard_is_named(sharded):
    (sharded / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelNotFound, match="model-00002-of-00002"):
        podium.load(sharded)


def test_index_cannot_point_outside_its_folder(sharded):
    index = sharded / "model.safetensors.index.json"
    index.write_text(index.read_text().replace("model-00002", "../model-00002"))
    with pytest.raises(ModelError, match="outside its folder"):
        podium.load(sharded)


@pytest.mark.parametrize("content", ["", "[]", "[" * 200_000, '{"weight_map": 5}'], ids=["empty", "list", "nested", "number"])
def test_damaged_index_is_refused(sharded, content):
    (sharded / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ModelError, match=r"index.json is damaged; download it again"):
        podium.load(sharded)


@pytest.mark.parametrize(
    "content",
    [lambda content: b"x" * 100, lambda content: content[:-500], lambda content: b""],
    ids=["other-content", "cut", "empty"],
)
def test_damaged_file_is_refused(model, content):
    file = model / "model.safetensors"
    file.write_bytes(content(file.read_bytes()))
    with pytest.raises(ModelError, match="damaged"):
        podium.load(model)


@pytest.mark.parametrize(
    "name",
    ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors.index.json"]
    + [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)],
)
def test_named_pipe_is_refused(sharded, name):
    """Opening it would wait for another process."""
    (sharded / name).unlink()
    os.mkfifo(sharded / name)
    with pytest.raises(ModelError, match=re.escape(name)):
        podium.load(sharded)


def test_weights_with_nan_are_refused(model):
    replace_weights(model, {"classifier.weight": lambda x: np.full_like(x, np.nan)})
    with pytest.raises(ModelError, match="NaN"):
        podium.load(model)


def test_missing_tensor_is_refused(model):
    edit_weights(model, lambda weights: weights.pop("bert.encoder.layer.1.output.dense.weight"))
    with pytest.raises(ModelError, match="no tensor"):
        podium.load(model)


def test_missing_layer_is_refused(model):
    edit_json(model / "config.json", num_hidden_layers=9)
    with pytest.raises(ModelError, match="no tensor"):
        podium.load(model)
