"""Changes to copies of the small models in tests/parity, and larger models of the same families."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Read a model's tensors, call `change` with the dict of tensors by name, and write the changed dict."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def replace_weights(folder: Path, changes: Mapping[str, Callable[[Any], Any]]) -> None:
    """Replace tensors. `changes`: the end of a name → a function that returns the new tensor for the old one.

    If several names have this end, the first tensor is replaced.
    """

    def change(weights: dict[str, Any]) -> None:
        for suffix, function in changes.items():
            name = next(name for name in weights if name.endswith(suffix))
            weights[name] = function(weights[name])

    edit_weights(folder, change)


def write_random(folder: Path, small_model: Path, **changes: int) -> None:
    """Write a model of the same family as a small one, with other settings and random weights.

    `changes` are settings of config.json. Sizes of tensors that are the small model's become those of `changes`.
    """
    settings = json.loads((small_model / "config.json").read_text(encoding="utf-8"))
    sizes = {settings[key]: changes[key] for key in ("hidden_size", "intermediate_size", "vocab_size") if key in changes}
    draw = np.random.default_rng(0)
    tensors = {}
    for name, tensor in load_file(small_model / "model.safetensors").items():
        if ".layer." in name and ".layer.0." not in name:
            continue
        shape = [sizes.get(size, size) for size in tensor.shape]
        if "rel_embeddings" in name:
            shape[0] = 2 * changes["position_buckets"]
        mean = 1.0 if name.endswith("LayerNorm.weight") else 0.0
        for layer in range(changes["num_hidden_layers"] if ".layer.0." in name else 1):
            values = draw.standard_normal(shape, np.float32) * np.float32(0.04) + np.float32(mean)
            tensors[name.replace(".layer.0.", f".layer.{layer}.")] = values
    folder.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(small_model / name, folder)
    (folder / "config.json").write_text(json.dumps(settings | changes), encoding="utf-8")
    save_file(tensors, folder / "model.safetensors")
