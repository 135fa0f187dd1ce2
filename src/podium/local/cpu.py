"""What this machine's processor can do, as far as a choice here depends on it."""

from __future__ import annotations

import functools
import os
import platform
from pathlib import Path

__all__ = ["cores", "cpu_name", "int8_is_exact_as_signed"]


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def cpu_name() -> str:
    """Return what tells this kind of processor from others, as far as the system says: its name and what it can do."""
    lines = _cpuinfo().splitlines()
    told = {key: next((line for line in lines if line.startswith(key)), "") for key in ("model name", "flags", "Features")}
    return f"{platform.machine()} {platform.processor()} {' '.join(told.values())}"


@functools.cache
def int8_is_exact_as_signed() -> bool:
    """Say whether products of uint8 activations and int8 weights are summed without saturation here.

    VNNI does; plain AVX2 (VPMADDUBSW) saturates at 16 bits, and there weights are given as uint8, slower but exact.
    Unknown processors count as plain.
    """
    flags = _cpuinfo()
    return "avx512_vnni" in flags or "avx_vnni" in flags


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
