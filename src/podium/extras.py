"""Packages that not everyone needs: imported when they are first used, with what to install where one is missing."""

from __future__ import annotations

import importlib
from typing import Any

from podium.errors import MissingPackage

__all__ = ["needed"]


def needed(module: str, extra: str) -> Any:
    """Return a module of an optional package. Raises MissingPackage, which says how to install it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != module.partition(".")[0]:
            raise
        raise MissingPackage(f"this needs {error.name}, which is not installed: pip install 'podium[{extra}]'") from error
