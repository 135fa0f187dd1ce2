"""How RediSearch splits text into words, and which words of a query to search for. Pure."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["has_escaped_word", "tokens", "words"]

# The characters at which RediSearch splits (src/toksep.h), and control characters, which its query parser cannot read.
_SEPARATORS = r"\x00-\x20,./(){}\[\]:;\\~!@#$%^&*\-=+|'`\"<>?\x7f"
SEPARATORS = re.compile(rf"[{_SEPARATORS}]+")
INDEXED_TOKEN = re.compile(rf"(?:\\.|[^{_SEPARATORS}])+", re.DOTALL)
PLAIN_TOKEN = re.compile(rf"\\?[^{_SEPARATORS}]+|[{_SEPARATORS}]+")


def tokens(text: str) -> list[str]:
    """Split a text at ASCII punctuation, where RediSearch splits documents, and at spaces of any kind."""
    return [token for part in SEPARATORS.split(text) for token in part.split() if token.strip("_")]


def words(query: str) -> list[str]:
    """Return the words to search for. None of them can be an operator.

    RediSearch does not split documents at other punctuation, such as a typographic apostrophe. So a word with such a
    character is searched for as it is, which matches documents that spell it alike, and as its parts.

        >>> words("don’t stop!")
        ['don’t', 'don', 't', 'stop']
    """
    return [word for token in tokens(query) for word in dict.fromkeys((token, *_parts(token)))]


def has_escaped_word(text: str) -> bool:
    """Whether a backslash in a document keeps RediSearch from finding one of its words.

    RediSearch reads a backslash as an escape: it is removed, and the character after it never separates words.

        >>> has_escaped_word(r"C:\\Users\\ann"), has_escaped_word(r"costs \\$100"), has_escaped_word(r"\\alpha + \\beta")
        (True, True, False)
    """
    return "\\" in text and not all(map(PLAIN_TOKEN.fullmatch, INDEXED_TOKEN.findall(text)))


def _parts(token: str) -> list[str]:
    if token.isascii():
        return []
    parts = "".join(" " if _is_punctuation(letter) else letter for letter in token).split()
    return [part for part in parts if part.strip("_")]  # RediSearch cannot parse a query for underscores alone


def _is_punctuation(letter: str) -> bool:
    """Whether a character separates words: punctuation, accents on their own, and full-width forms of ASCII symbols."""
    if letter.isascii():
        return False
    category = unicodedata.category(letter)
    return category[0] in "PZ" or category == "Sk" or bool(SEPARATORS.fullmatch(unicodedata.normalize("NFKC", letter)))
