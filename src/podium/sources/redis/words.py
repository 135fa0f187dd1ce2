"""Words of documents, as RediSearch separates them, and the words of a query to search for."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["has_escaped_word", "tokens", "words"]

# The characters at which RediSearch separates words (its file src/toksep.h), and control characters, which no query may have.
_SEPARATOR_CHARACTERS = r"\x00-\x20,./(){}\[\]:;\\~!@#$%^&*\-=+|'`\"<>?\x7f"
SEPARATORS = re.compile(rf"[{_SEPARATOR_CHARACTERS}]+")
# A token of a document as RediSearch reads it: a backslash escapes the character after it.
INDEXED_TOKEN = re.compile(rf"(?:\\.|[^{_SEPARATOR_CHARACTERS}])+", re.DOTALL)
# A token of which backslashes hide no word: a word, also after a backslash, or only separators.
PLAIN_TOKEN = re.compile(rf"\\?[^{_SEPARATOR_CHARACTERS}]+|[{_SEPARATOR_CHARACTERS}]+")


def tokens(text: str) -> list[str]:
    """Split a text at ASCII punctuation, where RediSearch splits documents, and at spaces of any kind."""
    return [token for part in SEPARATORS.split(text) for token in part.split() if token.strip("_")]


def words(query: str) -> list[str]:
    """Return the words to search for. None of them can be an operator.

    RediSearch splits documents at ASCII punctuation, but not at other punctuation, such as a typographic apostrophe. A word
    that contains such a character is returned unchanged, to find documents with the same spelling, and also as its parts.

        >>> words("don’t stop!")
        ['don’t', 'don', 't', 'stop']
    """
    query_words = []
    for token in tokens(query):
        query_words.append(token)
        query_words += [part for part in dict.fromkeys(_parts(token)) if part != token]
    return query_words


def has_escaped_word(text: str) -> bool:
    """Whether a backslash in a document keeps RediSearch from finding one of its words.

    RediSearch reads a backslash as an escape: it is removed, and the character after it never separates words.

        >>> has_escaped_word(r"C:\\Users\\ann"), has_escaped_word(r"costs \\$100"), has_escaped_word(r"\\alpha + \\beta")
        (True, True, False)
    """
    return "\\" in text and not all(map(PLAIN_TOKEN.fullmatch, INDEXED_TOKEN.findall(text)))


def _parts(token: str) -> list[str]:
    """Return the parts of a token between punctuation that is not ASCII."""
    if token.isascii():
        return []
    parts = "".join(" " if _is_punctuation(character) else character for character in token).split()
    return [part for part in parts if part.strip("_")]  # RediSearch cannot parse a query for underscores alone


def _is_punctuation(character: str) -> bool:
    """Whether a character separates words: punctuation, a spacing accent, or the full-width form of an ASCII symbol."""
    if character.isascii():
        return False
    category = unicodedata.category(character)
    return category[0] in "PZ" or category == "Sk" or bool(SEPARATORS.fullmatch(unicodedata.normalize("NFKC", character)))
