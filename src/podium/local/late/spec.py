"""LateSpec, a ColBERT model as the files in its folder describe it.

There are three layouts of such folders: PyLate's, that of sentence-transformers 6, and that of Stanford's code. podium
interprets settings as MultiVectorEncoder of sentence-transformers 6.2 does. That class reads all three layouts, and its scores
are published and tested. PyLate 1.6 and Stanford's code differ from it and podium as follows:

- A marker ("[Q] ", "[unused0]") is put before a text as text, and becomes one token if the vocabulary has it. PyLate adds a
  missing marker to the vocabulary, with a random vector.
- Saved prompts follow the marker.
- Texts are not stripped. PyLate strips them, which changes the tokens of tokenizers that keep spaces, such as ModernBERT's.
- Skiplist words that the vocabulary does not have are ignored. PyLate skips every unknown token of a document instead, and
  Stanford's code skips the first piece of the word.
- Whether punctuation is skipped is read from artifact.metadata. PyLate always skips it.
- Without a document_length, documents may be as long as the model allows. PyLate reads 180 tokens.
- A Dense without activation_function has tanh. PyLate cannot load it.
- A padded row of a document never takes part in a maximum. In PyLate's `rank.rerank` it does, as a similarity of 0.

tests/parity/compare_pylate.py shows these differences. There are no others.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from podium.errors import UnsupportedModel
from podium.local.families import FAMILIES
from podium.local.files.checkpoint import weight_files
from podium.local.files.config import read_json, read_settings
from podium.local.files.folder import ONNX_FILES, STANFORD_ARCHITECTURE, STANFORD_METADATA
from podium.local.spec import Module, Spec, build_spec, check_config, read_modules

__all__ = ["Expansion", "LateSpec", "ScoreOption", "Side", "is_colbert", "read_late_spec"]

ScoreOption = Literal["sum", "mean"]

SENTENCE_TRANSFORMERS = "MultiVectorEncoder"
MODEL_TYPES = ("ColBERT", SENTENCE_TRANSFORMERS)  # of config_sentence_transformers.json; the first is PyLate's
# The modules that may follow the transformer. A Pooling is ignored.
MODULE_KINDS = {"Dense", "MultiVectorMask", "Normalize", "Pooling"}
TOKEN_EMBEDDINGS = "token_embeddings"  # noqa: S105  the name of a Dense's input
OTHER_MODEL = "use another late-interaction model, such as lightonai/GTE-ModernColBERT-v1"
PUNCTUATION = tuple(string.punctuation)
MAX_EXPANSION = 4096  # Every query costs the work of this many tokens; published models have at most a few hundred.
DEFAULT_EXPANSION = 32  # to how many tokens queries are expanded if the settings name no number
OWN_MODEL_TYPE = "podium-late"
# Any of these keys in config_sentence_transformers.json shows that PyLate wrote the file. PyLate expands queries unless
# do_query_expansion is false.
PYLATE_KEYS = (
    "query_length", "document_length", "query_expansion", "do_query_expansion", "attend_to_expansion_tokens",
    "attend_to_mask_tokens", "query_prefix", "document_prefix", "skiplist_words",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Side:
    """How one side of the comparison, the queries or the documents, is tokenised.

    - `prompt`: is put before every text.
    - `max_length`: how many tokens a text and its prompt may have together, with special tokens.
    - `uses_skiplist`: whether the vectors of skiplist words are left out.
    """

    prompt: str
    max_length: int
    uses_skiplist: bool


@dataclass(frozen=True, slots=True)
class Expansion:
    """The tokens that are appended to a query until it has `length` tokens. They are compared like the query's own tokens.

    - `is_attended`: whether the query's own tokens attend to the appended tokens.
    - `token`: the token that is appended, None for the tokenizer's mask token.
    """

    length: int
    is_attended: bool
    token: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LateSpec(Spec):
    """A late-interaction model as its folder describes it. `max_length` is that of documents.

    - `query`, `document`: how queries and documents are tokenised.
    - `expansion`: the tokens that are appended to queries, None if there are none.
    - `markers`: the beginnings of prompts that become one token if the vocabulary has them.
    - `skiplist`: words whose vectors are left out on the sides that use the list.
    - `has_inline_projection`: whether the projection, "linear", is in the transformer's own weights.
    - `score`: whether the similarities of a query's tokens are added up, or averaged.
    """

    query: Side
    document: Side
    expansion: Expansion | None
    markers: tuple[str, ...]
    skiplist: tuple[str, ...]
    has_inline_projection: bool
    score: ScoreOption


def is_colbert(folder: Path) -> bool:
    """Whether a folder has a ColBERT model in one of the three layouts, by the files that identify it.

    Whether the model can be used is not checked.
    """
    settings = read_settings(folder / "config_sentence_transformers.json")
    if "model_type" in settings:
        return settings["model_type"] in MODEL_TYPES
    entries = read_json(folder / "modules.json")
    if isinstance(entries, list):
        types = [str(entry.get("type")) for entry in entries if isinstance(entry, dict)]
        if any(name.startswith("pylate.") or name.endswith(".MultiVectorMask") for name in types):
            return True
    return _is_stanford(folder)


def read_late_spec(folder: Path) -> LateSpec:
    """Return the spec of the ColBERT model in a folder.

    Raises ModelNotFound if a file is missing, ModelError if one is damaged, and UnsupportedModel if podium does not have what
    the files describe.
    """
    check_config(folder, remedy=OTHER_MODEL)
    settings = read_settings(folder / "config_sentence_transformers.json")
    if _is_stanford(folder) and settings.get("model_type") not in MODEL_TYPES:
        return _stanford_spec(folder)
    modules = read_modules(folder)
    lists_all_modules = settings.get("model_type") == SENTENCE_TRANSFORMERS  # PyLate omits MultiVectorMask and Normalize.
    _check_modules(folder, modules, lists_all_modules=lists_all_modules)
    base = modules[0].folder
    check_config(base, remedy=OTHER_MODEL)
    transformer_settings = _pylate_settings(settings) | read_settings(base / "sentence_bert_config.json")
    mask_config = next((module.config for module in modules if module.kind == "MultiVectorMask"), None)
    if mask_config is None:
        # _check_modules made sure that this is PyLate's layout, which has the list in these settings.
        words = settings.get("skiplist_words")
        mask_config = {"skiplist_words": PUNCTUATION if words is None else words}
    return _spec(
        folder,
        modules,
        transformer_settings,
        prompts=_prompts(settings),
        markers=[str(settings[key] or "") for key in ("query_prefix", "document_prefix") if key in settings],
        skiplist=mask_config.get("skiplist_words") or (),
        skiplist_sides=mask_config.get("skiplist_tasks"),
        score="mean" if settings.get("similarity_fn_name") == "meanmaxsim" else "sum",
    )


def _is_stanford(folder: Path) -> bool:
    """Whether a folder has the layout of Stanford's code."""
    architectures = read_settings(folder / "config.json").get("architectures")
    return isinstance(architectures, list) and STANFORD_ARCHITECTURE in architectures


def _stanford_spec(folder: Path) -> LateSpec:
    """Return the spec of a model in the layout of Stanford's code. Raises UnsupportedModel."""
    metadata = read_settings(folder / STANFORD_METADATA)
    if metadata.get("interaction", "colbert") != "colbert":
        raise UnsupportedModel(
            f"{folder}: {STANFORD_METADATA} has the interaction {metadata['interaction']!r}; podium has colbert, so use a "
            "checkpoint that was trained with it"
        )
    if metadata.get("similarity", "cosine") != "cosine":
        raise UnsupportedModel(
            f"{folder}: {STANFORD_METADATA} has the similarity {metadata['similarity']!r}; podium has cosine, so use a "
            "checkpoint that was trained with it"
        )
    markers = [f"{metadata.get('query_token_id') or '[unused0]'} ", f"{metadata.get('doc_token_id') or '[unused1]'} "]
    expansion = {
        "strategy": "fixed",
        "attend": bool(metadata.get("attend_to_mask_tokens")),
        "length": metadata.get("query_maxlen") or DEFAULT_EXPANSION,
    }
    return _spec(
        folder,
        (),
        {"query_expansion": expansion, "document_length": metadata.get("doc_maxlen")},
        prompts=dict(zip(("query", "document"), markers, strict=True)),
        markers=markers,
        skiplist=PUNCTUATION if metadata.get("mask_punctuation", True) else (),
        skiplist_sides=None,
        score="sum",
    )


def _spec(
    folder: Path,
    modules: tuple[Module, ...],
    transformer_settings: Mapping[str, Any],
    *,
    prompts: Mapping[str, str],
    markers: Sequence[str],
    skiplist: Sequence[str],
    skiplist_sides: str | Sequence[str] | None,
    score: ScoreOption,
) -> LateSpec:
    """Return the spec of a model in any of the three layouts.

    - `modules`: () for Stanford's layout.
    - `transformer_settings`: those with sentence-transformers' keys document_length, query_length and query_expansion.
    - `prompts`: the prompts by side, "query" or "document".
    - `skiplist_sides`: the sides that use the skiplist, None for documents only.
    """
    base = modules[0].folder if modules else folder
    _check_backbone(folder, base)
    spec = build_spec(folder, modules)
    reserved = spec.architecture.reserved_positions if spec.architecture else 0
    position_count = int(spec.config.get("max_position_embeddings") or spec.max_length) - reserved

    def length_setting(key: str) -> int:
        return min(int(transformer_settings.get(key) or spec.max_length), position_count)

    query_length = length_setting("query_length")
    document_length = length_setting("document_length")
    expansion = None
    if expansion_settings := transformer_settings.get("query_expansion"):
        expansion = _expansion(folder, expansion_settings, position_count)
        # With the strategy "fixed", all queries have the expansion's length. Otherwise, longer ones are not cut to it.
        is_fixed = expansion_settings["strategy"] == "fixed"
        query_length = expansion.length if is_fixed else max(query_length, expansion.length)
    sides = ("document",) if skiplist_sides is None else skiplist_sides
    inherited = {field.name: getattr(spec, field.name) for field in fields(Spec)}
    inherited |= {
        "pooling": "none",
        "max_length": document_length,
        "modules": tuple(module for module in spec.modules if module.kind == "Dense"),
    }
    return LateSpec(
        **inherited,
        query=Side(prompts.get("query", ""), query_length, "query" in sides),
        document=Side(prompts.get("document", ""), document_length, "document" in sides),
        expansion=expansion,
        markers=tuple(markers),
        skiplist=tuple(map(str, skiplist)),
        has_inline_projection=not modules,
        score=score,
    )


def _expansion(folder: Path, settings: Mapping[str, Any], position_count: int) -> Expansion:
    """Return the expansion that the settings describe, to at most as many tokens as the model has positions."""
    length = min(int(settings["length"]), position_count)
    if length > MAX_EXPANSION:
        raise UnsupportedModel(
            f"{folder} expands each query to {length:,} tokens (query_length), more than podium's maximum of "
            f"{MAX_EXPANSION:,}; download its settings again"
        )
    return Expansion(length, bool(settings.get("attend")), settings.get("token"))


def _pylate_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings in PyLate's config_sentence_transformers.json, with the keys of sentence-transformers.

    In PyLate, query_length is also the length to which queries are expanded.
    """
    names = ("query_length", "document_length", "query_expansion")
    known = {key: settings[key] for key in names if settings.get(key) is not None}
    if "query_expansion" in settings or not any(key in settings for key in PYLATE_KEYS):
        return known
    if settings.get("do_query_expansion") is False:
        return known
    attend = bool(settings.get("attend_to_expansion_tokens", settings.get("attend_to_mask_tokens")))
    length = known.pop("query_length", DEFAULT_EXPANSION)
    return known | {"query_expansion": {"strategy": "fixed", "attend": attend, "length": length}}


def _prompts(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the prompts of queries and documents: PyLate's marker, followed by the saved prompt without its own marker."""
    prompts = {str(name): str(prompt or "") for name, prompt in (settings.get("prompts") or {}).items()}
    for key, name in (("query_prefix", "query"), ("document_prefix", "document")):
        marker = str(settings.get(key) or "")
        prompts[name] = marker + prompts.get(name, "").removeprefix(marker)
    return prompts


def _check_modules(folder: Path, modules: Sequence[Module], *, lists_all_modules: bool) -> None:
    """Raise UnsupportedModel if podium cannot run the modules. `lists_all_modules`: whether modules.json must be complete."""
    kinds = [module.kind for module in modules]
    if not kinds or kinds[0] != "Transformer" or set(kinds[1:]) - MODULE_KINDS:
        remedy = "; remove the pooling, and load the model with pooling=2" if "HierarchicalTokenPooling" in kinds else ""
        raise UnsupportedModel(
            f"{folder}: modules.json has {' → '.join(kinds) or 'no modules'}; podium runs late interaction as Transformer → "
            f"any number of Dense → MultiVectorMask → Normalize{remedy}"
        )
    if lists_all_modules and not {"MultiVectorMask", "Normalize"} <= set(kinds):
        raise UnsupportedModel(
            f"{folder}: modules.json has no MultiVectorMask or no Normalize; use a model that has both, as "
            "sentence-transformers saves it"
        )
    for module in modules:
        if module.kind == "MultiVectorMask" and module.config.get("keep_only_token_ids"):
            raise UnsupportedModel(
                f"{module.folder} keeps only some tokens (keep_only_token_ids), as models of images do; use a model of texts"
            )
        if module.kind == "Dense" and module.config.get("module_input_name", TOKEN_EMBEDDINGS) != TOKEN_EMBEDDINGS:
            raise UnsupportedModel(f"{module.folder} does not project token vectors; use a model of sentence-transformers 6")


def _check_backbone(folder: Path, base: Path) -> None:
    """Raise UnsupportedModel if podium does not have the transformer in `base`, or has it only as an ONNX file."""
    model_type = str(read_settings(base / "config.json", required=True).get("model_type", "?"))
    model_types = [name for family in FAMILIES for name in family.model_types if name != OWN_MODEL_TYPE]
    if model_type not in model_types:
        raise UnsupportedModel(
            f"{folder} is late interaction over the model_type {model_type!r}; podium runs it over encoders, "
            f"not language models; the encoders are {', '.join(model_types)}; {OTHER_MODEL}"
        )
    if not weight_files(base) and (folder / ONNX_FILES[0]).exists():
        raise UnsupportedModel(
            f"{folder} has no model.safetensors, and its {ONNX_FILES[0]} does not describe the modules after the transformer; "
            "use a revision with model.safetensors"
        )
