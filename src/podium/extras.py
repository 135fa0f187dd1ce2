"""Optional packages: imported on first use, with the command that installs them where one is missing."""

from __future__ import annotations

import importlib
import re
import sys
from typing import Any

from podium.errors import MissingPackage

__all__ = ["needed", "requirements"]


def needed(module: str, extra: str) -> Any:
    """Return a module of an optional package. Raises MissingPackage, which says how to install it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != module.partition(".")[0]:
            raise
        packages = " ".join(f"'{each}'" for each in requirements(extra)) or error.name
        raise MissingPackage(
            f"this needs {error.name}, which is not installed: pip install {packages} (podium's extra {extra!r})"
        ) from error


def requirements(extra: str) -> list[str]:
    """Return what an extra installs, from podium's own metadata; [] where podium runs without having been installed.

    Naming the packages works wherever podium came from: an index, a checkout or a wheel.
    """
    from importlib import metadata

    try:
        declared = metadata.requires("podium") or []
    except metadata.PackageNotFoundError:
        return []
    found: list[str] = []
    for line in declared:
        requirement, _, marker = line.partition(";")
        if f"extra == {extra}" not in re.sub("[\"']", "", marker) or not _fits_this_python(marker):
            continue
        nested = re.fullmatch(r"podium\[([\w,-]+)\]", requirement.strip())
        found += [each for name in nested[1].split(",") for each in requirements(name)] if nested else [requirement.strip()]
    return list(dict.fromkeys(found))


def _fits_this_python(marker: str) -> bool:
    below = re.search(r"python_version < ['\"](\d+)\.(\d+)", marker)
    return not below or sys.version_info < (int(below[1]), int(below[2]))
