"""Segmentation of text in scripts that are written without spaces, into overlapping pairs of characters.

A tokenizer that separates words at spaces and punctuation takes a whole Chinese clause as one word. Pairs need no dictionary,
and a query is separated into the same pairs. docs/search.md compares pairs with alternatives (bench/segmentation.py).
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Callable

__all__ = ["RUN", "characters_of", "has_unspaced_text", "segmented", "segmented_query"]

HAN_AND_KANA = (
    "々-〇〻\u3041-\u3096\u3099\u309a\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
THAI = "\u0e01-\u0e3a\u0e40-\u0e4e"
LAO = "\u0e81-\u0ec6\u0ec8-\u0ece\u0edc-\u0edf"
KHMER = "\u1780-\u17d3\u17d7\u17dc\u17dd"
BURMESE = "\u1000-\u103f\u1050-\u1089\u108e\u108f\u109a-\u109d\ua9e0-\ua9ef\ua9fa-\ua9fe\uaa60-\uaa76\uaa7a-\uaa7f"
WIDE = "\uff01-\uff9f"  # full-width Latin letters and half-width Katakana

NORMALIZED_AT_ONCE = 2_000  # characters
# A run of characters in a script without spaces. The two groups are never in one word.
RUN = re.compile(f"[{HAN_AND_KANA}]+|[{THAI}{LAO}{KHMER}{BURMESE}]+")
# A run of characters that is normalized, so that forms of different width become the same word.
NORMALIZED = re.compile(f"[{WIDE}{HAN_AND_KANA}{THAI}{LAO}{KHMER}{BURMESE}]+")

SIGNS = "".join(
    chr(code)
    for first, last in ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3099, 0x309A), (0xA9E0, 0xAA7F))
    for code in range(first, last + 1)
    if RUN.match(chr(code)) and unicodedata.category(chr(code)) in ("Mn", "Mc")
)
"""Vowel signs and tone marks. They belong to the letter before them."""
SIGN = re.compile(f"[{SIGNS}]")
CHARACTER = re.compile(rf"[^{SIGNS}](?:[{SIGNS}]|(?<=[\u1039\u17d2]).)*|[{SIGNS}]+")
"""A letter with its signs. The Burmese and Khmer signs U+1039 and U+17D2 stack the next letter below this one."""

# tantivy's tokenizer would separate words at tone marks. So each sign is replaced by a letter of Linear A, an ancient script.
LETTERS_FOR_SIGNS = {ord(sign): 0x10600 + i for i, sign in enumerate(SIGNS)}


def segmented(text: str) -> str:
    """Return a document's text with every pair of adjacent characters as a word, and every character.

    Only text in Chinese, Japanese, Thai, Lao, Khmer and Burmese script changes. Words in other scripts stay whole.

        >>> segmented("iPhone手机壳 is")
        'iPhone 手机 机壳 手 机 壳  is'
    """
    return _with_runs_as_words(text, _pairs_and_characters)


def segmented_query(text: str) -> str:
    """Return a query's text with every pair of adjacent characters as a word. A character without a neighbor is a word, too.

    >>> segmented_query("手机壳 a 手").split()
    ['手机', '机壳', 'a', '手']
    """
    return _with_runs_as_words(text, _pairs)


def has_unspaced_text(text: str) -> bool:
    """Whether a text has characters of a script that is written without spaces."""
    return not text.isascii() and NORMALIZED.search(text) is not None


def _with_runs_as_words(text: str, words_of: Callable[[list[str]], list[str]]) -> str:
    """Replace each run by the words that `words_of` returns for its characters."""
    if text.isascii():
        return text
    text = NORMALIZED.sub(lambda run: _normalized(run[0]), text)
    return RUN.sub(lambda run: f" {' '.join(words_of(characters_of(run[0])))} ", text)


def _normalized(run: str) -> str:
    """Return a run in NFKC. A long run is normalized in parts, because the time grows with the square of a run of marks."""
    starts = range(0, len(run), NORMALIZED_AT_ONCE)
    return "".join(unicodedata.normalize("NFKC", run[start : start + NORMALIZED_AT_ONCE]) for start in starts)


def characters_of(run: str) -> list[str]:
    """Return the letters of a run, each together with its signs, which are replaced by LETTERS_FOR_SIGNS."""
    if not SIGN.search(run):
        return list(run)
    return [character.translate(LETTERS_FOR_SIGNS) for character in CHARACTER.findall(run)]


def _pairs_and_characters(characters: list[str]) -> list[str]:
    return [*map("".join, itertools.pairwise(characters)), *characters]


def _pairs(characters: list[str]) -> list[str]:
    return [*map("".join, itertools.pairwise(characters))] or characters
