"""Prompt, the text around a query and a document that a language model was trained with.

>>> piece("<Query>: {query}\\n").parts
('<Query>: ', Slot(name='query', strips_start=False, strips_end=False), '\\n')
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, cast, get_args

__all__ = ["Part", "Piece", "Prompt", "Slot", "SlotName", "joined", "piece"]

SlotName = Literal["query", "document", "instruction"]


@dataclass(frozen=True, slots=True)
class Slot:
    """The position of a text in a prompt.

    `strips_start`, `strips_end`: whether whitespace at the start and at the end of the text is left out.
    """

    name: SlotName
    strips_start: bool = False
    strips_end: bool = False

    def stripped(self, text: str) -> str:
        """Return the text as it is written into the prompt."""
        if self.strips_start:
            text = text.lstrip()
        return text.rstrip() if self.strips_end else text


Part = str | Slot
"""A part of a prompt: fixed text, or the position of a text."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a prompt that is tokenised on its own: its tokens do not depend on the pieces before and after it.

    `allowance`: how many times the number of its tokens is added to the maximum length, because the reference counts only other
    pieces.
    """

    parts: tuple[Part, ...]
    allowance: int = 0

    @property
    def slot_names(self) -> set[SlotName]:
        return {part.name for part in self.parts if isinstance(part, Slot)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A model's prompt, with and without an instruction.

    - `name`: the name of the prompt, for users.
    - `plain`: the pieces without an instruction, None if there always is one.
    - `instructed`: the pieces with an instruction, None if the model does not read instructions.
    - `default_instruction`: the instruction that is used if the user has none. If it is None, `plain` is used.
    - `begins_with_bos`: whether the tokenizer's token for the beginning of a text comes first.
    - `query_share`, `document_share`: at most this share of the maximum length is read of the piece with the query, or with the
      document; None if there is no such limit.
    """

    name: str
    plain: tuple[Piece, ...] | None
    instructed: tuple[Piece, ...] | None = None
    default_instruction: str | None = None
    begins_with_bos: bool = False
    query_share: float | None = None
    document_share: float | None = None

    def pieces(self, instruction: str | None) -> tuple[Piece, ...]:
        """Return the pieces with an instruction, or without one if it is None. Raises ValueError if there are none."""
        pieces = self.plain if instruction is None else self.instructed
        if pieces is None:
            raise ValueError(
                f"the prompt {self.name} has no pieces {'without' if instruction is None else 'with'} an instruction"
            )
        return pieces


def piece(text: str, *, allowance: int = 0) -> Piece:
    """Return a piece. {query}, {document} and {instruction} are slots, and {query:strip} is one that strips both ends."""
    return Piece(joined(_parts(text)), allowance)


def _parts(text: str) -> Iterator[Part]:
    for literal, name, option, _ in string.Formatter().parse(text):
        yield literal
        if name is not None:
            if name not in get_args(SlotName) or option not in ("", "strip"):
                raise ValueError(f"a prompt has the slots {', '.join(get_args(SlotName))}, not {name!r}")
            yield Slot(cast("SlotName", name), strips_start=option == "strip", strips_end=option == "strip")


def joined(parts: Iterable[Part]) -> tuple[Part, ...]:
    """Return the parts, with adjacent fixed texts joined and empty ones left out."""
    result: list[Part] = []
    for part in parts:
        if isinstance(part, str) and result and isinstance(result[-1], str):
            result[-1] += part
        elif part != "":
            result.append(part)
    return tuple(result)
