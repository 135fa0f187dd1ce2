"""Count the values of a JSON text before it is parsed: a value of a few bytes takes about a hundred after."""

from __future__ import annotations

__all__ = ["count_outside_strings", "count_values"]

_SEPARATORS = (b",", b"[", b"{")
_BLOCK_BYTES = 1 << 20


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
