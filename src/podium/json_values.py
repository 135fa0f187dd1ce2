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

_VALUE_MARKS = (b",", b"[", b"{")  # a text with n of them outside strings has at most n + 1 values
# Leaving out the marks inside strings takes time. It is not done for a text with at most FEW_VALUES marks, or with at most one
# mark per CHARACTERS_PER_COMMA characters, such as prose.
FEW_VALUES = 100
CHARACTERS_PER_COMMA = 32
_BLOCK_BYTES = 1 << 20  # how many bytes of a text are searched at a time
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
    return parse_json(content.decode("utf-8-sig"))  # some editors on Windows write a byte order mark


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text. Raises ValueError, also if it is nested too deeply or does not fit into the memory."""
    try:
        return json.loads(text)
    except (RecursionError, MemoryError) as error:
        raise ValueError("it is nested too deeply, or too large") from error


def count_values(content: bytes, limit: int) -> int:
    """Return an upper bound of the number of values in a JSON text, not counting the first: its commas and opening brackets.

    If there are more than `limit` of these characters, those inside strings are left out. This is slower.
    """
    upper_bound = sum(map(content.count, _VALUE_MARKS))
    return upper_bound if upper_bound <= limit else count_outside_strings(content)


def count_outside_strings(content: bytes) -> int:
    """Return the number of commas and opening brackets ([ or {) outside strings."""
    import numpy as np

    unescaped = content.replace(b"\\\\", b"").replace(b'\\"', b"")
    total = 0
    is_inside_at_begin = False  # whether a block begins inside a string
    for begin in range(0, len(unescaped), _BLOCK_BYTES):
        block = np.frombuffer(unescaped, np.uint8, min(_BLOCK_BYTES, len(unescaped) - begin), begin)
        is_inside = np.logical_xor.accumulate(block == ord('"')) ^ is_inside_at_begin
        total += int(np.count_nonzero(np.isin(block, [ord(mark) for mark in _VALUE_MARKS]) & ~is_inside))
        is_inside_at_begin = bool(is_inside[-1])
    return total


def text_character_bytes(data: bytes) -> int:
    """Return how many bytes Python uses at most for each character of the decoded text: 1, 2 or 4."""
    if data.isascii():
        return 1
    return 4 if data.translate(None, _UP_TO_THREE_BYTES) else 2


def string_character_bytes(data: bytes) -> int:
    """Return how many bytes Python uses at most for each character of a JSON text's strings. Escapes count as characters."""
    if _HIGH_SURROGATE.search(data):
        return 4
    return max(text_character_bytes(data), 2 if b"\\u" in data else 1)


def decoded_bytes(content: bytes) -> int:
    """Return how many bytes of memory the parsed values of a JSON text take at most."""
    value_count = 1 + count_values(content, max(FEW_VALUES, len(content) // CHARACTERS_PER_COMMA))
    return string_character_bytes(content) * len(content) + BYTES_PER_VALUE * value_count
