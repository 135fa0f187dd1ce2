"""Modules that only few tests need, imported when the first of these tests runs."""

from __future__ import annotations

import importlib
import warnings
from typing import Any


class LazyModule:
    """A module that is imported when a name is first read from it.

    With pytest-xdist, every worker process imports all test files and then runs a part of the tests. If test files imported
    large packages themselves, every worker would spend seconds on packages that its tests do not use.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith(("_", "pytest")):  # pytest and its plugins look for these in everything that a file has
            raise AttributeError(attribute)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of packages that are imported; in tests, they would be errors
            module = importlib.import_module(self._name)
        return getattr(module, attribute)
