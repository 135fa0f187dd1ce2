"""A model's files in a folder on this machine, and which files are missing before it can be loaded."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from podium.bundled import BUNDLED, folder_of
from podium.errors import ModelNotFound
from podium.local.files.checkpoint import INDEX, SINGLE

__all__ = ["DESCRIPTION_FILES", "ONNX_FILES", "ModelFiles", "bundled", "from_folder", "is_model_folder", "missing_files"]

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
    """A model's name as the user wrote it, the folder with its files, and their revision, None if unknown."""

    name: str
    folder: Path
    revision: str | None = None


def bundled(name: str) -> ModelFiles:
    return ModelFiles(name, folder_of(name), BUNDLED[name])


def from_folder(path: str | Path) -> ModelFiles:
    """Return the files of a folder. Raises ModelNotFound if it is missing or has no config.json."""
    folder = Path(os.path.expanduser(path))
    if not _exists(folder):
        raise ModelNotFound(f"there is no folder {str(folder)[:200]}; the name of a model on the hub is org/model")
    if not (folder / "config.json").exists():
        raise ModelNotFound(
            f"{folder} has no config.json; name the folder with config.json, tokenizer.json and model.safetensors"
        )
    return ModelFiles(str(path), folder)


def is_model_folder(path: str) -> bool:
    return _exists(Path(path) / "config.json")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # the name is too long for the system, or contains NUL
        return False


def missing_files(folder: Path) -> list[str]:
    """Return the files without which a folder cannot be loaded. What is in the files is not checked."""
    needed = ["config.json"]
    if not (folder / "vocab.txt").exists():
        needed.append("tokenizer.json")
    if (folder / INDEX).exists() and not (folder / SINGLE).exists():
        needed += _shards(folder)
    elif not (folder / ONNX_FILES[0]).exists():
        needed.append(SINGLE)
    needed += _module_files(folder)
    return [name for name in needed if not (folder / name).exists()]


def _module_files(folder: Path) -> list[str]:
    """Return the files that modules.json needs beside those of its transformer."""
    try:
        entries = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        modules = [(str(entry["path"]), str(entry["type"]).rpartition(".")[2]) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    poolings = [path for path, kind in modules if kind == "Pooling"]
    heads = [path for path, kind in modules if kind in ("Dense", "LayerNorm")]
    return [f"{path}/config.json" for path in poolings + heads] + [f"{path}/{SINGLE}" for path in heads]


def _shards(folder: Path) -> list[str]:
    try:
        return sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError):
        return []
