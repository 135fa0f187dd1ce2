"""Adapters to the reranker interfaces of other packages, one module per package, which it imports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from podium.errors import MissingPackage

__all__ = ["required_package"]


@contextmanager
def required_package(name: str) -> Iterator[None]:
    """Import the package of an adapter. Raises MissingPackage if a module is missing; `name` is what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or name).partition(".")[0]
        raise MissingPackage(f"this adapter needs {module}, which is not installed: pip install {name}") from error
