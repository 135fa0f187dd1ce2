"""PromptTokenizer, which turns a query and a document into the token ids of a model's prompt.

The pieces of a prompt, and the texts between its special tokens, are tokenised on their own, exactly as Hugging Face's
tokenizers do it with the whole prompt. Special tokens are taken from the prompt only: the same characters in a query, a
document or an instruction are tokenised like any other text, so that a document cannot end its turn.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from podium.errors import Argument, InvalidInput, UnsupportedModel
from podium.local.decoders.elements import PROBES, SLOT_NUMBERS, Element, divided, elements_of, filled, special_tokens
from podium.local.decoders.prompts import Piece, Slot, SlotName
from podium.local.decoders.spec import DecoderSpec
from podium.local.files.checkpoint import Array
from podium.local.tokenizer import Encoded, Tokenizer

__all__ = ["PromptTokenizer"]

MIN_TEXT_TOKENS = 16  # A maximum length must leave at least this many tokens for a query and a document.
MIN_BEGINNING_CHARACTERS = 1_000
LONG_DOCUMENT = 100_000  # characters; finding the beginning that is read takes as long as tokenising it
EDGE_TOKENS = 8  # more than the number of tokens that change if a text is cut

NO_SLOT = 0  # the number of tokens that have no character of a text


@dataclass(frozen=True, slots=True)
class _Tokens:
    """Tokens of a prompt, as arrays of shape (tokens,).

    - `ids`: the ids, int32.
    - `slots`: the number of the slot (SLOT_NUMBERS) of whose text a token has a character, NO_SLOT if there is none, int8.
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

    - `query`: the query, or its beginning if the rest is never read.
    - `dropped_query_tokens`: how many tokens of the query are never read, because it is too long.
    - `shared_ids`: the ids with which the prompt begins for every document.
    - `fixed_count`: how many tokens are not the document's.
    - `instruction_count`: how many tokens are the instruction's.
    """

    query: str
    before: _Tokens
    after: _Tokens
    dropped_query_tokens: int
    shared_ids: Array
    fixed_count: int
    instruction_count: int


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
        pieces_per_prompt = (spec.prompt.plain, spec.prompt.instructed)
        self._elements = {pieces: self._elements_of(pieces) for pieces in pieces_per_prompt if pieces}
        self._set_instruction(instruction)

    def with_instruction(self, instruction: str) -> PromptTokenizer:
        """Return a tokenizer like this one with another instruction. The two share the vocabulary.

        The instruction is tokenised, which takes milliseconds if it is long. Raises InvalidInput if it is too long.
        """
        tokenizer = copy.copy(self)
        tokenizer._set_instruction(instruction)
        return tokenizer

    def _set_instruction(self, instruction: str | None) -> None:
        """Prepare the prompt with an instruction, None for the default. Raises what `_check_room` raises."""
        prompt = self._spec.prompt
        max_length = self.max_length
        self._instruction = instruction if instruction is not None else prompt.default_instruction
        elements = self._elements[prompt.pieces(self._instruction)]
        index = next(i for i, element in enumerate(elements) if element.contains("document"))
        self._before = [self._prepared(element) for element in elements[:index]]
        self._document_element = elements[index]
        self._after = [self._prepared(element) for element in elements[index + 1 :]]
        self._query_element = next(element for element in elements if element.contains("query"))
        self._query_limit = None if prompt.query_share is None else int(max_length * prompt.query_share)
        self._document_limit = None if prompt.document_share is None else int(max_length * prompt.document_share)
        self._limit = min(max_length + self._allowance(elements), self._spec.position_count)
        self._template_of = functools.lru_cache(maxsize=4)(self._template)
        self._check_room(instruction)

    def _check_room(self, instruction: str | None) -> None:
        """Raise an error if the prompt leaves too few tokens: InvalidInput for an instruction, else UnsupportedModel."""
        template = self._template_of("a")
        missing_count = template.fixed_count + MIN_TEXT_TOKENS - self._limit
        if missing_count <= 0:
            return
        instruction_count = template.instruction_count
        if instruction is not None and instruction_count >= missing_count:
            raise InvalidInput(
                Argument("instruction"),
                f" has {instruction_count:,} tokens, which leaves too few for a text; shorten it by {missing_count:,} tokens",
            )
        raise UnsupportedModel(
            Argument("max_length", self.max_length),
            f" leaves too few tokens for a text beside the prompt; use {self.max_length + missing_count} or more",
        )

    def encode(self, inputs: Sequence[tuple[str, str]]) -> list[Encoded]:
        templates = [self._template_of(query) for query, _ in inputs]
        beginnings = [
            self._beginning(self._document_element, "document", text) if len(text) > LONG_DOCUMENT else (text, 0)
            for _, text in inputs
        ]
        documents = self._document_tokens(
            [(template.query, beginning) for template, (beginning, _) in zip(templates, beginnings, strict=True)]
        )
        return [
            self._encode_pair(template, document, rest_count)
            for template, document, (_, rest_count) in zip(templates, documents, beginnings, strict=True)
        ]

    def character_count(self, item: tuple[str, str]) -> int:
        query, text = item
        return len(text) + (len(query) if self._document_element.contains("query") else 0)

    def text_limit(self, query: str) -> int:
        """Return how many tokens of a text are read together with a query.

        It is 0 if there are fewer than MIN_TEXT_TOKENS, because texts would be read in far too many parts.
        """
        room = self._limit - self._template_of(query).fixed_count
        return room if room >= MIN_TEXT_TOKENS else 0

    def _encode_pair(self, template: _Template, document: _Tokens, rest_count: int) -> Encoded:
        """Return a pair as the model reads it. `rest_count` is how many tokens of the text are not in `document`."""
        text_count = document.count("document") + rest_count
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
        beginning, rest_count = self._beginning(self._query_element, "query", query)
        before = self._tokens(self._before, beginning)
        after = self._tokens(self._after, beginning)
        cut_before, cut_after = (_joined([self._without_excess(item) for item in part]) for part in (before, after))
        probes = self._document_tokens([(beginning, text) for text in PROBES])
        starts = [np.concatenate([cut_before.ids, probe.ids]) for probe in probes]
        shared_count = min(_common_length(starts[0], ids) for ids in starts) if self._spec.shares_prefix else 0
        uncut = _joined([*before, probes[0], *after])
        cut = _joined([cut_before, probes[0], cut_after])
        return _Template(
            beginning,
            cut_before,
            cut_after,
            dropped_query_tokens=rest_count + uncut.count("query") - cut.count("query"),
            shared_ids=starts[0][:shared_count],
            fixed_count=len(cut.ids) - probes[0].count("document"),
            instruction_count=cut.count("instruction"),
        )

    def _beginning(self, element: Element, name: SlotName, text: str) -> tuple[str, int]:
        """Return the beginning of a text that may be read, and how many tokens the rest has. A short text has no rest.

        Counting the tokens of a long text takes less memory than finding their characters. `element` has the text's slot.
        """
        slot = next(part for part in element.parts if isinstance(part, Slot) and part.name == name)
        stripped = slot.stripped(text)
        end = self._beginning_end(stripped)
        if end == len(stripped):
            return text, 0
        complete_count, count = (self._token_count(element, {name: item}) for item in (stripped, stripped[:end]))
        return stripped[:end], complete_count - count

    def _beginning_end(self, text: str) -> int:
        """Return where a beginning with more tokens than a prompt ends, the length of the text if there is none."""
        size = max(self._limit, MIN_BEGINNING_CHARACTERS)
        total = 0
        for end in range(size, len(text), size):
            (encoding,) = self._encodings([text[end - size : end]], self._tokenizer.encode_batch_fast)
            total += max(len(encoding) - EDGE_TOKENS, 0)
            if total > self._limit:
                return end
        return len(text)

    def _token_count(self, element: Element, texts: Mapping[SlotName, str]) -> int:
        """Return how many tokens an element with a text has. The other texts are empty."""
        text, _ = filled(element.parts, {**dict.fromkeys(SLOT_NUMBERS, ""), **texts})
        if any(token in text for token in self._special_ids):
            (encoding,) = self._encodings([text], self._tokenizer.encode_batch)
            return len(self._without_special_ids(text, encoding)[0])
        (encoding,) = self._encodings([text], self._tokenizer.encode_batch_fast)
        return len(encoding)

    def _without_excess(self, tokens: _Tokens) -> _Tokens:
        """Return the tokens of an element. If they have the query's, only as many as the prompt allows."""
        return tokens.selected(slice(self._query_limit)) if tokens.count("query") else tokens

    def _prepared(self, element: Element) -> Element | _Tokens:
        """Return the tokens of an element if they are those of every query."""
        return element if element.contains("query") else self._element_tokens(element, [{}])[0]

    def _tokens(self, elements: Sequence[Element | _Tokens], query: str) -> list[_Tokens]:
        """Return the tokens of elements without the document."""
        return [
            self._element_tokens(element, [{"query": query}])[0] if isinstance(element, Element) else element
            for element in elements
        ]

    def _document_tokens(self, inputs: Sequence[tuple[str, str]]) -> list[_Tokens]:
        """Return the tokens of the element with the document, for each pair of a query and a document."""
        return self._element_tokens(self._document_element, [{"query": query, "document": text} for query, text in inputs])

    def _element_tokens(self, element: Element, texts: Sequence[Mapping[SlotName, str]]) -> list[_Tokens]:
        """Return the tokens of an element with each of the texts."""
        if element.special_id is not None:
            return [_special_token(element.special_id)] * len(texts)
        all_filled = [filled(element.parts, {"instruction": self._instruction or "", **item}) for item in texts]
        encodings = self._encodings([text for text, _ in all_filled], self._tokenizer.encode_batch)
        return [self._labelled(text, encoding, spans) for (text, spans), encoding in zip(all_filled, encodings, strict=True)]

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
        expected = self._encodings([filled(piece.parts, texts)[0] for piece in pieces], self._tokenizer.encode_batch)
        special_ids = special_tokens(self._tokenizer, pieces)
        self._tokenizer.encode_special_tokens = True
        for piece, encoding in zip(pieces, expected, strict=True):
            ids: list[int] = []
            for element in elements_of(piece, special_ids):
                text, _ = filled(element.parts, texts)
                ids += [element.special_id] if element.special_id is not None else self._ids_of(text)
            if ids != encoding.ids:
                raise UnsupportedModel(
                    "its tokenizer reads the beginning of a text differently, so the texts between special tokens cannot be "
                    "tokenised on their own; use a model without such a rule in tokenizer.json"
                )
        return special_ids

    def _ids_of(self, text: str) -> list[int]:
        return [int(token_id) for token_id in self._tokenise([text])[0]]

    def _elements_of(self, pieces: Sequence[Piece]) -> list[Element]:
        """Return the elements of a prompt. Pieces of which a share of the maximum length is read are not divided further."""
        prompt = self._spec.prompt
        elements = [element for piece in pieces for element in elements_of(piece, self._special_ids)]
        if prompt.query_share is None and prompt.document_share is None:
            elements = [part for element in elements for part in divided(element, self._tokenizer, self._ids_of)]
        return [Element(special_id=self._bos_id()), *elements] if prompt.begins_with_bos else elements

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

    def _allowance(self, elements: Sequence[Element]) -> int:
        """Return how many tokens of the prompt are added to the maximum length."""
        allowed = [element for element in elements if element.allowance]
        return sum(
            element.allowance * len(tokens.ids) for element, tokens in zip(allowed, self._tokens(allowed, ""), strict=True)
        )


def _special_token(token_id: int) -> _Tokens:
    return _Tokens(np.array([token_id], np.int32), np.array([NO_SLOT], np.int8), np.array([False]))


def _joined(tokens: Sequence[_Tokens]) -> _Tokens:
    empty = _Tokens(np.zeros(0, np.int32), np.zeros(0, np.int8), np.zeros(0, np.bool_))
    columns = zip(*((item.ids, item.slots, item.is_inside) for item in (empty, *tokens)), strict=True)
    return _Tokens(*map(np.concatenate, columns))


def _cut(tokens: _Tokens, limit: int) -> _Tokens:
    """Return at most `limit` tokens: without the last ones of the document, or else without the last ones before the end."""
    excess = len(tokens.ids) - limit
    if excess <= 0:
        return tokens
    tail_count = len(tokens.ids) - int(np.flatnonzero(tokens.slots)[-1]) - 1
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
