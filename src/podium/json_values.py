"""Parse JSON, and estimate the number and size of its values before they are parsed.

A small JSON text can take a lot of memory: the three characters `{},` become an object of a hundred bytes. All errors of
parsing are ValueErrors.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from podium.regular_files import open_regular_file

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
BYTES_PER_VALUE = 128
"""The memory that a value takes besides the characters of strings, measured for {}, [], numbers and members of objects."""

_SEPARATORS = (b",", b"[", b"{")
FEW_VALUES = 100  # up to this number of values, an exact count is not worth its time
CHARACTERS_PER_COMMA = 32  # prose has fewer commas; only a text with more of them is worth an exact count
_BLOCK_BYTES = 1 << 20  # the number of bytes of a text that are searched at a time
_UP_TO_THREE_BYTES = bytes(range(0xF0))  # all bytes of UTF-8 except the first bytes of characters above U+FFFF
_HIGH_SURROGATE = re.compile(rb"\\u[dD][89aAbB]")


def load_json(path: Path) -> Any:
    """Return the value in a JSON file.

    Raises OSError, also if it is not a regular file, ValueError if it is too large, and the errors of `parse_json`.
    """
    with open_regular_file(path) as file:
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
    """Return an upper bound for the values that a JSON text has, besides the first: its commas and opening brackets.

    If there are more than `limit` of these characters, they are counted again without those inside strings, which is slower.
    """
    upper_bound = sum(map(content.count, _SEPARATORS))
    return upper_bound if upper_bound <= limit else count_outside_strings(content)


def count_outside_strings(content: bytes) -> int:
    """Return the number of commas and opening brackets ([ or {) outside strings."""
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
    """Return how many bytes a character of the decoded text takes at most: 1, 2 or 4, as its widest character needs."""
    if data.isascii():
        return 1
    return 4 if data.translate(None, _UP_TO_THREE_BYTES) else 2


def string_character_bytes(data: bytes) -> int:
    """Return how many bytes a character of JSON's strings takes at most, including characters that are written as escapes."""
    if _HIGH_SURROGATE.search(data):
        return 4
    return max(text_character_bytes(data), 2 if b"\\u" in data else 1)


def decoded_bytes(content: bytes) -> int:
    """Return how many bytes of memory the parsed values of a JSON text take at most."""
    value_count = 1 + count_values(content, max(FEW_VALUES, len(content) // CHARACTERS_PER_COMMA))
    return string_character_bytes(content) * len(content) + BYTES_PER_VALUE * value_count
