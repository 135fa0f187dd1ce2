"""Adapters to the reranker interfaces of other packages. Each module imports the package that it is for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from podium.errors import MissingPackage

__all__ = ["required_package"]


@contextmanager
def required_package(name: str) -> Iterator[None]:
    """Raise MissingPackage if an import in the block fails. `name` is the package that pip must install."""
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or name).partition(".")[0]
        raise MissingPackage(f"this adapter needs {module}, which is not installed: pip install {name}") from error
