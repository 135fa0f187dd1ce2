"""How much longer the rules in a tokenizer.json can make a text before it is split into tokens.

A few rules that replace a letter with ten can make a short text longer than the memory. No rule of a real tokenizer does that.
"""

from __future__ import annotations

import base64
import json
import math
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

__all__ = ["MAX_EXPANSION", "max_expansion"]

MAX_EXPANSION = 200
"""A text may become this many times longer. The maximum is 144 for rules that real tokenizers have: XLM-R's and a Prepend."""

BYTE_LEVEL_EXPANSION = 4  # ByteLevel writes each of up to four bytes of a character as a character
METASPACE_EXPANSION = 2  # Metaspace puts a character before each part of the text, and a part has at least one
_SECTION = re.compile(r'"(?:normalizer|pre_tokenizer)"\s*:\s*(?=\{)')
_DECODER = json.JSONDecoder()


def max_expansion(tokenizer_json: str) -> float:
    """Return an upper bound for the factor by which the rules of a tokenizer.json make a text longer, in characters.

    Normalization to a Unicode form is not counted. The form of a text has a bounded length, however often it is computed.
    Raises ValueError if the text is not JSON.
    """
    return math.prod(_expansion(rule) for rule in _objects(_sections(tokenizer_json)))


def _sections(tokenizer_json: str) -> list[Any]:
    """Return the values that have the rules.

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
    if "content" in rule:
        pattern = rule.get("pattern")
        literal = pattern.get("String") if isinstance(pattern, dict) else pattern
        inserted = _decomposed_length(rule["content"])
        # A regular expression, and an empty string, can match between any two characters.
        return max(1.0, inserted / len(literal)) if literal and isinstance(literal, str) else 1.0 + inserted
    if "prepend" in rule:
        return 1.0 + _decomposed_length(rule["prepend"])  # It is put before each part of the text that is not an added token.
    if "precompiled_charsmap" in rule:
        return _charsmap_expansion(rule["precompiled_charsmap"])
    if "replacement" in rule:
        return METASPACE_EXPANSION
    return BYTE_LEVEL_EXPANSION if rule.get("type") == "ByteLevel" or "trim_offsets" in rule else 1.0


def _charsmap_expansion(charsmap: Any) -> float:
    """Return the length of the longest text that sentencepiece's character map has for a character, at least 1.

    The map is the size of a trie in four bytes, the trie, and the texts, each with a zero byte at its end.
    """
    content = base64.b64decode(charsmap if isinstance(charsmap, str) else b"")
    texts = content[4 + int.from_bytes(content[:4], "little") :].split(b"\0")
    return max(1.0, *(_decomposed_length(text.decode(errors="replace")) for text in texts))


def _decomposed_length(text: Any) -> int:
    """Return the number of characters of a text, and of its longest Unicode form, to which a later rule may convert it."""
    return max(len(text), len(unicodedata.normalize("NFKD", text))) if isinstance(text, str) else 0
