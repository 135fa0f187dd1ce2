"""Parse JSON with one kind of error, and count its values and the memory that they will take: `{},` takes a hundred bytes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

__all__ = [
    "BYTES_PER_VALUE",
    "count_outside_strings",
    "count_values",
    "decoded_bytes",
    "load_json",
    "parse_json",
    "string_character_bytes",
    "text_character_bytes",
]

MAX_FILE_BYTES = 100_000_000
BYTES_PER_VALUE = 128  # of memory besides the characters of strings, measured for {}, [], numbers and members of objects

_SEPARATORS = (b",", b"[", b"{")
FEW_VALUES = 100  # of a small document
CHARACTERS_PER_COMMA = 32  # prose has fewer commas; only a text with more is worth an exact count
_BLOCK_BYTES = 1 << 20
_UP_TO_THREE_BYTES = bytes(range(0xF0))  # all bytes of UTF-8 except the first bytes of characters above U+FFFF
_HIGH_SURROGATE = re.compile(rb"\\u[dD][89aAbB]")


def load_json(path: Path) -> Any:
    """Return the value in a JSON file. Raises OSError, or ValueError as `parse_json` does and if the file is too large."""
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"{path.name} is larger than {MAX_FILE_BYTES:,} bytes")
    return parse_json(content.decode())


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text. Raises ValueError, also if it is nested too deeply or does not fit into the memory."""
    try:
        return json.loads(text)
    except (RecursionError, MemoryError) as error:
        raise ValueError("it is nested too deeply, or too large") from error


def count_values(content: bytes, limit: int) -> int:
    """Return about how many values a JSON text has: the number of its commas and opening brackets.

    If there are more than `limit`, they are counted again without those inside strings, which takes longer.
    """
    upper_bound = sum(map(content.count, _SEPARATORS))
    return upper_bound if upper_bound <= limit else count_outside_strings(content)


def count_outside_strings(content: bytes) -> int:
    """Return the number of commas and opening brackets outside strings."""
    import numpy as np

    unescaped = content.replace(b"\\\\", b"").replace(b'\\"', b"")
    total, in_string = 0, False
    for begin in range(0, len(unescaped), _BLOCK_BYTES):
        block = np.frombuffer(unescaped, np.uint8, min(_BLOCK_BYTES, len(unescaped) - begin), begin)
        is_inside = np.logical_xor.accumulate(block == ord('"')) ^ in_string
        total += int(np.count_nonzero(np.isin(block, [ord(mark) for mark in _SEPARATORS]) & ~is_inside))
        in_string = bool(is_inside[-1])
    return total


def text_character_bytes(data: bytes) -> int:
    """Return an upper bound for the bytes per character of decoded UTF-8, which depend on the widest character of a string."""
    if data.isascii():
        return 1
    return 4 if data.translate(None, _UP_TO_THREE_BYTES) else 2


def string_character_bytes(data: bytes) -> int:
    """Return an upper bound for the bytes per character of the strings in JSON, in which escapes stand for any character."""
    if _HIGH_SURROGATE.search(data):
        return 4
    return max(text_character_bytes(data), 2 if b"\\u" in data else 1)


def decoded_bytes(content: bytes) -> int:
    """Return an upper bound for the memory of the parsed values of a JSON text."""
    value_count = 1 + count_values(content, max(FEW_VALUES, len(content) // CHARACTERS_PER_COMMA))
    return string_character_bytes(content) * len(content) + BYTES_PER_VALUE * value_count
