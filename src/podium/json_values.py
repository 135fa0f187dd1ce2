"""Parse JSON with one kind of error, and count a text's values before: a value of a few bytes takes about a hundred after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["count_outside_strings", "count_values", "load_json", "parse_json"]

MAX_FILE_BYTES = 100_000_000

_SEPARATORS = (b",", b"[", b"{")
_BLOCK_BYTES = 1 << 20


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
