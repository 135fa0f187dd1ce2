"""LateTokenizer, which turns a query or a document into token ids: its prompt, its own tokens, and a query's expansion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from tokenizers import AddedToken
from tokenizers import Tokenizer as FastTokenizer

from podium.errors import Argument, UnsupportedModel
from podium.local.files.checkpoint import Array
from podium.local.late.models import Text
from podium.local.late.spec import Expansion, LateSpec, Side
from podium.local.pieces import PIECES_FILE, has_pieces_file
from podium.local.tokenizer import Encoded, Tokenizer, text_template

__all__ = ["LateEncoded", "LateTokenizer"]

MIN_LENGTH = 8  # enough for special tokens, a prompt, and a few tokens of the text
MASK_TOKENS = ("[MASK]", "<mask>")  # tried if the tokenizer's settings do not name the mask token


@dataclass(frozen=True, slots=True, kw_only=True)
class LateEncoded(Encoded):
    """A query or a document as the model reads it. `text_tokens` does not count the prompt.

    - `is_compared`: whether a token's vector is compared, bool of shape (tokens,).
    - `unattended_count`: how many tokens at the end are hidden from the others, as the expansion of a query can be.
    """

    is_compared: Array
    unattended_count: int = 0


class LateTokenizer(Tokenizer[Text]):
    """Encodes queries and documents. `max_length` applies to documents; the spec has the maximum length of queries."""

    def __init__(self, spec: LateSpec, max_length: int) -> None:
        super().__init__(spec.base, max_length, do_lower_case=spec.do_lower_case)
        if max_length < MIN_LENGTH:
            raise UnsupportedModel(
                Argument("max_length", max_length), f" leaves too few tokens for a text; use {MIN_LENGTH} or more"
            )
        if spec.query.max_length < MIN_LENGTH:
            raise UnsupportedModel(
                f"{spec.folder} has the query_length {spec.query.max_length}, which leaves too few tokens for a query; "
                "download its settings again"
            )
        if has_pieces_file(spec.base):
            raise UnsupportedModel(
                f"{spec.folder} has its vocabulary in {PIECES_FILE}, which podium does not read for ColBERT models; write the "
                "vocabulary into tokenizer.json and delete that file"
            )
        _add_markers(self._tokenizer, spec.markers)
        self._before, self._after = text_template(self._tokenizer)
        self._query_side = spec.query
        self._document_side = replace(spec.document, max_length=max_length)
        self._prompt_lengths = {
            side.prompt: len(self._tokenise([side.prompt])[0]) for side in (self._query_side, self._document_side)
        }
        self._skiplist_ids = _known_ids(self._tokenizer, spec.skiplist)
        self._expansion = spec.expansion
        self._expansion_id = self._expansion_token_id(spec.expansion) if spec.expansion else 0

    def encode(self, inputs: Sequence[Text]) -> list[Encoded]:
        all_ids = self._tokenise([self._side(item).prompt + item.text for item in inputs])
        return [self._encode_ids(item, ids) for item, ids in zip(inputs, all_ids, strict=True)]

    def character_count(self, item: Text) -> int:
        return len(item.text)

    def text_limit(self, query: str) -> int:
        side = self._document_side
        return side.max_length - len(self._before) - len(self._after) - self._prompt_lengths[side.prompt]

    def segment_ids(self, encoded: Encoded) -> Array:
        """Return 1 for the tokens that are hidden from the others (`Graph.hides_segment_1`), 0 for the others."""
        segments = np.zeros(len(encoded.ids), np.int32)
        if isinstance(encoded, LateEncoded) and encoded.unattended_count:
            segments[-encoded.unattended_count :] = 1
        return segments

    def _side(self, item: Text) -> Side:
        return self._query_side if item.is_query else self._document_side

    def _encode_ids(self, item: Text, untruncated_ids: Array) -> LateEncoded:
        """Return the item as the model reads it. `untruncated_ids` are those of its prompt and text."""
        side = self._side(item)
        text_ids = self._truncate(untruncated_ids, side.max_length - len(self._before) - len(self._after))
        ids = np.concatenate([self._before, text_ids, self._after])
        unattended_count = 0
        if self._expansion and item.is_query:
            expansion_count = max(self._expansion.length - len(ids), 0)
            ids = np.concatenate([ids, np.full(expansion_count, self._expansion_id, np.int32)])
            unattended_count = 0 if self._expansion.is_attended else expansion_count
        prompt_length = min(self._prompt_lengths[side.prompt], len(text_ids))
        return LateEncoded(
            ids,
            text_start=len(self._before) + prompt_length,
            text_tokens=len(text_ids) - prompt_length,
            dropped_text_tokens=len(untruncated_ids) - len(text_ids),
            is_compared=self._is_compared(side, ids),
            unattended_count=unattended_count,
        )

    def _is_compared(self, side: Side, ids: Array) -> Array:
        """Return whether each token is compared, bool of shape (tokens,). If all are skiplist words, all are compared."""
        if not side.uses_skiplist:
            return np.ones(len(ids), np.bool_)
        is_compared = ~np.isin(ids, self._skiplist_ids)
        return is_compared if is_compared.any() else ~is_compared

    def _expansion_token_id(self, expansion: Expansion) -> int:
        """Return the id of the expansion's token, or else of the first mask or end token that the tokenizer has."""
        if expansion.token:
            names: list[str | None] = [expansion.token]
        else:
            names = [self._special_token("mask_token"), *MASK_TOKENS, self._special_token("eos_token")]
        for name in names:
            token_id = self._tokenizer.token_to_id(name) if name else None
            if token_id is not None:
                return int(token_id)
        raise UnsupportedModel(
            f"queries are expanded with {expansion.token or 'a mask token'}, which the tokenizer does not have; download "
            "tokenizer.json again"
        )

    def _special_token(self, key: str) -> str | None:
        """Return a special token of the tokenizer's settings, where it is a string or an object; None if it is missing."""
        token = self._settings.get(key)
        return token.get("content") if isinstance(token, dict) else token


def _add_markers(tokenizer: FastTokenizer, markers: Sequence[str]) -> None:
    """Make the tokenizer read every marker that is in its vocabulary as one token, as sentence-transformers does.

    If the vocabulary does not have a marker with its spaces, the marker's first word is tried.
    """
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    for marker in markers:
        for token in (marker, *marker.split()[:1]):
            if token in vocabulary and token.strip():
                if tokenizer.encode(token, add_special_tokens=False).tokens != [token]:
                    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True)])
                break


def _known_ids(tokenizer: FastTokenizer, words: Sequence[str]) -> Array:
    """Return the ids of those words that are in the vocabulary."""
    ids = [tokenizer.token_to_id(word) for word in words]
    return np.array([token_id for token_id in ids if token_id is not None], np.int32)
