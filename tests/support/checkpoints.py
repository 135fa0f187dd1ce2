"""Changes to copies of the small models in tests/parity."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

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
