"""Every error podium raises, as one tree. The message names the remedy; foreign errors become these at one border each.

    PodiumError
    ├── InvalidInput            the call itself: a query, documents, a field name, a limit (also a ValueError)
    │   └── WrongType             a query or documents of another type than is taken (also a TypeError, as in redisvl)
    ├── MissingPackage          an optional package is not installed (also an ImportError)
    ├── ModelError              weights on this machine
    │   ├── ModelNotFound         no such name, or files missing
    │   └── UnsupportedModel      would not load, or would load and be silently wrong
    ├── SourceError             a search system: unreachable, an index or a field it does not have, damaged files
    └── ProviderError           a rerank API over HTTP
        ├── MissingKey            no API key given and none in the environment
        ├── KeyRejected           401, 403, 498: the provider does not accept the key
        ├── RequestRejected       400, 404, 413, 422 …: sending it again would not help
        ├── RateLimited           429, still after every retry
        ├── ProviderUnavailable   5xx or no connection, still after every retry
        ├── DeadlineExceeded      no answer within the total time allowed
        └── BadResponse           an answer that is not the documented one

No message, and no attribute, holds an API key or the text of a document.
"""

from __future__ import annotations

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
]


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument's name inside an error message, with an example value or none (... stands for any value).

    `str` writes it as Python does, `rank_by=['title']`; the command line writes `--by title`, the server `rank_fields`.
    """

    name: str
    value: Any = None

    def __str__(self) -> str:
        if self.value is None:
            return self.name
        return f"{self.name}={'…' if self.value is ... else repr(self.value)}"


class PodiumError(Exception):
    """The root: catch this to catch everything podium raises on purpose.

    Its arguments are the parts of its message: strings, and an Argument wherever the message names one.
    """

    def __str__(self) -> str:
        return self.message()

    def message(self, spell: Callable[[Argument], str] = str) -> str:
        """Return the message, with the names of arguments as `spell` writes them."""
        return "".join(spell(part) if isinstance(part, Argument) else str(part) for part in self.args)


class InvalidInput(PodiumError, ValueError):
    """What was passed in cannot be ranked as it is."""


class WrongType(InvalidInput, TypeError):
    """A query that is not a string, or documents that are not a list."""


class MissingPackage(PodiumError, ImportError):
    """A package that only this needs is not installed."""


class ModelError(PodiumError):
    """A model on this machine failed."""


class ModelNotFound(ModelError):
    """A name that is no model, or a model whose files are not all here."""


class UnsupportedModel(ModelError):
    """A model that podium will not run, because it can't or because its scores would be wrong."""


class SourceError(PodiumError):
    """A source of candidates failed: a server that can't be reached, an index, a field or a module that is not there."""


class ProviderError(PodiumError):
    """A rerank API failed. `status` is the HTTP status, None where there was no reply."""

    def __init__(self, *message: str | Argument, status: int | None = None) -> None:
        super().__init__(*message)
        self.status = status


class MissingKey(ProviderError):
    """No API key was given and the provider's environment variable is not set."""


class KeyRejected(ProviderError):
    """The provider does not accept this API key (401, 403, 498)."""


class RequestRejected(ProviderError):
    """The provider will not take this request, however often it is sent (400, 404, 413, 422 …)."""


class RateLimited(ProviderError):
    """Too many requests (429), still after every retry that the deadline allowed."""


class ProviderUnavailable(ProviderError):
    """The provider could not be reached or failed (5xx), still after every retry."""


class DeadlineExceeded(ProviderError):
    """The total time allowed, retries included, is over."""


class BadResponse(ProviderError):
    """The provider answered with something other than its documented reply."""
