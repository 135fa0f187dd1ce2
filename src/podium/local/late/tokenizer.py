"""LateTokenizer: a query or a document → token ids, with its prompt, and for queries the tokens that expand it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import AddedToken
from tokenizers import Tokenizer as FastTokenizer

from podium.errors import Argument, UnsupportedModel
from podium.local.files.checkpoint import Array
from podium.local.late.models import Text
from podium.local.late.spec import Expansion, LateSpec, Side
from podium.local.tokenizer import Encoded, Tokenizer, text_template

__all__ = ["LateEncoded", "LateTokenizer"]

SHORTEST = 8  # special tokens, a prompt, and a few tokens of the text
MASK_TOKENS = ("[MASK]", "<mask>")  # if the tokenizer's settings do not say


@dataclass(frozen=True, slots=True, kw_only=True)
class LateEncoded(Encoded):
    """A text as the model reads it. `text_tokens` does not count its prompt.

    - `is_compared`: which tokens' vectors are compared, bool of shape (tokens,).
    - `unattended`: how many tokens at the end no other token attends to.
    """

    is_compared: Array
    unattended: int = 0


class LateTokenizer(Tokenizer[Text]):
    """Encodes queries and documents, documents as at most `max_length` tokens."""

    def __init__(self, spec: LateSpec, max_length: int) -> None:
        super().__init__(spec.base, max_length, do_lower_case=spec.do_lower_case)
        if max_length < SHORTEST:
            raise UnsupportedModel(
                Argument("max_length", max_length), f" leaves too few tokens for a text; use {SHORTEST} or more"
            )
        if spec.query.length < SHORTEST:
            raise UnsupportedModel(
                f"{spec.folder} has the query_length {spec.query.length}, which leaves too few tokens for a query; download "
                "its settings again"
            )
        _add_markers(self._tokenizer, spec.markers)
        self._before, self._after = text_template(self._tokenizer)
        self._sides = {False: spec.document, True: spec.query}
        self._lengths = {False: max_length, True: spec.query.length}
        self._prompt_tokens = {key: len(self._tokenise([side.prompt])[0]) for key, side in self._sides.items()}
        self._skiplist = _known_ids(self._tokenizer, spec.skiplist)
        self._expansion = spec.expansion
        self._expansion_id = self._id_of(spec.expansion) if spec.expansion else 0

    def encode(self, inputs: Sequence[Text]) -> list[Encoded]:
        ids = self._tokenise([self._sides[item.is_query].prompt + item.text for item in inputs])
        return [self._encode_text(item.is_query, text_ids) for item, text_ids in zip(inputs, ids, strict=True)]

    def characters(self, item: Text) -> int:
        return len(item.text)

    def segment_ids(self, encoded: Encoded) -> Array:
        """Return 1 for the tokens that no other token attends to, else 0."""
        segments = np.zeros(len(encoded.ids), np.int32)
        if isinstance(encoded, LateEncoded) and encoded.unattended:
            segments[-encoded.unattended :] = 1
        return segments

    def _encode_text(self, is_query: bool, all_ids: Array) -> LateEncoded:
        text_ids = self._truncate(all_ids, self._lengths[is_query] - len(self._before) - len(self._after))
        ids = np.concatenate([self._before, text_ids, self._after])
        added = max(self._expansion.length - len(ids), 0) if self._expansion and is_query else 0
        ids = np.concatenate([ids, np.full(added, self._expansion_id, np.int32)])
        prompt_tokens = min(self._prompt_tokens[is_query], len(text_ids))
        return LateEncoded(
            ids,
            text_start=len(self._before) + prompt_tokens,
            text_tokens=len(text_ids) - prompt_tokens,
            dropped_text_tokens=len(all_ids) - len(text_ids),
            is_compared=self._is_compared(self._sides[is_query], ids),
            unattended=0 if self._expansion is None or self._expansion.is_attended else added,
        )

    def _is_compared(self, side: Side, ids: Array) -> Array:
        """Return which tokens are compared. A text of nothing but skiplist words keeps them all."""
        if not side.is_skipping:
            return np.ones(len(ids), np.bool_)
        is_compared = ~np.isin(ids, self._skiplist)
        return is_compared if is_compared.any() else ~is_compared

    def _id_of(self, expansion: Expansion) -> int:
        names = [expansion.token] if expansion.token else [self._name("mask_token"), *MASK_TOKENS, self._name("eos_token")]
        ids = [self._tokenizer.token_to_id(name) for name in names if name]
        known = [token_id for token_id in ids if token_id is not None]
        if not known:
            raise UnsupportedModel(
                f"queries are expanded with {expansion.token or 'a mask token'}, which the tokenizer does not have; download "
                "tokenizer.json again"
            )
        return int(known[0])

    def _name(self, key: str) -> str | None:
        """Return a special token, which is written as a string or as an object."""
        token = self._settings.get(key)
        return token.get("content") if isinstance(token, dict) else token


def _add_markers(tokenizer: FastTokenizer, markers: Sequence[str]) -> None:
    """Make one token of each marker that the vocabulary has, with its spaces or without, as sentence-transformers does."""
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    for marker in markers:
        for token in (marker, *marker.split()[:1]):
            if token in vocabulary and token.strip():
                if tokenizer.encode(token, add_special_tokens=False).tokens != [token]:
                    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True)])
                break


def _known_ids(tokenizer: FastTokenizer, words: Sequence[str]) -> Array:
    ids = [tokenizer.token_to_id(word) for word in words]
    return np.array([token_id for token_id in ids if token_id is not None], np.int32)
