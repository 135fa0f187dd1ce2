"""Safetensors files that are missing or damaged, or that do not fit config.json."""

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
    """A copy of a model whose weights are in two files."""
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
    "damage",
    [lambda content: b"x" * 100, lambda content: content[:-500], lambda content: b""],
    ids=["other-content", "cut", "empty"],
)
def test_damaged_file_is_refused(model, damage):
    path = model / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError, match="damaged"):
        podium.load(model)


@pytest.mark.parametrize(
    "name",
    ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors.index.json"]
    + [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)],
)
def test_named_pipe_is_refused(sharded, name):
    """Opening a named pipe would wait until another process writes to it."""
    (sharded / name).unlink()
    os.mkfifo(sharded / name)
    with pytest.raises(ModelError, match=re.escape(name)):
        podium.load(sharded)


def test_nan_is_refused(model):
    replace_weights(model, {"classifier.weight": lambda x: np.full_like(x, np.nan)})
    with pytest.raises(ModelError, match="NaN"):
        podium.load(model)


def test_number_that_is_too_large_for_float32_is_refused(model):
    replace_weights(model, {"classifier.weight": lambda x: np.full(x.shape, 1e300)})
    with pytest.raises(ModelError, match="NaN or infinity"):
        podium.load(model)


def test_missing_tensor_is_refused(model):
    edit_weights(model, lambda weights: weights.pop("bert.encoder.layer.1.output.dense.weight"))
    with pytest.raises(ModelError, match="no tensor"):
        podium.load(model)


def test_missing_layer_is_refused(model):
    edit_json(model / "config.json", num_hidden_layers=9)
    with pytest.raises(ModelError, match="no tensor"):
        podium.load(model)
