"""How many values some JSON holds, counted before it is parsed: a few bytes each become a hundred in memory."""

from __future__ import annotations

__all__ = ["count_outside_strings", "count_values"]

_SEPARATORS = (b",", b"[", b"{")


def count_values(content: bytes, enough: int) -> int:
    """Return about how many values some JSON has: its commas and opening brackets outside strings.

    Up to `enough`, those in strings are counted too, which is faster.
    """
    at_most = sum(map(content.count, _SEPARATORS))
    return at_most if at_most <= enough else count_outside_strings(content)


def count_outside_strings(content: bytes) -> int:
    """Return how many commas and opening brackets stand outside strings."""
    import numpy as np

    unescaped = content.replace(b"\\\\", b"").replace(b'\\"', b"")
    total, in_string = 0, False
    for begin in range(0, len(unescaped), 1 << 20):
        block = np.frombuffer(unescaped, np.uint8, min(1 << 20, len(unescaped) - begin), begin)
        inside = np.logical_xor.accumulate(block == ord('"')) ^ in_string
        total += int(np.count_nonzero(np.isin(block, [ord(mark) for mark in _SEPARATORS]) & ~inside))
        in_string = bool(inside[-1])
    return total
