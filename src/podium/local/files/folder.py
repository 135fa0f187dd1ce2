"""ModelFiles, the files of a model in a folder, and the check that no file is missing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from podium.bundled import BUNDLED, folder_of
from podium.errors import ModelNotFound
from podium.json_values import load_json
from podium.local.files.checkpoint import INDEX_FILE, WEIGHTS_FILE

__all__ = [
    "CHAT_TEMPLATE",
    "DESCRIPTION_FILES",
    "ONNX_FILES",
    "STANFORD_ARCHITECTURE",
    "STANFORD_METADATA",
    "ModelFiles",
    "bundled",
    "from_folder",
    "is_model_folder",
    "missing_files",
]

STANFORD_ARCHITECTURE = "HF_ColBERT"  # the architecture in config.json of Stanford's ColBERT checkpoints
STANFORD_METADATA = "artifact.metadata"  # the file with the settings of Stanford's ColBERT checkpoints
CHAT_TEMPLATE = "chat_template.jinja"  # the prompt of a language model
DESCRIPTION_FILES = (
    STANFORD_METADATA,
    CHAT_TEMPLATE,
    "config.json",
    "config_sentence_transformers.json",
    "modules.json",
    "sentence_bert_config.json",
    "tokenizer.json",
    "tokenizer.safetensors",
    "tokenizer_config.json",
    "vocab.txt",
)
"""The files besides the weights that a score depends on. The folders of modules have more such files."""
ONNX_FILES = ("onnx/model.onnx", "onnx/model.onnx_data", "onnx/model.onnx.data")
"""A model's own ONNX file, and the two names under which exporters write its weights."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The files of a model.

    - `name`: the model's name as the user wrote it.
    - `folder`: the folder with the files.
    - `revision`: the version of the files, None if unknown.
    """

    name: str
    folder: Path
    revision: str | None = None


def bundled(name: str) -> ModelFiles:
    return ModelFiles(name, folder_of(name), BUNDLED[name])


def from_folder(path: str | Path) -> ModelFiles:
    """Return the files of a folder. Raises ModelNotFound if it is missing or has no config.json."""
    folder = Path(os.path.expanduser(path))
    if not _exists(folder):
        raise ModelNotFound(f"there is no folder {str(path)[:200]}; name an existing one, or a model on the hub (org/model)")
    if not (folder / "config.json").exists():
        raise ModelNotFound(
            f"{folder} has no config.json; name the folder with config.json, tokenizer.json and model.safetensors"
        )
    return ModelFiles(str(path), folder)


def is_model_folder(path: str) -> bool:
    """Whether there is a folder with a config.json at this path."""
    return _exists(Path(path) / "config.json")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # the path is too long for the system, or contains NUL
        return False


def missing_files(folder: Path) -> list[str]:
    """Return the names of the files that must be added to a folder before it can be loaded. Contents are not checked."""
    required = ["config.json"]
    if not (folder / "vocab.txt").exists():
        required.append("tokenizer.json")
    if (folder / INDEX_FILE).exists() and not (folder / WEIGHTS_FILE).exists():
        required += _shards(folder)
    elif not (folder / ONNX_FILES[0]).exists():
        required.append(WEIGHTS_FILE)
    required += _module_files(folder)
    return [name for name in required if not (folder / name).exists()]


def _module_files(folder: Path) -> list[str]:
    """Return the names of the files that the modules in modules.json need, except those of the transformer."""
    try:
        entries = load_json(folder / "modules.json")
        modules = [(str(entry["path"]), str(entry["type"]).rpartition(".")[2]) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    without_weights = [path for path, kind in modules if kind in ("Pooling", "MultiVectorMask", "LogitScore")]
    heads = [path for path, kind in modules if kind in ("Dense", "LayerNorm")]
    return [f"{path}/config.json" for path in without_weights + heads] + [f"{path}/{WEIGHTS_FILE}" for path in heads]


def _shards(folder: Path) -> list[str]:
    """Return the names of the files of weights that the index file names, [] if it is damaged."""
    try:
        return sorted(set(load_json(folder / INDEX_FILE)["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return []
