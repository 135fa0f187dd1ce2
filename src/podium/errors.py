"""Every error that podium raises, as one tree. Errors of other libraries are converted to these. Messages end with a remedy.

    PodiumError
    ├── InvalidInput            an argument: a query, documents, a field name, a limit (also a ValueError)
    │   └── WrongType             a query or documents of the wrong type (also a TypeError, as in redisvl)
    ├── MissingPackage          an optional package is not installed (also an ImportError)
    ├── ModelError              weights on this machine
    │   ├── ModelNotFound         no such name, or files missing
    │   └── UnsupportedModel      podium cannot run it, or its scores would be wrong
    ├── SourceError             a search system: unreachable, no such index or field, damaged files
    └── ProviderError           a rerank API over HTTP
        ├── MissingKey            no API key, neither as an argument nor in the environment
        ├── KeyRejected           401, 403, 498: the provider does not accept the key
        ├── RequestRejected       400, 404, 413, 422 …: sending the request again would not help
        ├── RateLimited           429 after every retry
        ├── ProviderUnavailable   5xx or no connection after every retry
        ├── DeadlineExceeded      no reply within the total timeout
        └── BadResponse           a reply that differs from the API's documentation

No message and no attribute contains an API key or the text of a document.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = [
    "Argument",
    "BadResponse",
    "DeadlineExceeded",
    "InvalidInput",
    "KeyRejected",
    "MissingKey",
    "MissingPackage",
    "ModelError",
    "ModelNotFound",
    "PodiumError",
    "ProviderError",
    "ProviderUnavailable",
    "RateLimited",
    "RequestRejected",
    "SourceError",
    "UnsupportedModel",
    "WrongType",
    "is_rust_panic",
    "unreadable",
]


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument's name in an error message, possibly with an example value (`...` means any value).

    `str` formats it as in Python: `rank_by=['title']`. The command line writes `--by title`, the server `rank_fields`.
    """

    name: str
    value: Any = None

    def __str__(self) -> str:
        if self.value is None:
            return self.name
        return f"{self.name}={'…' if self.value is ... else repr(self.value)}"


class PodiumError(Exception):
    """The base class of every error that podium raises.

    Its `args` are the parts of its message: strings, and an Argument for each argument that the message names.
    """

    def __str__(self) -> str:
        return self.message()

    def message(self, format_argument: Callable[[Argument], str] = str) -> str:
        """Return the message, with each Argument written by `format_argument`."""
        return "".join(format_argument(part) if isinstance(part, Argument) else str(part) for part in self.args)


class InvalidInput(PodiumError, ValueError):
    """An argument is not valid."""


class WrongType(InvalidInput, TypeError):
    """A query that is not a string, or documents that are not a list."""


class MissingPackage(PodiumError, ImportError):
    """An optional package is not installed."""


class ModelError(PodiumError):
    """A model on this machine failed."""


class ModelNotFound(ModelError):
    """There is no model of this name, or some of its files are missing."""


class UnsupportedModel(ModelError):
    """podium cannot run this model, or its scores would be wrong."""


class SourceError(PodiumError):
    """A search system failed: the server cannot be reached, or an index, a field or a module is missing."""


class ProviderError(PodiumError):
    """A rerank API failed. `status` is the HTTP status, None if there was no reply."""

    def __init__(self, *message: str | Argument, status: int | None = None) -> None:
        super().__init__(*message)
        self.status = status


class MissingKey(ProviderError):
    """No API key was passed and the provider's environment variable is not set, or a request cannot contain the key."""


class KeyRejected(ProviderError):
    """The provider does not accept this API key (401, 403, 498)."""


class RequestRejected(ProviderError):
    """The provider does not accept this request, and would not if it were sent again (400, 404, 413, 422 …)."""


class RateLimited(ProviderError):
    """Too many requests (429), after every retry that the deadline allowed."""


class ProviderUnavailable(ProviderError):
    """The provider could not be reached or failed (5xx), after every retry."""


class DeadlineExceeded(ProviderError):
    """There was no reply within the timeout, retries included."""


class BadResponse(ProviderError):
    """The provider's reply differs from the API's documentation."""


def is_rust_panic(error: BaseException) -> bool:
    """Whether an error is a panic in the Rust code of another library. Its class is a BaseException that cannot be imported."""
    return type(error).__module__ == "pyo3_runtime"


_UNREADABLE = {
    FileNotFoundError: "there is no file {path}; check its name and the folder",
    IsADirectoryError: "{path} is a folder; name a file in it",
    PermissionError: "this user may not read {path}; ask its owner, or change its permissions",
    UnicodeError: "{path} is not UTF-8; convert it, for example with iconv",
}


def unreadable(path: str | os.PathLike[str], error: Exception) -> InvalidInput:
    """Return the error for a user's file that could not be opened, read, decompressed or decoded."""
    for kind, message in _UNREADABLE.items():
        if isinstance(error, kind):
            return InvalidInput(message.format(path=os.fspath(path)))
    reason = getattr(error, "strerror", None) or error
    return InvalidInput(f"cannot read {os.fspath(path)}: {reason}; check that it is a complete file, or copy it again")
