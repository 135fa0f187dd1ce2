"""How much longer the rules in a tokenizer.json can make a text before it is split into tokens.

A few rules that each replace one letter with ten could fill the memory from a short text. Real tokenizers stay below a factor
of 150.
"""

from __future__ import annotations

import base64
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

__all__ = ["EXPANSION_LIMIT", "expansion_bound"]

EXPANSION_LIMIT = 200
"""A text may become this many times longer. The highest factor of real rules is 144: those of XLM-R together with a Prepend."""

BYTE_LEVEL_EXPANSION = 4  # ByteLevel writes one character per byte, and a character has at most four bytes in UTF-8
METASPACE_EXPANSION = 2  # Metaspace adds a character to each piece of text that it gets, which has at least one
# An entry of the vocabulary can have one of these names, but its value is a number, not an object.
SECTION = re.compile(r'"(?:normalizer|pre_tokenizer)"\s*:\s*(?=\{)')
DECODER = json.JSONDecoder()


def expansion_bound(tokenizer_json: str) -> float:
    """Return a bound for the factor by which rules that insert text make a text longer, in characters.

    Rules whose factor is small and the same for all tokenizers are not counted: Unicode normalization, Lowercase, and
    BertNormalizer. Raises ValueError if the rules are not JSON, or a character map is not base64.
    """
    return math.prod(_expansion(rule) for rule in _objects(_sections(tokenizer_json)))


def _sections(tokenizer_json: str) -> list[Any]:
    """Return the values of `normalizer` and `pre_tokenizer`, which have the rules.

    The vocabulary is not parsed, because it is most of the file, unless a name could be written with escapes.
    """
    if r"\u00" in tokenizer_json:  # the escape of an ASCII letter begins with it
        settings = json.loads(tokenizer_json)
        return [settings.get("normalizer"), settings.get("pre_tokenizer")] if isinstance(settings, dict) else []
    return [DECODER.raw_decode(tokenizer_json, match.end())[0] for match in SECTION.finditer(tokenizer_json)]


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every JSON object in a value."""
    children: Iterable[Any] = ()
    if isinstance(value, dict):
        yield value
        children = value.values()
    elif isinstance(value, list):
        children = value
    for child in children:
        yield from _objects(child)


def _expansion(rule: dict[str, Any]) -> float:
    """Return by how many times an object in the rules can make a text longer: 1 if it is no rule that inserts text.

    Rules are recognized by their fields, because old files do not name a rule's type.
    """
    if "content" in rule:  # Replace
        pattern = rule.get("pattern")
        literal = pattern.get("String") if isinstance(pattern, dict) else pattern
        inserted = _decomposed_length(rule["content"])
        if literal and isinstance(literal, str):
            return max(1.0, inserted / len(literal))
        # A regular expression, and an empty string, can match before each character. The match at the end is not counted.
        return 1.0 + inserted
    if "prepend" in rule:  # Prepend, which is applied to each piece of text between added tokens
        return 1.0 + _decomposed_length(rule["prepend"])
    if "precompiled_charsmap" in rule:  # Precompiled
        return _charsmap_expansion(rule["precompiled_charsmap"])
    if "replacement" in rule:  # Metaspace
        return METASPACE_EXPANSION
    if "trim_offsets" in rule or rule.get("type") == "ByteLevel":  # ByteLevel
        return BYTE_LEVEL_EXPANSION
    return 1.0


def _charsmap_expansion(charsmap: Any) -> float:
    """Return the length of the longest text that sentencepiece's character map has for a character, at least 1.

    The map consists of four bytes with the length of a trie, the trie, and the texts, each followed by a zero byte.
    """
    content = base64.b64decode(charsmap if isinstance(charsmap, str) else b"", validate=True)
    texts = content[4 + int.from_bytes(content[:4], "little") :].split(b"\0")
    return max(1.0, *(_decomposed_length(text.decode(errors="replace")) for text in texts))


def _decomposed_length(text: Any) -> int:
    """Return the length of a text's NFKD form, its longest one, because a later rule may normalize it. 0 if it is no string."""
    return len(unicodedata.normalize("NFKD", text)) if isinstance(text, str) else 0
