"""What a model's folder says about it: family, head, activation, maximum length. Reads JSON; no weights, no network.

Everything that would load and then score wrongly is refused here or where the weights are read, each with its remedy.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from podium.errors import ModelError, ModelNotFound, UnsupportedModel
from podium.local.families import FAMILIES, Family, family_of
from podium.local.files.checkpoint import digest_of, weight_files
from podium.local.files.folder import DESCRIPTION_FILES, ONNX_FILES
from podium.logistic import sigmoid
from podium.types import ScoreKind

__all__ = ["ONNX_FILE", "Activation", "Module", "Spec", "read"]

ONNX_FILE = ONNX_FILES[0]
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
DEFAULT_LENGTH = 512


@dataclass(frozen=True, slots=True)
class Activation:
    """What turns a logit into the score that users see. All of them rise, so none changes the order."""

    name: str
    kind: ScoreKind
    apply: Callable[[float], float]


SIGMOID = Activation("sigmoid", "sigmoid", sigmoid)
IDENTITY = Activation("identity", "logit", float)
TANH = Activation("tanh", "similarity", math.tanh)
ACTIVATIONS = {"Sigmoid": SIGMOID, "Identity": IDENTITY, "Tanh": TANH}


@dataclass(frozen=True, slots=True)
class Module:
    """One step of a modular sentence-transformers head: its kind, its settings, and where its weights are."""

    kind: str
    config: dict[str, Any]
    folder: Path


@dataclass(frozen=True, slots=True)
class Spec:
    """A model as its folder describes it. `family` is None for one that runs from its own ONNX file.

    `description_digest` is a hash of every file but the weights that a score depends on.
    """

    folder: Path
    family: Family | None
    config: dict[str, Any]
    activation: Activation
    max_length: int
    do_lower_case: bool
    weights: tuple[Path, ...]
    description_digest: str
    modules: tuple[Module, ...] = ()
    prompts: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Return a hash of all weights, those of the modules after the encoder too."""
        return digest_of([*self.weights, *(file for module in self.modules for file in weight_files(module.folder))])

    @property
    def pooling(self) -> str:
        """Return which rows of the encoder the head reads: "cls", "mean" of all, or all ("none")."""
        if self.modules:
            return _pooling(self.modules[0].config)
        return self.family.pooling(self.config) if self.family else "cls"


def read(folder: Path) -> Spec:
    """Return what the folder says. Raises ModelNotFound (a file is missing) or UnsupportedModel."""
    config = _json(folder / "config.json", required=True)
    if config.get("auto_map"):
        raise UnsupportedModel(
            f"{folder} asks to run Python code that came with it (auto_map in config.json), which podium never does; "
            "use a model of a built-in family, or an export of this one to onnx/model.onnx without auto_map"
        )
    steps = _modules(folder)
    base = steps[0].folder if steps else folder
    if base != folder:
        config = _json(base / "config.json", required=True)
    settings = _transformer_settings(base) if steps else {}
    family, weights = _family_and_weights(folder, base, config)
    return Spec(
        folder=folder,
        family=family,
        config=config,
        activation=_activation(folder, config, modular=bool(steps)),
        max_length=_max_length(base, config, settings, family),
        do_lower_case=bool(settings.get("do_lower_case")),
        weights=weights,
        description_digest=_description_digest(folder, base, steps),
        modules=steps[1:],
        prompts=_prompts(folder) if steps else {},
    )


def _family_and_weights(folder: Path, base: Path, config: dict[str, Any]) -> tuple[Family | None, tuple[Path, ...]]:
    model_type = str(config.get("model_type", "?"))
    family, weights = family_of(model_type), weight_files(base)
    if family and weights:
        return family, tuple(weights)
    if (folder / ONNX_FILE).exists():
        return None, tuple(folder / name for name in ONNX_FILES if (folder / name).exists())
    if any((base / name).exists() for name in PICKLES):
        raise UnsupportedModel(
            f"{folder} holds its weights only as pytorch_model.bin, a pickle, which can run any code and is never loaded; "
            "use a revision with model.safetensors, or convert it with transformers' save_pretrained"
        )
    if family:
        raise ModelNotFound(f"{folder} has no weights: neither model.safetensors nor model.safetensors.index.json")
    known = ", ".join(name for row in FAMILIES for name in row.model_types)
    raise UnsupportedModel(
        f"{folder} is of type {model_type!r}, which is none of {known}, and has no {ONNX_FILE}; "
        "use a cross-encoder of one of these, or export this one to that file"
    )


def _description_digest(folder: Path, base: Path, modules: Sequence[Module]) -> str:
    files = [parent / name for parent in (folder, base) for name in DESCRIPTION_FILES]
    files += [module.folder / "config.json" for module in modules]
    digests = [(file.name, digest_of([file])) for file in dict.fromkeys(files) if file.exists()]
    return hashlib.sha256(repr(digests).encode()).hexdigest()


def _modules(folder: Path) -> tuple[Module, ...]:
    """Return the steps of a modules.json, the transformer first; none where there is no such file."""
    listed = _json(folder / "modules.json")
    steps = []
    for entry in listed if isinstance(listed, list) else []:
        where = folder / str(entry.get("path", ""))
        if not where.resolve().is_relative_to(folder.resolve()):
            raise UnsupportedModel(f"{folder}: modules.json points outside the folder")
        kind = str(entry.get("type", "")).rpartition(".")[2]
        settings = {} if kind in ("Transformer", "Normalize") else _json(where / "config.json", required=True)
        steps.append(Module(kind, settings, where))
    kinds = [step.kind for step in steps]
    heads = kinds[2:-1] if kinds[-1:] == ["Normalize"] else kinds[2:]
    if steps and (kinds[0] != "Transformer" or kinds[1:2] not in ([], ["Pooling"]) or set(heads) - {"Dense", "LayerNorm"}):
        raise UnsupportedModel(
            f"{folder}: modules.json lists {' → '.join(kinds)}; podium runs Transformer alone, or Transformer → Pooling "
            "→ any of Dense and LayerNorm (→ Normalize, in an embedder)"
        )
    return tuple(steps)


def _prompts(folder: Path) -> dict[str, str]:
    """Return what is put before a text of each kind; a name of "" is for texts of no kind."""
    settings = _json(folder / "config_sentence_transformers.json")
    prompts = {str(name): str(prompt) for name, prompt in (settings.get("prompts") or {}).items()}
    default = settings.get("default_prompt_name")
    return prompts | ({"": prompts[default]} if default in prompts else {})


def _pooling(config: dict[str, Any]) -> str:
    mode = config.get("pooling_mode")
    if mode is None:
        named = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean"}
        active = [name for name, value in config.items() if name.startswith("pooling_mode_") and value is True]
        mode = named.get(active[0], active[0]) if len(active) == 1 else active
    if mode not in ("cls", "mean"):
        raise UnsupportedModel(f"it pools by {mode!r}; podium knows cls and mean")
    return str(mode)


def _activation(folder: Path, config: dict[str, Any], *, modular: bool) -> Activation:
    """Find the activation where sentence-transformers 6 looks for it, in its order; sigmoid where none is named."""
    named = _json(folder / "config_sentence_transformers.json").get("activation_fn") if modular else None
    named = named or (config.get("sentence_transformers") or {}).get("activation_fn")
    named = named or config.get("sbert_ce_default_activation_function")
    if not named or not str(named).startswith("torch."):
        return SIGMOID  # the reference does not run activations of other packages either
    short = str(named).rpartition(".")[2]
    if short not in ACTIVATIONS:
        raise UnsupportedModel(f"{folder} asks for the activation {named}; known: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[short]


def _max_length(base: Path, config: dict[str, Any], settings: dict[str, Any], family: Family | None) -> int:
    """Return the smallest of what the model, its tokenizer and its settings allow. A tokenizer's limit may be a sentinel."""
    limits = [settings.get("max_seq_length"), _json(base / "tokenizer_config.json").get("model_max_length")]
    if isinstance(positions := config.get("max_position_embeddings"), int) and positions > 0:
        limits.append(positions - (family.reserved_positions(config) if family else 0))
    finite = [int(limit) for limit in limits if isinstance(limit, int | float) and 0 < limit < 10**9]
    return min(finite, default=DEFAULT_LENGTH)


def _transformer_settings(base: Path) -> dict[str, Any]:
    settings = _json(base / "sentence_bert_config.json")
    task = settings.get("transformer_task", "feature-extraction")
    if task not in ("feature-extraction", "sequence-classification"):
        raise UnsupportedModel(
            f"{base} ranks by the task {task!r}; podium runs cross-encoders with a classifier or a pooled head"
        )
    return settings  # type: ignore[no-any-return]  # whatever the file holds


def _json(path: Path, *, required: bool = False) -> Any:
    """Return what a JSON file holds, {} where it is absent and need not be there."""
    if not path.exists():
        if required:
            raise ModelNotFound(f"{path} is missing; this folder is not a whole Hugging Face model")
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is not valid JSON; bring it again") from error
