"""The tables of podium-mini with a number per token: stem, piece, and inverse document frequency.

Tokens are pieces of XLM-RoBERTa's vocabulary. A piece that begins with "▁" begins a word.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import snowballstemmer
from tokenizers import Tokenizer

SPACE = "▁"
SPECIAL_TOKENS = 4  # <s>, <pad>, </s>, <unk>
MAX_PASSAGES = 4000  # of each source, in which frequencies are counted
TEXT_SHARE = 0.7  # the share of the counted frequency; the rest is estimated from the probability of the piece
TOKENS_PER_TEXT = 650  # for the estimate: 130 tokens, times five, because a fifth of the base's own texts is English


@dataclass(frozen=True)
class Tables:
    """Arrays of shape (vocabulary,).

    - `stem`: a number that equal stems share: the id of the first token with this stem.
    - `is_piece`: whether a token continues a word.
    - `idf`: the inverse document frequency, from 0 to 2; 0 for tokens without a letter or digit.
    """

    stem: np.ndarray
    is_piece: np.ndarray
    idf: np.ndarray

    @property
    def importance(self) -> np.ndarray:
        """The logarithm of the square root of each token's idf, which is added to its importance before the softmax."""
        return 0.5 * np.log(np.maximum(self.idf, np.float32(0.02)))


def make(base: Path, passages: Sequence[str], vocabulary_size: int) -> Tables:
    """Return the tables. Document frequencies are counted in the passages."""
    pieces = json.loads((base / "tokenizer.json").read_text())["model"]["vocab"]
    stem = np.arange(vocabulary_size)
    is_piece = np.zeros(vocabulary_size, np.bool_)
    has_content = np.zeros(vocabulary_size, np.bool_)
    log_probability = np.full(vocabulary_size, -20.0)
    log_probability[: len(pieces)] = [score for _, score in pieces]
    first_ids: dict[str, int] = {}  # by stem
    for token_id, (piece, _) in enumerate(pieces[SPECIAL_TOKENS:], start=SPECIAL_TOKENS):
        word = folded(piece.lstrip(SPACE))
        is_piece[token_id] = not piece.startswith(SPACE)
        has_content[token_id] = any(character.isalnum() for character in word)
        if word:
            stem[token_id] = first_ids.setdefault(_stem_of(word, is_first=piece.startswith(SPACE)), token_id)
    counts = np.zeros(vocabulary_size)  # for each stem, the number of passages that have it
    for encoding in Tokenizer.from_file(str(base / "tokenizer.json")).encode_batch_fast(passages, add_special_tokens=False):
        counts[np.unique(stem[encoding.ids])] += 1
    probability = np.bincount(stem, weights=np.exp(log_probability), minlength=vocabulary_size)
    estimate = 1 - np.exp(-np.minimum(probability * TOKENS_PER_TEXT, 30))
    share = TEXT_SHARE * counts / len(passages) + (1 - TEXT_SHARE) * estimate
    idf = np.log((1 - share + 1e-4) / (share + 1e-4) + 1) / 5
    idf[~has_content] = 0
    return Tables(stem, is_piece, idf[stem].astype(np.float32))


_stemmer = snowballstemmer.stemmer("english")


def _stem_of(word: str, *, is_first: bool) -> str:
    """Return the stem of a word, or a piece unchanged. Pieces that begin a word are never equal to others."""
    if not is_first:
        return word
    return SPACE + (_stemmer.stemWord(word) if re.fullmatch("[a-z]{3,}", word) else word)


def folded(text: str) -> str:
    """Return a text in lower case and without accents."""
    decomposed = unicodedata.normalize("NFKD", text.lower())
    return "".join(character for character in decomposed if not unicodedata.combining(character))
