"""Elements, the parts of a prompt that are tokenised on their own: special tokens, and the texts between them.

A text between special tokens is divided further if that does not change its tokens. So a long query or instruction is not
tokenised again with every document.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tokenizers import AddedToken
from tokenizers import Tokenizer as FastTokenizer

from podium.errors import UnsupportedModel
from podium.local.decoders.prompts import Part, Piece, Slot, SlotName

__all__ = ["PROBES", "SLOT_NUMBERS", "Element", "divided", "elements_of", "filled", "special_tokens"]

PROBES = ("a", "A", "1", "é", ".", ":", " ", "\n", "中", "'s", "\u0338", "b\r\n", "<|x|>")
"""Texts whose first and last characters are of different kinds, to check that tokens beside a text do not depend on it."""
SLOT_NUMBERS: dict[SlotName, int] = {"query": 1, "document": 2, "instruction": 3}
_WORD_END = re.compile(r"(?<=[A-Za-z])(?=[:>\])}=|])")  # where the rules of tokenizers that split words always divide a text


@dataclass(frozen=True, slots=True)
class Element:
    """A part of a prompt that is tokenised at once: a special token, or parts without special tokens.

    - `parts`: the parts of the text, () for a special token.
    - `special_id`: the id of a special token.
    - `allowance`: that of the piece.
    """

    parts: tuple[Part, ...] = ()
    special_id: int | None = None
    allowance: int = 0

    def contains(self, name: SlotName) -> bool:
        return any(isinstance(part, Slot) and part.name == name for part in self.parts)


def special_tokens(tokenizer: FastTokenizer, pieces: Sequence[Piece]) -> dict[str, int]:
    """Return the special tokens and their ids, and make those tokens special that the prompt has.

    Some tokenizers do not mark tokens such as <think> as special. Tokens of spaces are not special in any prompt.
    Raises UnsupportedModel if a token of the prompt also takes the spaces around it.
    """
    literals = "\0".join(part for piece in pieces for part in piece.parts if isinstance(part, str))
    special_ids: dict[str, int] = {}
    for token_id, token in tokenizer.get_added_tokens_decoder().items():
        is_in_prompt = token.content in literals and not token.content.isspace()
        if is_in_prompt and (token.lstrip or token.rstrip or token.single_word):
            raise UnsupportedModel(
                f"its tokenizer.json lets the token {token.content!r} take the spaces around it, which podium does not have; "
                "use another model"
            )
        if is_in_prompt and not token.special:
            tokenizer.add_special_tokens([AddedToken(token.content, normalized=token.normalized, special=True)])
        if is_in_prompt or token.special:
            special_ids[token.content] = token_id
    return special_ids


def elements_of(piece: Piece, special_ids: Mapping[str, int]) -> Iterator[Element]:
    """Yield the special tokens in the fixed texts of a piece, and the parts between them."""
    tokens = sorted(special_ids, key=len, reverse=True)
    pattern = re.compile("(" + "|".join(map(re.escape, tokens)) + ")") if tokens else None
    parts: list[Part] = []
    for part in piece.parts:
        for text in pattern.split(part) if pattern and isinstance(part, str) else [part]:
            if isinstance(text, str) and text in special_ids:
                if parts:
                    yield Element(tuple(parts), allowance=piece.allowance)
                yield Element(special_id=special_ids[text], allowance=piece.allowance)
                parts = []
            elif text:
                parts.append(text)
    if parts:
        yield Element(tuple(parts), allowance=piece.allowance)


def divided(element: Element, tokenizer: FastTokenizer, ids_of: Callable[[str], list[int]]) -> list[Element]:
    """Return elements that have the tokens of an element together. If possible, each has one slot.

    An element is divided at the ends of words between its slots, if the tokenizer divides every text there before it looks for
    tokens. `ids_of` returns the token ids of a text.
    """
    groups = _parts_per_slot(element.parts)
    added_tokens = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    borders = [str(parts[-1])[-1] + str(following[0])[0] for parts, following in itertools.pairwise(groups)]
    if any(border in token for border in borders for token in added_tokens):
        return [element]
    is_divided = all(_is_divided(groups, dict.fromkeys(SLOT_NUMBERS, probe), tokenizer, ids_of) for probe in PROBES)
    return [replace(element, parts=parts) for parts in groups] if is_divided else [element]


def _parts_per_slot(parts: Sequence[Part]) -> list[tuple[Part, ...]]:
    """Return parts in groups with one slot each, or with several if there is no end of a word between them."""
    groups: list[tuple[Part, ...]] = []
    group: list[Part] = []
    for index, part in enumerate(parts):
        ends = [match.end() for match in _WORD_END.finditer(part)] if isinstance(part, str) else []
        if isinstance(part, str) and ends and 0 < index < len(parts) - 1:
            groups.append((*group, part[: ends[-1]]))
            group = [part[ends[-1] :]]
        else:
            group.append(part)
    return [*groups, tuple(group)]


def _is_divided(
    groups: Sequence[Sequence[Part]],
    texts: Mapping[SlotName, str],
    tokenizer: FastTokenizer,
    ids_of: Callable[[str], list[int]],
) -> bool:
    """Whether the tokenizer divides a text where groups of parts end, and makes the same tokens of the whole text."""
    if len(groups) < 2 or tokenizer.pre_tokenizer is None:
        return False
    texts_of_groups = [filled(parts, texts)[0] for parts in groups]
    text = "".join(texts_of_groups)
    ends = {end for _, (_, end) in tokenizer.pre_tokenizer.pre_tokenize_str(text)}
    if not ends.issuperset(itertools.accumulate(map(len, texts_of_groups))):
        return False
    return ids_of(text) == [token_id for part in texts_of_groups for token_id in ids_of(part)]


def filled(parts: Sequence[Part], texts: Mapping[SlotName, str]) -> tuple[str, list[tuple[int, int, int]]]:
    """Return the text of parts, and the start, the end and the number of each slot's text."""
    text = ""
    spans: list[tuple[int, int, int]] = []
    for part in parts:
        if isinstance(part, Slot):
            filling = part.stripped(texts[part.name])
            spans.append((len(text), len(text) + len(filling), SLOT_NUMBERS[part.name]))
            text += filling
        else:
            text += part
    return text, spans
