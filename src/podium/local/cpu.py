"""The processor of this machine."""

from __future__ import annotations

import functools
import os
import platform
from pathlib import Path

__all__ = ["cores", "cpu_name", "int8_is_exact_as_signed"]


def cores() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def cpu_name() -> str:
    """Return the processor's name and its instruction sets, as far as the system says."""
    lines = _cpuinfo().splitlines()
    facts = [next((line for line in lines if line.startswith(key)), "") for key in ("model name", "flags", "Features")]
    return f"{platform.machine()} {platform.processor()} {' '.join(facts)}"


@functools.cache
def int8_is_exact_as_signed() -> bool:
    """Whether products of uint8 activations and int8 weights are summed without saturation.

    They are with VNNI. Plain AVX2 (VPMADDUBSW) saturates at 16 bits; uint8 weights are slower there, but exact. Unknown
    processors count as plain ones.
    """
    flags = _cpuinfo()
    return "avx512_vnni" in flags or "avx_vnni" in flags


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
