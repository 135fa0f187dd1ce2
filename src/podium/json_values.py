"""Count the values of a JSON text before it is parsed: a value of a few bytes takes about a hundred in memory."""

from __future__ import annotations

__all__ = ["count_outside_strings", "count_values"]

_SEPARATORS = (b",", b"[", b"{")


def count_values(content: bytes, limit: int) -> int:
    """Return about how many values a JSON text has: the number of its commas and opening brackets.

    Above `limit`, the result leaves out those in strings, which takes longer to count.
    """
    upper_bound = sum(map(content.count, _SEPARATORS))
    return upper_bound if upper_bound <= limit else count_outside_strings(content)


def count_outside_strings(content: bytes) -> int:
    """Return the number of commas and opening brackets outside strings."""
    import numpy as np

    unescaped = content.replace(b"\\\\", b"").replace(b'\\"', b"")
    total, in_string = 0, False
    for begin in range(0, len(unescaped), 1 << 20):
        block = np.frombuffer(unescaped, np.uint8, min(1 << 20, len(unescaped) - begin), begin)
        inside = np.logical_xor.accumulate(block == ord('"')) ^ in_string
        total += int(np.count_nonzero(np.isin(block, [ord(mark) for mark in _SEPARATORS]) & ~inside))
        in_string = bool(inside[-1])
    return total
