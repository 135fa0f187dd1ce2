"""Spec, a model as the JSON files in its folder describe it: family, head, activation, maximum length.

A model that could be loaded but would compute wrong scores is refused here, or when its weights are read.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podium.errors import ModelNotFound, UnsupportedModel
from podium.local.families import FAMILIES
from podium.local.families.family import Architecture, Family, Pooling, family_of
from podium.local.files.checkpoint import weight_files
from podium.local.files.config import read_json, read_settings
from podium.local.files.folder import DESCRIPTION_FILES, ONNX_FILES
from podium.local.files.versions import FileVersions, digest_of
from podium.local.runtimes import Precision
from podium.logistic import sigmoid
from podium.types import ScoreKind

__all__ = [
    "IDENTITY",
    "ONLY_PICKLED",
    "PICKLES",
    "QUANTISATION",
    "SIGMOID",
    "Activation",
    "Module",
    "Spec",
    "activation_setting",
    "build_spec",
    "check_config",
    "pooling_mode",
    "read_modules",
    "read_spec",
]

PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
ONLY_PICKLED = (
    "has its weights only in pytorch_model.bin, a pickle, which can run any code and is never loaded; "
    "use a revision with model.safetensors, or convert it with save_pretrained of transformers"
)
QUANTISATION = {"quant_method": "podium", "version": 1}  # the quantization_config that podium reads
DEFAULT_LENGTH = 512  # the maximum length in tokens, if no file has one
OTHER_MODEL = "use a model of a built-in family, or an export of this one to onnx/model.onnx without auto_map"
# Model types without a family, which run from an ONNX file only. Their tokenizers have segments if no settings decide it.
OTHER_TYPES_WITH_SEGMENTS = ("deberta", "mobilebert", "squeezebert", "convbert")


@dataclass(frozen=True, slots=True)
class Activation:
    """The function from a logit to the score that users see. It is increasing, so the order does not change."""

    name: str
    kind: ScoreKind
    apply: Callable[[float], float]


SIGMOID = Activation("sigmoid", "sigmoid", sigmoid)
IDENTITY = Activation("identity", "logit", float)
TANH = Activation("tanh", "similarity", math.tanh)
ACTIVATIONS = {"Sigmoid": SIGMOID, "Identity": IDENTITY, "Tanh": TANH}


@dataclass(frozen=True, slots=True)
class Module:
    """One module of a sentence-transformers model. `config` is {} for the kinds Transformer and Normalize."""

    kind: str
    config: dict[str, Any]
    folder: Path


@dataclass(frozen=True, slots=True)
class Spec:
    """A model as its folder describes it.

    - `base`: the folder of the transformer, which is `folder` for most models.
    - `config`, `model_type`: the transformer's config.json, and its model_type.
    - `family`, `architecture`: None for a model that runs from its own ONNX file.
    - `max_length`: the most tokens that the model reads.
    - `has_segments`: whether the texts of a pair have different segments, if the tokenizer's settings do not decide it.
    - `do_lower_case`: whether texts are lowercased before the tokenizer reads them.
    - `weights`: the transformer's files of weights.
    - `modules`: the modules after the transformer.
    - `versions`: the state of the files of all weights, those of the modules included, when the folder was read.
    - `prompts`: texts that are put before queries or documents, by name. The default prompt also has the name "".
    - `is_quantised`: whether the weights may be quantised as docs/model-files.md describes.
    - `default_precision`: int8 if config.json says so under `podium`, because the authors measured it; else float32.
    - `description_digest`: a hash of all files that a score depends on, except the weights.
    """

    folder: Path
    base: Path
    config: dict[str, Any]
    model_type: str
    family: Family | None
    architecture: Architecture | None
    activation: Activation
    pooling: Pooling
    max_length: int
    has_segments: bool
    do_lower_case: bool
    weights: tuple[Path, ...]
    modules: tuple[Module, ...]
    versions: FileVersions
    prompts: Mapping[str, str]
    is_quantised: bool
    default_precision: Precision
    description_digest: str

    @property
    def digest(self) -> str:
        """A hash of all weights, those of the modules included."""
        return self.versions.digest


def read_spec(folder: Path, families: Sequence[Family] = FAMILIES) -> Spec:
    """Return the spec of the model in a folder.

    Raises ModelNotFound if a file is missing, ModelError if one is damaged, and UnsupportedModel if podium cannot run it.
    """
    check_config(folder)
    modules = read_modules(folder)
    _check_modules(folder, modules)
    return build_spec(folder, modules, families)


def check_config(folder: Path, *, remedy: str = OTHER_MODEL) -> None:
    """Raise ModelNotFound if the folder has no config.json, UnsupportedModel if its model needs Python code of its own."""
    config = read_settings(folder / "config.json", required=True)
    family = family_of(str(config.get("model_type")), FAMILIES)
    if config.get("auto_map") and not (family and family.ignores_auto_map):
        raise UnsupportedModel(
            f"{folder} needs Python code that comes with it (auto_map in config.json), which podium never runs; {remedy}"
        )


def build_spec(folder: Path, modules: tuple[Module, ...], families: Sequence[Family] = FAMILIES) -> Spec:
    """Return the spec of the model in a folder, whose modules are not checked. Raises what `read_spec` raises.

    The first module is the transformer. `modules` is empty if the library transformers, and not sentence-transformers, saved
    the model.
    """
    base = modules[0].folder if modules else folder
    config = read_settings(base / "config.json", required=True)
    transformer_settings = _transformer_settings(base) if modules else {}
    model_type = str(config.get("model_type", "?"))
    family, weights = _family_and_weights(folder, base, model_type, families)
    architecture = family.architecture.from_json(config) if family else None
    pooling = architecture.pooling if architecture else "cls"
    if pooling != "last" and modules[1:] and modules[1].kind == "Pooling":  # "last" is that of language models
        pooling = _pooling(modules[1].config)
    return Spec(
        folder=folder,
        base=base,
        config=config,
        model_type=model_type,
        family=family,
        architecture=architecture,
        activation=activation_setting(folder, config, is_modular=bool(modules)) or SIGMOID,
        pooling=pooling,
        max_length=_max_length(base, config, transformer_settings, architecture),
        has_segments=_has_segments(model_type, families),
        do_lower_case=bool(transformer_settings.get("do_lower_case")),
        weights=weights,
        modules=modules[1:],
        versions=FileVersions([*weights, *(file for module in modules[1:] for file in weight_files(module.folder))]),
        prompts=_prompts(folder) if modules else {},
        is_quantised=family is not None and _is_quantised(folder, config),
        default_precision=_default_precision(config),
        description_digest=_description_digest(folder, base, modules),
    )


def _family_and_weights(
    folder: Path, base: Path, model_type: str, families: Sequence[Family]
) -> tuple[Family | None, tuple[Path, ...]]:
    """Return the family and the safetensors files of the weights.

    If podium does not have the family, or the files are missing, return None and the model's own ONNX files instead.
    Raises ModelNotFound or UnsupportedModel if podium can run neither.
    """
    family = family_of(model_type, families)
    weights = weight_files(base)
    if family and weights:
        return family, tuple(weights)
    if (folder / ONNX_FILES[0]).exists():
        return None, tuple(folder / name for name in ONNX_FILES if (folder / name).exists())
    if any((base / name).exists() for name in PICKLES):
        raise UnsupportedModel(f"{folder} {ONLY_PICKLED}")
    if family:
        raise ModelNotFound(
            f"{folder} has no weights: neither model.safetensors nor model.safetensors.index.json; download it again"
        )
    known_types = ", ".join(name for known_family in families for name in known_family.model_types)
    raise UnsupportedModel(
        f"{folder} has the model_type {model_type!r}, which is not one of {known_types}, and it has no {ONNX_FILES[0]}; "
        "use a cross-encoder of these types, or export this one to that file"
    )


def _has_segments(model_type: str, families: Sequence[Family]) -> bool:
    family = family_of(model_type, families)
    return family.has_segments if family else model_type in OTHER_TYPES_WITH_SEGMENTS


def read_modules(folder: Path) -> tuple[Module, ...]:
    """Return the modules in modules.json, in the order of that file; () if there is no such file."""
    entries = read_json(folder / "modules.json")
    return tuple(_module(folder, entry) for entry in entries) if isinstance(entries, list) else ()


def _check_modules(folder: Path, modules: Sequence[Module]) -> None:
    """Raise UnsupportedModel unless the modules are in an order that podium can run."""
    if not modules:
        return
    kinds = [module.kind for module in modules]
    heads = kinds[2:-1] if kinds[-1] == "Normalize" else kinds[2:]
    if kinds[0] != "Transformer" or kinds[1:2] not in ([], ["Pooling"]) or set(heads) - {"Dense", "LayerNorm"}:
        raise UnsupportedModel(
            f"{folder}: modules.json has {' → '.join(kinds)}; podium runs a Transformer alone, or Transformer → Pooling → "
            "any number of Dense and LayerNorm → Normalize (in an embedder)"
        )


def _module(folder: Path, entry: dict[str, Any]) -> Module:
    path = folder / str(entry.get("path") or "")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UnsupportedModel(f"{folder}: modules.json points outside the folder; do not use this model")
    kind = str(entry.get("type")).rpartition(".")[2]
    config = {} if kind in ("Transformer", "Normalize") else read_settings(path / "config.json", required=True)
    return Module(kind, config, path)


def _prompts(folder: Path) -> dict[str, str]:
    """Return the prompts by name. The default prompt, if there is one, also has the name ""."""
    settings = read_settings(folder / "config_sentence_transformers.json")
    prompts = {str(name): str(prompt) for name, prompt in (settings.get("prompts") or {}).items()}
    default = settings.get("default_prompt_name")
    return prompts | ({"": prompts[default]} if default in prompts else {})


def _is_quantised(folder: Path, config: dict[str, Any]) -> bool:
    """Whether config.json says that weights are quantised in podium's format. Raises UnsupportedModel for other formats."""
    settings = config.get("quantization_config")
    if settings is None:
        return False
    if settings != QUANTISATION:
        raise UnsupportedModel(
            f"{folder}: config.json has the quantization_config {settings!r:.80}; podium reads {QUANTISATION} only, so use the "
            "model's float32 or float16 files, or a newer version of podium"
        )
    return True


def _default_precision(config: dict[str, Any]) -> Precision:
    return "int8" if (config.get("podium") or {}).get("precision") == "int8" else "float32"


def _pooling(config: dict[str, Any]) -> Pooling:
    """Return the pooling. Raises UnsupportedModel if podium does not have it."""
    mode = pooling_mode(config)
    if mode in ("cls", "pooling_mode_cls_token"):
        return "cls"
    if mode in ("mean", "pooling_mode_mean_tokens"):
        return "mean"
    raise UnsupportedModel(f"its pooling is {mode!r}; podium has cls and mean")


def pooling_mode(config: dict[str, Any]) -> str:
    """Return the mode of a Pooling.

    Older versions of sentence-transformers wrote a flag per mode, such as pooling_mode_cls_token, instead of pooling_mode.
    """
    flags = [name for name, value in config.items() if name.startswith("pooling_mode_") and value is True]
    return str(config.get("pooling_mode") or ", ".join(flags))


def activation_setting(folder: Path, config: dict[str, Any], *, is_modular: bool) -> Activation | None:
    """Return the activation that the first of three settings names, in the order of sentence-transformers 6.

    Return None without these settings. Raises UnsupportedModel if podium does not have the activation.
    """
    name = read_settings(folder / "config_sentence_transformers.json").get("activation_fn") if is_modular else None
    name = name or (config.get("sentence_transformers") or {}).get("activation_fn")
    name = name or config.get("sbert_ce_default_activation_function")
    if not name or not str(name).startswith("torch."):
        return None  # sentence-transformers does not run activations of other packages either
    short_name = str(name).rpartition(".")[2]
    if short_name not in ACTIVATIONS:
        raise UnsupportedModel(f"{folder} has the activation {name}; podium has {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[short_name]


def _max_length(base: Path, config: dict[str, Any], settings: dict[str, Any], architecture: Architecture | None) -> int:
    """Return the smallest of the limits of model, tokenizer and settings. A tokenizer without a limit has a huge number."""
    limits = [settings.get("max_seq_length"), read_settings(base / "tokenizer_config.json").get("model_max_length")]
    positions = config.get("max_position_embeddings")
    if isinstance(positions, int) and positions > 0:
        limits.append(positions - (architecture.reserved_positions if architecture else 0))
    finite = [int(limit) for limit in limits if isinstance(limit, int | float) and 0 < limit < 10**9]
    return min(finite, default=DEFAULT_LENGTH)


def _transformer_settings(base: Path) -> dict[str, Any]:
    """Return the settings of a sentence-transformers model's transformer. Raises UnsupportedModel for an unknown task."""
    settings = read_settings(base / "sentence_bert_config.json")
    task = settings.get("transformer_task", "feature-extraction")
    if task not in ("feature-extraction", "sequence-classification", "text-generation"):
        raise UnsupportedModel(f"{base} has the task {task!r}; podium runs cross-encoders with a classifier or a pooled head")
    return settings


def _description_digest(folder: Path, base: Path, modules: Sequence[Module]) -> str:
    files = [parent / name for parent in (folder, base) for name in DESCRIPTION_FILES]
    files += [module.folder / "config.json" for module in modules]
    digests = [(file.name, digest_of([file])) for file in dict.fromkeys(files) if file.exists()]
    return hashlib.sha256(repr(digests).encode()).hexdigest()
