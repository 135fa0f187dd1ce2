"""Calls of tantivy, the full-text library: imported on first use, with typed errors, and never interrupted by a fork."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from podium.errors import PodiumError, SourceError, is_rust_panic
from podium.extras import import_optional
from podium.forks import no_fork

__all__ = ["tantivy", "tantivy_calls", "typed_errors", "unusable"]


def tantivy() -> Any:
    """Return the package. Raises MissingPackage."""
    return import_optional("tantivy", "index")


@contextlib.contextmanager
def tantivy_calls(path: Path | None) -> Iterator[None]:
    """Make calls of tantivy raise SourceErrors, and let other threads fork only afterwards. For short calls."""
    with typed_errors(path), no_fork:
        yield


@contextlib.contextmanager
def typed_errors(path: Path | None) -> Iterator[None]:
    """Turn errors that a damaged index or a full disk causes into SourceErrors."""
    try:
        yield
    except PodiumError:
        raise
    except (ValueError, OSError, KeyError) as error:
        raise unusable(path, error) from error
    except BaseException as error:
        if not is_rust_panic(error):
            raise
        raise unusable(path, RuntimeError("its files are damaged")) from error


def unusable(path: Path | None, error: Exception) -> SourceError:
    """Return the error for an index whose files cannot be read or written."""
    location = "in memory" if path is None else f"in {path}"
    message = str(error)
    is_full = any(part in message for part in ("No space left", "os error 28)", "Disk quota"))
    remedy = "free some disk space and try again" if is_full else "if this happens again, index the documents again"
    return SourceError(f"the index {location} cannot be used: {message[:200]}; {remedy}")
