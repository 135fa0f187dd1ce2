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
    """Return the processor's name and its instruction sets, as far as the system reports them."""
    lines = _cpuinfo().splitlines()
    # /proc/cpuinfo repeats these lines for every core. The instruction sets are the flags of x86 and the Features of ARM.
    first_lines = [next((line for line in lines if line.startswith(key)), "") for key in ("model name", "flags", "Features")]
    return f"{platform.machine()} {platform.processor()} {' '.join(first_lines)}"


@functools.cache
def int8_is_exact_as_signed() -> bool:
    """Whether this processor adds up products of uint8 activations and int8 weights without saturation.

    Processors with VNNI do. Others, which only have AVX2's VPMADDUBSW, saturate at 16 bits; there, uint8 weights are slower but
    exact. Unknown processors are treated as processors without VNNI.
    """
    cpuinfo = _cpuinfo()
    return "avx512_vnni" in cpuinfo or "avx_vnni" in cpuinfo


def _cpuinfo() -> str:
    """Return the description of the processor in /proc/cpuinfo, "" on systems without that file."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
