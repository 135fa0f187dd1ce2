"""DecoderSpec, a language model that ranks, as the files in its folder describe it.

The prompt comes from one of these, in this order:

1. the model's chat template, if it renders the roles query and document, and the files say how a score is read: the module
   LogitScore of sentence-transformers 5.4 and later, a Dense on the last token, or a classifier;
2. the entry of `PROMPT_FAMILIES` that has the model's name, or that config.json declares as {"podium": {"prompt": "<name>"}}.

A language model with neither is refused, because nothing says with which prompt it was trained and which tokens are compared.

sentence-transformers 6.2 is the reference for chat templates. podium differs from it as follows:

- Special tokens in a query, a document or an instruction are tokenised as text.
- If a prompt is too long, sentence-transformers cuts off the end of the prompt and then overwrites the last tokens with the end
  of the template. podium cuts off the last tokens of the document. The result is the same unless one token has characters of
  both the document and the text after it.
- A template that does not render both roles is not used. sentence-transformers compares the tokens "yes" and "no" after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from podium.errors import ModelError, UnsupportedModel
from podium.local.decoders.prompt_families import PROMPT_FAMILIES, PromptFamily, prompt_family_of
from podium.local.decoders.prompts import Part, Piece, Prompt, Slot, SlotName
from podium.local.decoders.templates import MAX_TEMPLATE, render
from podium.local.families import FAMILIES
from podium.local.families.family import Family, family_of
from podium.local.files.config import read_json, read_settings
from podium.local.files.folder import CHAT_TEMPLATE, ModelFiles
from podium.local.spec import (
    SIGMOID,
    Activation,
    Module,
    Spec,
    activation_setting,
    build_spec,
    check_config,
    pooling_mode,
    read_modules,
)
from podium.local.tokenizer import load_tokenizer

__all__ = ["DecoderSpec", "is_decoder", "read_decoder_spec"]

LOGIT_SCORE = "LogitScore"
LAST_TOKEN = ("lasttoken", "pooling_mode_lasttoken")  # the mode of a Pooling, and its name in older files
SPECIAL_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token")  # a template's variables
STRUCTURED_MARKS = ("content[0]", ".type", "'type'", '"type"', "message.content[")
"""Parts of a template that reads a message's content as a list, by which sentence-transformers recognizes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderSpec(Spec):
    """A language model as its folder describes it.

    - `prompt`: the model's prompt.
    - `output_rows`: the rows of the output matrix that are computed, which are the ids of the compared tokens: (true,) or
      (true, false). () if the score is that of a classifier or a Dense.
    - `position_count`: the most tokens that the model can read.
    - `shares_prefix`: whether equal beginnings of prompts are computed once, because no token attends to those after it.
    """

    prompt: Prompt
    output_rows: tuple[int, ...]
    position_count: int
    shares_prefix: bool


def is_decoder(
    files: ModelFiles, families: Sequence[Family] = FAMILIES, prompt_families: Sequence[PromptFamily] = PROMPT_FAMILIES
) -> bool:
    """Whether a folder has a language model, which reads a prompt. Whether the model can be used is not checked."""
    config = read_settings(files.folder / "config.json")
    model_type = str(config.get("model_type"))
    if family := family_of(model_type, families):
        is_known = any(model_type in prompt_family.model_types for prompt_family in prompt_families)
        return family.is_decoder or is_known or _has_logit_score(files.folder)
    return _is_causal(config) or _has_logit_score(files.folder)


def read_decoder_spec(
    files: ModelFiles, families: Sequence[Family] = FAMILIES, prompt_families: Sequence[PromptFamily] = PROMPT_FAMILIES
) -> DecoderSpec:
    """Return the spec of the language model in a folder.

    Raises ModelNotFound if a file is missing, ModelError if one is damaged, and UnsupportedModel if the model is not a reranker
    that podium can run.
    """
    folder = files.folder
    prompt_family = _prompt_family(files, prompt_families)
    if prompt_family is None:  # Otherwise, podium replaces the Python code that some of its models have.
        check_config(folder)
    modules = read_modules(folder)
    _check_modules(folder, modules)
    spec = build_spec(folder, modules, families)
    if spec.family is None or spec.architecture is None:
        raise UnsupportedModel(f"{folder} is a language model as an ONNX file; use a revision with model.safetensors")
    position_count = int(spec.config["max_position_embeddings"]) - spec.architecture.reserved_positions
    layout = _layout(spec, modules, prompt_family, prompt_families)
    inherited: dict[str, Any] = {field.name: getattr(spec, field.name) for field in fields(Spec)}
    inherited["activation"] = layout.activation
    inherited["max_length"] = min(layout.max_length, position_count)
    return DecoderSpec(
        **inherited,
        prompt=layout.prompt,
        output_rows=layout.output_rows,
        position_count=position_count,
        shares_prefix=spec.family.is_decoder,
    )


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a model's prompt is written and its score is read. The fields are those of DecoderSpec."""

    prompt: Prompt
    output_rows: tuple[int, ...]
    activation: Activation
    max_length: int


def _layout(
    spec: Spec, modules: Sequence[Module], prompt_family: PromptFamily | None, prompt_families: Sequence[PromptFamily]
) -> _Layout:
    """Return the layout of a model.

    The model has modules of sentence-transformers, or a classifier, or it is a causal language model as its authors published
    it. Raises UnsupportedModel for the last kind without a prompt family.
    """
    configured_activation = activation_setting(spec.folder, spec.config, is_modular=bool(modules))
    if len(modules) <= 1 and _is_causal(spec.config):
        if prompt_family is None:
            raise _unknown_prompt(spec, prompt_families)
        output_rows = _compared_ids(spec, prompt_family)
        return _Layout(prompt_family.prompt, output_rows, prompt_family.activation, prompt_family.max_length)
    output_rows = _logit_score_rows(modules[1]) if len(modules) > 1 and modules[1].kind == LOGIT_SCORE else ()
    prompt = _template_prompt(spec, prompt_family)
    if prompt_family is None or prompt is not prompt_family.prompt:
        return _Layout(prompt, output_rows, configured_activation or SIGMOID, spec.max_length)
    return _Layout(prompt, output_rows, configured_activation or prompt_family.activation, prompt_family.max_length)


def _check_modules(folder: Path, modules: Sequence[Module]) -> None:
    """Raise UnsupportedModel unless the score is from logits of tokens, a classifier, or Dense layers on the last token."""
    kinds = [module.kind for module in modules]
    has_head = kinds[:2] == ["Transformer", "Pooling"] and set(kinds[2:]) == {"Dense"}
    if kinds not in ([], ["Transformer"], ["Transformer", LOGIT_SCORE]) and not has_head:
        raise UnsupportedModel(
            f"{folder}: modules.json has {' → '.join(kinds)}; podium runs language models as Transformer → {LOGIT_SCORE}, as "
            "Transformer → Pooling → Dense, or with a classifier"
        )
    if has_head and pooling_mode(modules[1].config) not in LAST_TOKEN:
        raise UnsupportedModel(
            f"{modules[1].folder} has the pooling {pooling_mode(modules[1].config)!r}; podium has {LAST_TOKEN[0]} for language "
            "models; use another model"
        )


def _prompt_family(files: ModelFiles, prompt_families: Sequence[PromptFamily]) -> PromptFamily | None:
    """Return the prompt family of a model, None if there is none.

    A family that only the model's name suggests must also have its model_type. Raises UnsupportedModel if config.json declares
    an unknown family.
    """
    config = read_settings(files.folder / "config.json", required=True)
    settings = config.get("podium")
    declared = settings.get("prompt") if isinstance(settings, dict) else None
    prompt_family = prompt_family_of(files.name, files.folder, declared, prompt_families)
    if declared is not None and prompt_family is None:
        raise UnsupportedModel(
            f"{files.folder}: config.json declares the prompt {str(declared)[:40]!r}; podium has "
            f"{', '.join(family.name for family in prompt_families)}"
        )
    if prompt_family is None or declared is not None or config.get("model_type") in prompt_family.model_types:
        return prompt_family
    return None


def _is_causal(config: Mapping[str, Any]) -> bool:
    """Whether the architecture of a config.json computes logits of tokens."""
    architectures = config.get("architectures")
    return isinstance(architectures, list) and any(str(name).endswith("ForCausalLM") for name in architectures)


def _has_logit_score(folder: Path) -> bool:
    entries = read_json(folder / "modules.json")
    return isinstance(entries, list) and any(
        isinstance(entry, dict) and str(entry.get("type")).endswith(f".{LOGIT_SCORE}") for entry in entries
    )


def _unknown_prompt(spec: Spec, prompt_families: Sequence[PromptFamily]) -> UnsupportedModel:
    return UnsupportedModel(
        f"{spec.folder} is a language model, and its files do not say with which prompt it was trained to rank, and which "
        "tokens are compared; without them, scores would be random. Use one with a 1_LogitScore folder (sentence-transformers "
        "5.4 or later). If this is a copy of a model that podium knows, name its prompt in config.json, for example "
        '"podium": {"prompt": "qwen3-reranker"}. The prompts that podium knows are '
        f"{', '.join(family.name for family in prompt_families)}"
    )


def _logit_score_rows(module: Module) -> tuple[int, ...]:
    """Return the ids that a LogitScore compares: (true,) or (true, false)."""
    false_id = module.config.get("false_token_id")
    ids: list[Any] = [module.config.get("true_token_id"), *([] if false_id is None else [false_id])]
    if not all(type(token_id) is int and token_id >= 0 for token_id in ids):
        raise UnsupportedModel(
            f"{module.folder}: config.json has no true_token_id, or a token id that is not a whole number; download it again"
        )
    return tuple(ids)


def _compared_ids(spec: Spec, prompt_family: PromptFamily) -> tuple[int, ...]:
    """Return the ids of the tokens that a prompt family compares.

    Raises UnsupportedModel if the vocabulary does not have them.
    """
    tokenizer = None
    ids: list[int] = []
    for token in (prompt_family.true_token, prompt_family.false_token):
        if isinstance(token, str):
            tokenizer = tokenizer or load_tokenizer(spec.base)
            token_ids = tokenizer.encode(token, add_special_tokens=False).ids
            if len(token_ids) != 1:
                raise UnsupportedModel(
                    f"{spec.folder} is read with the prompt {prompt_family.name}, which compares the token {token!r}, and its "
                    "tokenizer does not have this token; download tokenizer.json again"
                )
            ids += token_ids
        elif token is not None:
            ids.append(token)
    return tuple(ids)


def _template_prompt(spec: Spec, prompt_family: PromptFamily | None) -> Prompt:
    """Return the prompt of the model's chat template, or that of the prompt family if the template cannot be used.

    Raises UnsupportedModel if there is no prompt family either.
    """
    try:
        return _rendered_prompt(spec, _chat_template(spec.base))
    except UnsupportedModel:
        if prompt_family is None:
            raise
        return prompt_family.prompt


def _rendered_prompt(spec: Spec, template: str) -> Prompt:
    """Return the prompt that a chat template renders. Raises UnsupportedModel if it does not render the texts."""
    settings = read_settings(spec.base / "sentence_bert_config.json")
    variables = _template_variables(spec.base, settings)
    modality_config = settings.get("modality_config")
    message_settings = modality_config.get("message") if isinstance(modality_config, dict) else None
    message_format = message_settings.get("format") if isinstance(message_settings, dict) else None
    is_structured = message_format == "structured" or (
        message_format != "flat" and any(mark in template for mark in STRUCTURED_MARKS)
    )

    def rendered(roles: Mapping[str, SlotName]) -> tuple[Part, ...]:
        return render(template, roles, is_structured=is_structured, variables=variables)

    pair: dict[str, SlotName] = {"query": "query", "document": "document"}
    default_instruction = spec.prompts.get("") or None  # sentence-transformers uses the prompt without a name by default
    instructed = rendered({"system": "instruction", **pair})
    _check_slots(spec, instructed)
    # With a default instruction, every text is read with an instruction, so there is no prompt without one.
    plain = rendered(pair) if default_instruction is None or not _has_instruction(instructed) else None
    if plain is not None:
        _check_slots(spec, plain)
    return Prompt(
        name="its chat template",
        plain=None if plain is None else (Piece(plain),),
        instructed=(Piece(instructed),) if _has_instruction(instructed) else None,
        default_instruction=default_instruction if _has_instruction(instructed) else None,
    )


def _has_instruction(parts: Sequence[Part]) -> bool:
    return any(isinstance(part, Slot) and part.name == "instruction" for part in parts)


def _check_slots(spec: Spec, parts: Sequence[Part]) -> None:
    """Raise UnsupportedModel unless the query and the document are rendered exactly once."""
    names = [part.name for part in parts if isinstance(part, Slot)]
    if names.count("query") != 1 or names.count("document") != 1:
        raise UnsupportedModel(
            f"{spec.folder}: its chat template does not render the roles query and document exactly once; use a conversion for "
            "sentence-transformers 5.4 or later"
        )


def _chat_template(base: Path) -> str:
    """Return the chat template of a model. Raises UnsupportedModel if it has none, and ModelError if it cannot be read."""
    try:
        with (base / CHAT_TEMPLATE).open(encoding="utf-8") as file:
            return file.read(MAX_TEMPLATE + 1)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise ModelError(f"{base / CHAT_TEMPLATE} cannot be read; download it again") from error
    template = read_settings(base / "tokenizer_config.json").get("chat_template")
    if isinstance(template, list):
        named = {str(entry.get("name")): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    if not isinstance(template, str):
        raise UnsupportedModel(
            f"{base} has no chat template ({CHAT_TEMPLATE}), so its prompt is not known; use a conversion for "
            "sentence-transformers 5.4 or later"
        )
    return template


def _template_variables(base: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables of a chat template besides the messages, as transformers passes them."""
    tokenizer_settings = read_settings(base / "tokenizer_config.json")
    variables: dict[str, Any] = {"add_generation_prompt": False, "tools": None, "documents": None}
    for name in SPECIAL_TOKENS:
        token = tokenizer_settings.get(name)
        content = token.get("content") if isinstance(token, dict) else token
        if isinstance(content, str):
            variables[name] = content
    processing = settings.get("processing_kwargs")
    arguments = processing.get("chat_template") if isinstance(processing, dict) else None
    settings_of_template = (arguments if isinstance(arguments, dict) else {}).items()
    return variables | {str(name): value for name, value in settings_of_template if isinstance(value, str | bool | int | float)}
