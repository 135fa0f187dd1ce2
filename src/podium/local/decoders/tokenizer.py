"""PromptTokenizer, which turns a query and a document into the token ids of a model's prompt.

The pieces of a prompt, and the texts between its special tokens, are tokenised on their own, exactly as Hugging Face's
tokenizers do it with the whole prompt. Special tokens are taken from the prompt only: the same characters in a query, a
document or an instruction are tokenised like any other text, so that a document cannot end its turn.
"""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tokenizers import AddedToken
from tokenizers import Tokenizer as FastTokenizer

from podium.errors import Argument, UnsupportedModel
from podium.local.decoders.prompts import Part, Piece, Slot, SlotName
from podium.local.decoders.spec import DecoderSpec
from podium.local.files.checkpoint import Array
from podium.local.tokenizer import Encoded, Tokenizer

__all__ = ["PromptTokenizer"]

PROBES = ("a", "A", "1", "é", ".", ":", " ", "\n", "中")
"""Beginnings of documents. Tokens at the start of a prompt are shared if they are the same for all of these."""
MIN_TEXT_TOKENS = 16  # A maximum length must leave at least this many tokens for a query and a document.

NO_SLOT = 0
SLOT_NUMBERS: dict[SlotName, int] = {"query": 1, "document": 2, "instruction": 3}


@dataclass(frozen=True, slots=True)
class _Element:
    """A part of a prompt that is tokenised at once: a special token, or parts without special tokens.

    - `parts`: the parts of the text, () for a special token.
    - `special_id`: the id of a special token.
    - `allowance`: that of the piece.
    """

    parts: tuple[Part, ...] = ()
    special_id: int | None = None
    allowance: int = 0

    def contains(self, slot: SlotName) -> bool:
        return any(isinstance(part, Slot) and part.name == slot for part in self.parts)


@dataclass(frozen=True, slots=True)
class _Tokens:
    """Tokens of a prompt, as arrays of shape (tokens,).

    - `ids`: the ids, int32.
    - `slots`: the number of the slot (SLOT_NUMBERS) from whose text a token has a character, int8. It is NO_SLOT for a token
      that has only fixed text.
    - `is_inside`: whether all characters of a token are those of one slot's text, bool.
    """

    ids: Array
    slots: Array
    is_inside: Array

    def selected(self, selection: Any) -> _Tokens:
        return _Tokens(self.ids[selection], self.slots[selection], self.is_inside[selection])

    def count(self, slot: SlotName) -> int:
        return int(np.count_nonzero(self.slots == SLOT_NUMBERS[slot]))


@dataclass(frozen=True, slots=True)
class _Template:
    """The prompt for one query: its tokens before and after the element with the document.

    - `dropped_query_tokens`: how many tokens of the query are never read, because it is too long.
    - `shared_ids`: the ids with which the prompt begins for every document.
    - `fixed_count`: how many tokens are not the document's.
    """

    before: _Tokens
    after: _Tokens
    dropped_query_tokens: int
    shared_ids: Array
    fixed_count: int


class PromptTokenizer(Tokenizer[tuple[str, str]]):
    """Encodes pairs of a query and a document with a model's prompt.

    If a prompt is too long, the last tokens of the document are cut off, and if that is not enough, the last tokens before the
    end of the prompt. The end of the prompt, after which the model's answer is read, is never cut off.

    `instruction` replaces the prompt's default instruction.
    """

    def __init__(self, spec: DecoderSpec, max_length: int, *, instruction: str | None = None) -> None:
        super().__init__(spec.base, max_length, do_lower_case=spec.do_lower_case)
        self._spec = spec
        self._special_ids = self._checked_special_ids()
        self._set_instruction(instruction)

    def with_instruction(self, instruction: str) -> PromptTokenizer:
        """Return a tokenizer like this one with another instruction. The two share the vocabulary."""
        tokenizer = copy.copy(self)
        tokenizer._set_instruction(instruction)
        return tokenizer

    def _set_instruction(self, instruction: str | None) -> None:
        """Prepare the prompt with an instruction, None for the default. Raises UnsupportedModel if it does not fit."""
        prompt = self._spec.prompt
        max_length = self.max_length
        self._instruction = instruction if instruction is not None else prompt.default_instruction
        elements = list(self._elements(prompt.pieces(self._instruction)))
        if prompt.begins_with_bos:
            elements = [_Element(special_id=self._bos_id()), *elements]
        document_index = next(index for index, element in enumerate(elements) if element.contains("document"))
        self._before = elements[:document_index]
        self._document_element = elements[document_index]
        self._after = elements[document_index + 1 :]
        self._query_limit = None if prompt.query_share is None else int(max_length * prompt.query_share)
        self._document_limit = None if prompt.document_share is None else int(max_length * prompt.document_share)
        self._limit = min(max_length + self._allowance(elements), self._spec.position_count)
        self._template_of = functools.lru_cache(maxsize=4)(self._template)
        template = self._template_of("a")
        if self._limit < template.fixed_count + MIN_TEXT_TOKENS:
            min_length = max_length - self._limit + template.fixed_count + MIN_TEXT_TOKENS
            raise UnsupportedModel(
                Argument("max_length", max_length),
                f" leaves too few tokens for a text beside the prompt; use {min_length} or more",
            )

    def encode(self, inputs: Sequence[tuple[str, str]]) -> list[Encoded]:
        templates = [self._template_of(query) for query, _ in inputs]
        documents = self._document_tokens(inputs)
        return [self._encode_pair(template, document) for template, document in zip(templates, documents, strict=True)]

    def character_count(self, item: tuple[str, str]) -> int:
        query, text = item
        return len(text) + (len(query) if self._document_element.contains("query") else 0)

    def text_limit(self, query: str) -> int:
        """Return how many tokens of a text are read together with a query.

        A query that leaves less than a quarter of the tokens is not counted completely, because texts would be read in far too
        many parts.
        """
        return max(self._limit - self._template_of(query).fixed_count, self._limit // 4)

    def _encode_pair(self, template: _Template, document: _Tokens) -> Encoded:
        text_count = document.count("document")
        uncut = _joined([template.before, document.selected(slice(self._document_limit)), template.after])
        tokens = _cut(uncut, self._limit)
        read_count = tokens.count("document")
        query_count = tokens.count("query")
        query_drop_count = uncut.count("query") - query_count + template.dropped_query_tokens
        shared = template.shared_ids[: len(tokens.ids) - 1]
        return Encoded(
            tokens.ids,
            text_start=int(np.argmax(tokens.slots == SLOT_NUMBERS["document"])) if read_count else len(tokens.ids),
            text_tokens=read_count,
            dropped_text_tokens=text_count - read_count,
            query_tokens=query_count,
            dropped_query_tokens=query_drop_count,
            # A document may begin with a character that changes the token before it, and a long query may be cut off.
            shared_tokens=_common_length(tokens.ids, shared),
        )

    def _template(self, query: str) -> _Template:
        """Return the prompt for a query, without those tokens of the query that exceed the prompt's limit."""
        all_before = self._tokens(self._before, query)
        all_after = self._tokens(self._after, query)
        before = _joined([self._without_excess(tokens) for tokens in all_before])
        after = _joined([self._without_excess(tokens) for tokens in all_after])
        query_count = sum(tokens.count("query") for tokens in [*all_before, *all_after])
        probes = self._document_tokens([(query, text) for text in PROBES])
        beginnings = [np.concatenate([before.ids, probe.ids]) for probe in probes]
        shared_count = min(_common_length(beginnings[0], ids) for ids in beginnings) if self._spec.shares_prefix else 0
        return _Template(
            before,
            after,
            dropped_query_tokens=query_count - before.count("query") - after.count("query"),
            shared_ids=beginnings[0][:shared_count],
            fixed_count=len(beginnings[0]) - probes[0].count("document") + len(after.ids),
        )

    def _without_excess(self, tokens: _Tokens) -> _Tokens:
        """Return the tokens of an element. If they have the query's, only as many as the prompt allows."""
        return tokens.selected(slice(self._query_limit)) if tokens.count("query") else tokens

    def _tokens(self, elements: Sequence[_Element], query: str) -> list[_Tokens]:
        """Return the tokens of elements without the document."""
        return [self._element_tokens([element], [{"query": query}])[0] for element in elements]

    def _document_tokens(self, inputs: Sequence[tuple[str, str]]) -> list[_Tokens]:
        """Return the tokens of the element with the document, for each pair of a query and a document."""
        texts: list[dict[SlotName, str]] = [{"query": query, "document": text} for query, text in inputs]
        return self._element_tokens([self._document_element] * len(inputs), texts)

    def _element_tokens(self, elements: Sequence[_Element], texts: Sequence[Mapping[SlotName, str]]) -> list[_Tokens]:
        if elements and elements[0].special_id is not None:
            return [_special_token(element.special_id) for element in elements if element.special_id is not None]
        filled = [
            _filled(element.parts, {"instruction": self._instruction or "", **item})
            for element, item in zip(elements, texts, strict=True)
        ]
        encodings = self._encodings([text for text, _ in filled], self._tokenizer.encode_batch)
        return [self._labelled(text, encoding, spans) for (text, spans), encoding in zip(filled, encodings, strict=True)]

    def _labelled(self, text: str, encoding: Any, spans: Sequence[tuple[int, int, int]]) -> _Tokens:
        ids, offsets = self._without_special_ids(text, encoding)
        slots = np.full(len(ids), NO_SLOT, np.int8)
        is_inside = np.zeros(len(ids), np.bool_)
        for start, end, number in spans:
            slots[(offsets[:, 0] < end) & (offsets[:, 1] > start)] = number
            is_inside |= (offsets[:, 0] >= start) & (offsets[:, 1] <= end)
        return _Tokens(ids, slots, is_inside)

    def _without_special_ids(self, text: str, encoding: Any) -> tuple[Array, Array]:
        """Return the ids of a text, and the start and end of each token, without ids of special tokens.

        A vocabulary may also have special tokens as ordinary tokens. A text with such tokens is split inside each of them. An
        unknown character also has the id of a special token, and keeps it.
        """
        ids = np.array(encoding.ids, np.int32)
        offsets = np.array(encoding.offsets, np.int32).reshape(-1, 2)
        special = offsets[np.isin(ids, list(self._special_ids.values()))].tolist()
        middles = [start + 1 for start, end in special if end > start + 1 and text[start:end] in self._special_ids]
        if not middles:
            return ids, offsets
        starts = [0, *middles]
        parts = [text[start:end] for start, end in zip(starts, [*middles, len(text)], strict=True)]
        encodings = self._encodings(parts, self._tokenizer.encode_batch)
        results = [self._without_special_ids(part, item) for part, item in zip(parts, encodings, strict=True)]
        shifted = [part_offsets + start for (_, part_offsets), start in zip(results, starts, strict=True)]
        return np.concatenate([part_ids for part_ids, _ in results]), np.concatenate(shifted)

    def _checked_special_ids(self) -> dict[str, int]:
        """Make the tokenizer read special tokens in texts like any other text, and return all special tokens with their ids.

        Raises UnsupportedModel if the tokenizer would read a whole prompt differently from its elements.
        """
        prompt = self._spec.prompt
        texts: dict[SlotName, str] = {"query": "a", "document": "b", "instruction": "c"}
        pieces = [piece for pieces in (prompt.plain, prompt.instructed) if pieces for piece in pieces]
        expected = self._encodings([_filled(piece.parts, texts)[0] for piece in pieces], self._tokenizer.encode_batch)
        special_ids = _special_ids(self._tokenizer, pieces)
        self._tokenizer.encode_special_tokens = True
        for piece, encoding in zip(pieces, expected, strict=True):
            ids: list[int] = []
            for element in _split(piece, special_ids):
                text, _ = _filled(element.parts, texts)
                ids += [element.special_id] if element.special_id is not None else self._tokenise([text])[0].tolist()
            if ids != encoding.ids:
                raise UnsupportedModel(
                    "its tokenizer reads the beginning of a text differently, so the texts between special tokens cannot be "
                    "tokenised on their own; use a model without such a rule in tokenizer.json"
                )
        return special_ids

    def _elements(self, pieces: Sequence[Piece]) -> Iterator[_Element]:
        for piece in pieces:
            yield from _split(piece, self._special_ids)

    def _bos_id(self) -> int:
        """Return the id of the token for the beginning of a text, which the tokenizer's settings name."""
        token = self._settings.get("bos_token")
        name = token.get("content") if isinstance(token, dict) else token
        token_id = self._tokenizer.token_to_id(name) if isinstance(name, str) else None
        if token_id is None:
            raise UnsupportedModel(
                "its prompts begin with bos_token, which its tokenizer_config.json does not name; download the file again"
            )
        return int(token_id)

    def _allowance(self, elements: Sequence[_Element]) -> int:
        """Return how many tokens of the prompt are added to the maximum length."""
        allowed = [element for element in elements if element.allowance]
        return sum(
            element.allowance * len(tokens.ids) for element, tokens in zip(allowed, self._tokens(allowed, ""), strict=True)
        )


def _special_token(token_id: int) -> _Tokens:
    return _Tokens(np.array([token_id], np.int32), np.array([NO_SLOT], np.int8), np.array([False]))


def _joined(tokens: Sequence[_Tokens]) -> _Tokens:
    empty = _Tokens(np.zeros(0, np.int32), np.zeros(0, np.int8), np.zeros(0, np.bool_))
    items = [empty, *tokens]  # np.concatenate needs at least one array.
    return _Tokens(
        np.concatenate([item.ids for item in items]),
        np.concatenate([item.slots for item in items]),
        np.concatenate([item.is_inside for item in items]),
    )


def _cut(tokens: _Tokens, limit: int) -> _Tokens:
    """Return at most `limit` tokens: without the last ones of the document, or else without the last ones before the end."""
    excess = len(tokens.ids) - limit
    if excess <= 0:
        return tokens
    tail_count = len(tokens.ids) - int(np.flatnonzero(tokens.slots != NO_SLOT)[-1]) - 1
    document = np.flatnonzero((tokens.slots == SLOT_NUMBERS["document"]) & tokens.is_inside)
    rest = tokens.selected(np.delete(np.arange(len(tokens.ids)), document[max(len(document) - excess, 0) :]))
    if len(rest.ids) <= limit:
        return rest
    end = len(rest.ids) - tail_count
    return _joined([rest.selected(slice(limit - tail_count)), rest.selected(slice(end, None))])


def _common_length(first: Array, second: Array) -> int:
    """Return how many ids at the beginning of two arrays are equal."""
    count = min(len(first), len(second))
    different = np.flatnonzero(first[:count] != second[:count])
    return int(different[0]) if len(different) else count


def _filled(parts: Sequence[Part], texts: Mapping[SlotName, str]) -> tuple[str, list[tuple[int, int, int]]]:
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


def _special_ids(tokenizer: FastTokenizer, pieces: Sequence[Piece]) -> dict[str, int]:
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


def _split(piece: Piece, special_ids: Mapping[str, int]) -> Iterator[_Element]:
    """Yield the special tokens in the fixed texts of a piece, and the parts between them."""
    tokens = sorted(special_ids, key=len, reverse=True)
    pattern = re.compile("(" + "|".join(map(re.escape, tokens)) + ")") if tokens else None
    parts: list[Part] = []
    for part in piece.parts:
        for text in pattern.split(part) if pattern and isinstance(part, str) else [part]:
            if isinstance(text, str) and text in special_ids:
                if parts:
                    yield _Element(tuple(parts), allowance=piece.allowance)
                yield _Element(special_id=special_ids[text], allowance=piece.allowance)
                parts = []
            elif text:
                parts.append(text)
    if parts:
        yield _Element(tuple(parts), allowance=piece.allowance)
