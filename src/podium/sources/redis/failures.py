"""Errors of redis-py and of the server → SourceError with a remedy. Pure: nothing is sent here."""

from __future__ import annotations

from podium.errors import SourceError

__all__ = ["TOO_SLOW", "NoSuchIndex", "NotAllowed", "is_lost", "is_unknown_command", "source_error"]


class NoSuchIndex(SourceError):
    """The server answers, but has no index of that name."""


class NotAllowed(SourceError):
    """The server does not let this user run the command."""


TOO_SLOW = "Redis at {where} did not answer in time; check its load, or allow more with timeout= (--timeout)"
_REFUSED = (
    "{where} does not let this user in, or does not let it run a command; check user name, password, and that its ACL allows "
    "FT.INFO, FT.SEARCH (FT.CREATE and writing, to load) and the keys of {index!r}: {message}"
)
_UNREACHABLE = "cannot reach Redis at {where}: {message}; check that it runs, host and port, and TLS (rediss://)"
_NO_RESP3 = "Redis at {where} does not speak RESP3 ({message}); connect with protocol 2: ?protocol=2 in the URL"
_NO_MODULE = "Redis at {where} has no search module; use Redis 8, Redis Stack or Redis Cloud, or load RediSearch into this one"
_NO_JSON = "Redis at {where} has no JSON module, so it cannot keep documents as JSON: {message}; use storage hash"
_NO_INDEX = "there is no index {index!r} on {where}; FT._LIST shows those there are, and podium index makes one"
_TOO_MANY = (
    "Redis at {where} does not return that many documents: {message}; ask for fewer (candidates=, --candidates), or raise its "
    "MAXSEARCHRESULTS"
)
_OTHER_DATABASE = "Redis at {where} keeps indexes in database 0 only: {message}; leave the database out of the URL"
_FULL = "Redis at {where} is full (maxmemory); free some of it or raise it, and do this again: what is written stays"
_NO_WRITES = "Redis at {where} takes no writes; name the primary, with its replicas in reach: {message}"
_SYNTAX = "Redis at {where} cannot read the filter for index {index!r}: {message}; write it as a redisvl filter expression"
_OTHER_LOOP = (
    "the AsyncSearchIndex of {index!r} belongs to another event loop ({message}); make one in each loop, or use from_url"
)
_NO_SCORER = "Redis at {where} does not know the scorer BM25STD; it needs RediSearch 2.8 or later: {message}"

# Looked through in order; a row matches by a class name of redis-py or Python, or by words in the message.
_ROWS: tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...] = (
    (("AuthenticationError", "NoPermissionError", "AuthorizationError"), (), _REFUSED),
    ((), ("noauth", "wrongpass", "noperm", "invalid username-password"), _REFUSED),
    (("BusyLoadingError",), (), "{where} is still loading its data; try again when it is ready"),
    ((), ("noproto", "unknown command 'hello", "unknown command `hello"), _NO_RESP3),
    (("TimeoutError",), (), TOO_SLOW),
    (("ConnectionError", "OSError"), (), _UNREACHABLE),
    ((), ("connectionerror occurred while watching",), _UNREACHABLE),
    ((), ("unknown command 'ft.", "unknown command `ft.", "unknown command: ft."), _NO_MODULE),
    ((), ("unknown command 'json.", "unknown command `json.", "no json module", "json module is not loaded"), _NO_JSON),
    ((), ("no such index", "unknown index name", "index not found", "index_not_found"), _NO_INDEX),
    ((), ("exceeds maximum of",), _TOO_MANY),
    ((), ("on db != 0",), _OTHER_DATABASE),
    ((), ("timeout",), TOO_SLOW),
    (("RuntimeError",), (), _OTHER_LOOP),
    ((), ("oom command not allowed", "maxmemory"), _FULL),
    ((), ("read only replica", "noreplicas"), _NO_WRITES),
    ((), ("syntax error",), _SYNTAX),
    ((), ("no such scorer", "unknown scorer", "could not find scorer"), _NO_SCORER),
)
_CLASSES = {_NO_INDEX: NoSuchIndex, _REFUSED: NotAllowed}


def source_error(error: Exception, where: str, index: str) -> SourceError:
    """Return the SourceError for a failed command. Its message never holds the command, which may hold a document."""
    message = str(error).rpartition("caused error: ")[2][:200]  # redis-py puts the command before these words
    classes = {base.__name__ for base in type(error).__mro__}
    for names, marks, template in _ROWS:
        if classes.intersection(names) or any(mark in message.lower() for mark in marks):
            return _CLASSES.get(template, SourceError)(template.format(where=where, index=index, message=message))
    return SourceError(f"{where} refused a command for index {index!r}: {type(error).__name__}: {message}")


def is_lost(error: Exception) -> bool:
    """Whether the same commands may be sent again: the connection broke, or a transaction did not take effect.

    A slow command is not sent again: the server may still be working on it.
    """
    from redis import exceptions

    if isinstance(error, exceptions.WatchError):
        return "TimeoutError" not in str(error)
    refused = exceptions.AuthenticationError | exceptions.AuthorizationError | exceptions.BusyLoadingError
    return isinstance(error, exceptions.ConnectionError | OSError) and not isinstance(error, refused | TimeoutError)


def is_unknown_command(error: Exception) -> bool:
    return "unknown command" in str(error).lower()
