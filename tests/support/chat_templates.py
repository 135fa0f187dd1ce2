"""Chat templates of tests, rendered as podium and as Jinja do."""

from __future__ import annotations

from typing import Any

from jinja2.sandbox import ImmutableSandboxedEnvironment

from podium.local.decoders.prompts import Slot
from podium.local.decoders.templates import render

__all__ = ["REFUSAL", "rendered", "rendered_by_jinja"]

REFUSAL = r"its chat template .+; use the model's original repository"
ROLES = {"system": "instruction", "query": "query", "document": "document"}
TEXTS = {"instruction": " be brief ", "query": "what {{ is }} it?", "document": "\n it is {% x %} \t"}
VARIABLES = {"add_generation_prompt": True, "tools": None, "documents": None, "bos_token": "<s>", "eos_token": "</s>"}
JINJA = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])


def rendered(template: str, *, is_structured: bool = False) -> str:
    """Return the text that podium renders, with TEXTS in the slots. Raises UnsupportedModel if the template is refused."""
    parts = render(template, ROLES, is_structured=is_structured, variables=VARIABLES)
    return "".join(part.stripped(TEXTS[part.name]) if isinstance(part, Slot) else part for part in parts)


def rendered_by_jinja(template: str, *, is_structured: bool = False) -> str:
    messages = [{"role": role, "content": _content(TEXTS[name], is_structured)} for role, name in ROLES.items()]
    return JINJA.from_string(template).render(messages=messages, **VARIABLES)


def _content(text: str, is_structured: bool) -> Any:
    return [{"type": "text", "text": text}] if is_structured else text
