"""How much longer the rules in a tokenizer.json can make a text before it is split into tokens.

A few rules that each replace one letter with ten could fill the memory from a short text. Rules of real tokenizers stay far
below that.
"""

from __future__ import annotations

import base64
import json
import math
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

__all__ = ["EXPANSION_LIMIT", "expansion_bound"]

EXPANSION_LIMIT = 200
"""A text may become this many times longer. The highest factor of real rules is 144: those of XLM-R together with a Prepend."""

BYTE_LEVEL_EXPANSION = 4  # ByteLevel writes one character per byte, and a character has at most four bytes in UTF-8
METASPACE_EXPANSION = 2  # Metaspace adds one character to each part of the text, and each part has at least one character
_SECTION = re.compile(r'"(?:normalizer|pre_tokenizer)"\s*:\s*(?=\{)')
_DECODER = json.JSONDecoder()


def expansion_bound(tokenizer_json: str) -> float:
    """Return an upper bound for the factor by which the rules of a tokenizer.json make a text longer, in characters.

    Unicode normalization (NFC, NFKD, …) of the text is not counted, because repeating it does not make the text longer again.
    Raises ValueError if a section with rules is not JSON, or a character map is not base64. The rest is not checked.
    """
    return math.prod(_expansion(rule) for rule in _objects(_sections(tokenizer_json)))


def _sections(tokenizer_json: str) -> list[Any]:
    """Return the values of `normalizer` and `pre_tokenizer`, which have the rules.

    They are found without parsing the vocabulary, which takes most of the time. An entry of the vocabulary can have the same
    name, but its value is a number. Names that are written with escapes are only found by parsing everything.
    """
    if r"\u00" in tokenizer_json:
        settings = json.loads(tokenizer_json)
        return [settings.get("normalizer"), settings.get("pre_tokenizer")] if isinstance(settings, dict) else []
    return [_DECODER.raw_decode(tokenizer_json, match.end())[0] for match in _SECTION.finditer(tokenizer_json)]


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every JSON object in a value."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _objects(item)


def _expansion(rule: dict[str, Any]) -> float:
    """Return by how many times a rule can make a text longer, at least 1.

    Rules are recognized by their fields, because old files do not name a rule's type.
    """
    if "content" in rule:  # Replace
        pattern = rule.get("pattern")
        literal = pattern.get("String") if isinstance(pattern, dict) else pattern
        inserted = _decomposed_length(rule["content"])
        if literal and isinstance(literal, str):
            return max(1.0, inserted / len(literal))
        return 1.0 + inserted  # A regular expression, and an empty string, can match between any two characters.
    if "prepend" in rule:  # Prepend, which is applied to each part of the text between added tokens
        return 1.0 + _decomposed_length(rule["prepend"])
    if "precompiled_charsmap" in rule:  # Precompiled
        return _charsmap_expansion(rule["precompiled_charsmap"])
    if "replacement" in rule:  # Metaspace
        return METASPACE_EXPANSION
    return BYTE_LEVEL_EXPANSION if rule.get("type") == "ByteLevel" or "trim_offsets" in rule else 1.0


def _charsmap_expansion(charsmap: Any) -> float:
    """Return the length of the longest text that sentencepiece's character map has for a character, at least 1.

    The map consists of four bytes with the length of a trie, the trie, and the texts, each followed by a zero byte.
    """
    content = base64.b64decode(charsmap if isinstance(charsmap, str) else b"")
    texts = content[4 + int.from_bytes(content[:4], "little") :].split(b"\0")
    return max(1.0, *(_decomposed_length(text.decode(errors="replace")) for text in texts))


def _decomposed_length(text: Any) -> int:
    """Return the length of a text or of its NFKD form, whichever is longer, because a later rule may normalize it.

    Return 0 if it is not a string.
    """
    return max(len(text), len(unicodedata.normalize("NFKD", text))) if isinstance(text, str) else 0
