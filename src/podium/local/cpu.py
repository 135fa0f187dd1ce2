"""What this machine's processor can do, as far as a choice here depends on it."""

from __future__ import annotations

import functools
import os
from pathlib import Path

__all__ = ["cores", "int8_is_exact_as_signed"]


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def int8_is_exact_as_signed() -> bool:
    """Say whether products of uint8 activations and int8 weights are summed without saturation here.

    VNNI does; plain AVX2 (VPMADDUBSW) saturates at 16 bits, and there weights are given as uint8, slower but exact.
    Unknown processors count as plain.
    """
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "avx512_vnni" in flags or "avx_vnni" in flags
