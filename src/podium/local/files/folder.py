"""A model's files on this machine: bundled, or a folder; and what a folder lacks before it can be loaded.

Where they come from if they are not here is hub.py's business, what they say is models.py's.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from podium.bundled import BUNDLED, folder_of
from podium.errors import ModelNotFound
from podium.local.files.checkpoint import INDEX, SINGLE

__all__ = ["DESCRIPTION_FILES", "ONNX_FILES", "ModelFiles", "bundled", "from_folder", "is_model_folder", "missing"]

DESCRIPTION_FILES = (
    "config.json",
    "config_sentence_transformers.json",
    "modules.json",
    "sentence_bert_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)
"""The files beside the weights that a score depends on; folders of modules have a config.json of their own."""
ONNX_FILES = ("onnx/model.onnx", "onnx/model.onnx_data", "onnx/model.onnx.data")


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model's name as users say it, the folder that holds its files, and the revision they are of, if known."""

    name: str
    folder: Path
    revision: str | None = None


def bundled(name: str) -> ModelFiles:
    return ModelFiles(name, folder_of(name), BUNDLED[name])


def from_folder(path: str | Path) -> ModelFiles:
    folder = Path(os.path.expanduser(path))
    if not _is_there(folder):
        raise ModelNotFound(f"there is no folder {str(folder)[:200]}; a model on the hub is named org/model")
    if not (folder / "config.json").exists():
        raise ModelNotFound(
            f"{folder} has no config.json; name the folder that holds config.json, tokenizer.json and model.safetensors"
        )
    return ModelFiles(str(path), folder)


def is_model_folder(path: str) -> bool:
    return _is_there(Path(path) / "config.json")


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long for the system, or with a NUL in it
        return False


def missing(folder: Path) -> list[str]:
    """Return what a folder lacks before it can be loaded, [] if nothing. Files that make no sense are for models.py."""
    lacking = [] if (folder / "config.json").exists() else ["config.json"]
    if not ((folder / "tokenizer.json").exists() or (folder / "vocab.txt").exists()):
        lacking.append("tokenizer.json")
    if (folder / INDEX).exists() and not (folder / SINGLE).exists():
        lacking += [shard for shard in _shards(folder) if not (folder / shard).exists()]
    elif not ((folder / SINGLE).exists() or (folder / ONNX_FILES[0]).exists()):
        lacking.append(SINGLE)
    return lacking + [name for name in _module_files(folder) if not (folder / name).exists()]


def _module_files(folder: Path) -> list[str]:
    """Return the files that modules.json makes necessary beside the transformer's own."""
    try:
        listed = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        steps = [(str(step["path"]), str(step["type"]).rpartition(".")[2]) for step in listed]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    heads = [path for path, kind in steps if kind in ("Dense", "LayerNorm")]
    pools = [path for path, kind in steps if kind == "Pooling"]
    return [f"{path}/config.json" for path in pools + heads] + [f"{path}/{SINGLE}" for path in heads]


def _shards(folder: Path) -> list[str]:
    try:
        return sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError):
        return []
