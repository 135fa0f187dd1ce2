"""Convert errors of redis-py and of the server to SourceErrors, each with a remedy."""

from __future__ import annotations

from dataclasses import dataclass

from podium.errors import SourceError

__all__ = ["TOO_SLOW", "NoSuchIndex", "NotAllowed", "UnknownCommand", "is_connection_lost", "source_error"]


class NoSuchIndex(SourceError):
    """The server has no index of this name."""


class NotAllowed(SourceError):
    """The server does not let this user run the command."""


class UnknownCommand(SourceError):
    """The server does not have a command of the search module."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A kind of failure.

    An error is of this kind if one of `classes` is the name of its class or of a base class, or if its message contains one of
    `words` in any case. `message` may contain {address}, {index} and {message}, the server's own message.
    """

    message: str
    classes: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    error: type[SourceError] = SourceError


TOO_SLOW = "Redis at {address} did not answer in time; check its load, or allow more time with timeout= (--timeout)"
FAILURES = (
    Failure(
        "{address} does not let this user connect or run a command; check user name, password, and that its ACL allows "
        "FT.INFO, FT.SEARCH (FT.CREATE, WATCH and writing, to load) and the keys of {index!r}: {message}",
        classes=("AuthenticationError", "NoPermissionError", "AuthorizationError"),
        words=("noauth", "wrongpass", "noperm", "invalid username-password"),
        error=NotAllowed,
    ),
    Failure("{address} is still loading its data; try again when it is ready", classes=("BusyLoadingError",)),
    Failure(
        "Redis at {address} does not support RESP3 ({message}); connect with protocol 2: ?protocol=2 in the URL",
        words=("noproto", "unknown command 'hello", "unknown command `hello"),
    ),
    Failure(TOO_SLOW, classes=("TimeoutError",)),
    Failure(
        "cannot reach Redis at {address}: {message}; check that it runs, host and port, and TLS (rediss://)",
        classes=("ConnectionError", "OSError"),
        words=("connectionerror occurred while watching",),
    ),
    Failure(
        "Redis at {address} has no search module; use Redis 8, Redis Stack or Redis Cloud, or load RediSearch into this one",
        words=("unknown command 'ft.", "unknown command `ft.", "unknown command: ft.", "unknown command ft."),
        error=UnknownCommand,
    ),
    Failure(
        "Redis at {address} has no JSON module, so it cannot store documents as JSON: {message}; use storage hash",
        words=(
            "unknown command 'json.",
            "unknown command `json.",
            "no json module",
            "json module is not loaded",
            "invalid rule type: json",
        ),
    ),
    Failure(
        "there is no index {index!r} on {address}; FT._LIST shows its indexes, and podium index creates one",
        words=("no such index", "unknown index name", "index not found", "index_not_found"),
        error=NoSuchIndex,
    ),
    Failure(
        "Redis at {address} does not return that many documents: {message}; request fewer (candidates=, --candidates), or "
        "raise its MAXSEARCHRESULTS",
        words=("exceeds maximum of",),
    ),
    Failure("Redis at {address} has indexes in database 0 only: {message}; name no database in the URL", words=("on db != 0",)),
    Failure(TOO_SLOW, words=("timeout",)),
    Failure("Redis at {address} sent a reply that is nested too deeply; check that it is a Redis", classes=("RecursionError",)),
    Failure(
        "the AsyncSearchIndex of {index!r} belongs to another event loop ({message}); make one in each loop, or use from_url",
        classes=("RuntimeError",),
    ),
    Failure(
        "Redis at {address} is full (maxmemory); free memory or raise the limit, and run this again: written documents stay",
        words=("oom command not allowed", "maxmemory"),
    ),
    Failure(
        "Redis at {address} does not accept writes: {message}; name the primary, and check that its replicas are connected",
        words=("read only replica", "noreplicas"),
    ),
    Failure(
        "Redis at {address} cannot parse the filter for index {index!r}: {message}; write it as a redisvl filter expression",
        words=("syntax error",),
    ),
    Failure(
        "Redis at {address} does not have the scorer BM25STD: {message}; use RediSearch 2.8 or later",
        words=("no such scorer", "unknown scorer", "could not find scorer"),
    ),
)
"""If several kinds match an error, the first one is reported."""


def source_error(error: Exception, address: str, index: str) -> SourceError:
    """Return the SourceError for a failed command. Its message never contains the command, which may contain a document."""
    message = str(error).rpartition("caused error: ")[2][:200]  # redis-py puts the command before these words
    classes = {base.__name__ for base in type(error).__mro__}
    for failure in FAILURES:
        if classes.intersection(failure.classes) or any(words in message.lower() for words in failure.words):
            return failure.error(failure.message.format(address=address, index=index, message=message))
    return SourceError(f"{address} refused a command for index {index!r}: {type(error).__name__}: {message}")


def is_connection_lost(error: Exception) -> bool:
    """Whether a command may be sent again: the connection broke, or redis-py reports that a watched key changed.

    It also reports a changed key if the connection broke during a transaction. A command that timed out is not sent again,
    because the server may still be executing it.
    """
    from redis import exceptions

    if isinstance(error, exceptions.WatchError):
        return "TimeoutError" not in str(error)
    refusals = exceptions.AuthenticationError | exceptions.AuthorizationError | exceptions.BusyLoadingError
    return isinstance(error, exceptions.ConnectionError | OSError) and not isinstance(error, refusals | TimeoutError)
