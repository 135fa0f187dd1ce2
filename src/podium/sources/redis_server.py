"""Server: one Redis and an index on it. Runs commands with redis-py, waiting or awaited, and turns failures into SourceError.

What the commands are and what their replies mean is not known here.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

from podium.errors import InvalidInput, SourceError
from podium.extras import needed

__all__ = ["SCHEMES", "NoSuchIndex", "Server"]

Result = TypeVar("Result")
SCHEMES = ("redis", "rediss", "unix", "redis+sentinel")
UNDECODED = {"NEVER_DECODE": True}  # of redis-py: give bytes, whatever decode_responses says


class NoSuchIndex(SourceError):
    """The server is there, the index is not."""


class Server:
    """Where an index is, and the client that gets there. A lost connection is tried once more.

    `where` names the server without a password. Commands of a client that is given go through that very client.
    """

    def __init__(self, index: str, seconds: float, connect: Callable[[], Any], *, where: str = "", given: Any = None) -> None:
        self.index = index
        self.milliseconds = max(1, int(1000 * seconds))
        self._connect, self._where, self._given = connect, where, given
        self._client: Any = None
        self._is_async = inspect.iscoroutinefunction(getattr(given, "exists", None))
        self._lock = threading.Lock()

    @classmethod
    def of(cls, index: Any, seconds: float) -> Server:
        """Return the server of a redisvl index."""
        if isinstance(index, Server):
            return index
        name = getattr(index, "name", None)
        if not isinstance(name, str) or not hasattr(index, "client") or not hasattr(index, "schema"):
            raise InvalidInput(
                f"index must be redisvl's SearchIndex or AsyncSearchIndex, not a {type(index).__name__}; for an index by its "
                "name use RedisSource.from_url(url, index=name)"
            )
        return cls(name, seconds, lambda: _client_of(index), given=index)

    @classmethod
    def at(cls, url: str, index: str, seconds: float, connection: Mapping[str, Any]) -> Server:
        """Return the server at a URL. Nothing is sent yet. A password stays in the client."""
        if not isinstance(url, str) or not isinstance(index, str) or not index:
            raise InvalidInput("from_url takes a URL such as redis://localhost:6379 and index=, the name of an index")
        if url.partition("://")[0] not in SCHEMES:
            raise InvalidInput(f"a Redis URL begins with {', '.join(SCHEMES)}, and ://")
        factory = needed("redisvl.redis.connection", "redis").RedisConnectionFactory
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        # One more try is made here, for every kind of client alike; redis-py's own would multiply with it.
        options = {"socket_timeout": seconds, "socket_connect_timeout": seconds, "retry": Retry(NoBackoff(), 0)}
        return cls(
            index, seconds, lambda: factory.get_redis_connection(url, **(options | dict(connection))), where=_address(url)
        )

    @property
    def where(self) -> str:
        return self._where or _address_of(getattr(self._given, "client", None))

    def run(self, exchange: Generator[Sequence[Any], Any, Result]) -> Result:
        """Run an exchange's commands one after the other and return what it ends with."""
        if self._is_async:
            exchange.close()
            raise InvalidInput(
                "this source has an AsyncSearchIndex, which can only be awaited; use asearch, or give a SearchIndex"
            )
        return _drive(exchange, self._execute)

    async def arun(self, exchange: Generator[Sequence[Any], Any, Result]) -> Result:
        """Do what `run` does without blocking the event loop: awaited where the client is, else on a thread."""
        if not self._is_async:
            return await asyncio.to_thread(self.run, exchange)
        try:
            command = next(exchange)
            while True:
                try:
                    reply = await self._aexecute(command)
                except SourceError as error:
                    command = exchange.throw(error)
                else:
                    command = exchange.send(reply)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]

    def pipeline(self, *, together: bool) -> Any:
        """Return a pipeline whose commands take effect at once if `together`, as far as a cluster's shards can do that."""
        client = self.client()
        return client.pipeline(transaction=together and not _is_cluster(client))

    def client(self) -> Any:
        """Return the client that waits, connected."""
        with self._lock:
            if self._client is None:
                self._client = self.attempt(self._connected)
        return self._client

    def _connected(self) -> Any:
        try:
            return self._connect()
        except (ValueError, TypeError) as error:  # of a URL or of options, and they may hold a password
            raise SourceError(
                f"{self.where}: redis-py does not take this URL or these connection options ({type(error).__name__}); check "
                "their names and values"
            ) from None

    def close(self) -> None:
        """Close the connections that were made here; those of an index that was given are its owner's."""
        with self._lock:
            if self._given is None and self._client is not None:
                self._client.close()
                self._client = None

    def _execute(self, command: Sequence[Any]) -> Any:
        client = self.client()
        return self.attempt(lambda: client.execute_command(*command, **_options(client)), command[0])

    async def _aexecute(self, command: Sequence[Any]) -> Any:
        try:
            return await self._asked(command)
        except Exception as error:
            if not _is_lost(error):
                return _answered(error, command[0], self.where, self.index)
        try:
            return await self._asked(command)
        except Exception as error:
            return _answered(error, command[0], self.where, self.index)

    async def _asked(self, command: Sequence[Any]) -> Any:
        if self._given.client is None:
            await self._given.exists()
        client = self._given.client
        return await client.execute_command(*command, **_options(client))

    def attempt(self, ask: Callable[[], Any], command: str = "") -> Any:
        """Do something with the client: once more where the connection was lost, and a failure is a SourceError."""
        try:
            return ask()
        except Exception as error:
            if not _is_lost(error):
                return _answered(error, command, self.where, self.index)
        try:
            return ask()
        except Exception as error:
            return _answered(error, command, self.where, self.index)


def _drive(exchange: Generator[Sequence[Any], Any, Result], execute: Callable[[Sequence[Any]], Any]) -> Result:
    try:
        command = next(exchange)
        while True:
            try:
                reply = execute(command)
            except SourceError as error:
                command = exchange.throw(error)
            else:
                command = exchange.send(reply)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


def _is_cluster(client: Any) -> bool:
    return hasattr(client, "get_default_node")


def _options(client: Any) -> dict[str, Any]:
    """Return redis-py's options for a command of ours. A cluster must be told where one without a key goes: anywhere."""
    return UNDECODED | ({"target_nodes": client.get_default_node()} if _is_cluster(client) else {})


def _client_of(search_index: Any) -> Any:
    """Return the client of a redisvl index, which connects when it is first asked for something."""
    if search_index.client is None:
        search_index.exists()
    return search_index.client


def _is_lost(error: Exception) -> bool:
    """Say whether a connection broke. One that was slow is not asked again: it may still be at work."""
    from redis import exceptions

    refused = exceptions.AuthenticationError | exceptions.AuthorizationError | exceptions.BusyLoadingError
    return isinstance(error, exceptions.ConnectionError | OSError) and not isinstance(error, refused | TimeoutError)


def _answered(error: Exception, command: str, where: str, index: str) -> Any:
    """Raise the SourceError of a failure; return None for a command that is optional and that the server doesn't know."""
    if command == "FT.HYBRID" and _is_unknown(error):
        return None
    raise _failed(error, where, index) from error


def _is_unknown(error: Exception) -> bool:
    return "unknown command" in str(error).lower()


def _failed(error: Exception, where: str, index: str) -> SourceError:
    from redis import exceptions

    said = str(error)
    said = said.rpartition("caused error: ")[2][:200]  # what stands before is the command itself, with a document in it
    for kind, marks, says in (
        ((exceptions.AuthenticationError, exceptions.NoPermissionError, exceptions.AuthorizationError), (), _REFUSED),
        ((), ("noauth", "wrongpass", "noperm", "invalid username-password"), _REFUSED),
        ((exceptions.BusyLoadingError,), (), "{where} is still loading its data; try again when it is ready"),
        ((exceptions.TimeoutError, TimeoutError), (), _SLOW),
        ((exceptions.ConnectionError, OSError), (), _UNREACHABLE),
        ((), ("unknown command 'ft.", "unknown command `ft.", "unknown command: ft."), _NO_MODULE),
        ((), ("no such index", "unknown index name", "index not found", "index_not_found"), _NO_INDEX),
        ((), ("timeout",), _SLOW),
        ((RuntimeError,), (), _OTHER_LOOP),
        ((), ("oom command not allowed", "maxmemory"), _FULL),
        ((), ("read only replica", "noreplicas"), _NO_WRITES),
        ((), ("syntax error",), _SYNTAX),
        ((), ("no such scorer", "unknown scorer", "could not find scorer"), _NO_SCORER),
    ):
        if (kind and isinstance(error, kind)) or any(mark in said.lower() for mark in marks):
            kind_of_ours = NoSuchIndex if says is _NO_INDEX else SourceError
            return kind_of_ours(says.format(where=where, index=index, said=said))
    return SourceError(f"{where} refused a command for index {index!r}: {type(error).__name__}: {said}")


_REFUSED = (
    "{where} does not let this user in, or not search; check user name, password, and that its ACL allows FT.INFO, FT.SEARCH "
    "and the keys of {index!r}: {said}"
)
_UNREACHABLE = "cannot reach Redis at {where}: {said}; check that it runs, host and port, and TLS (rediss://)"
_SLOW = "Redis at {where} did not answer in time; check its load, or allow more with timeout="
_NO_MODULE = "Redis at {where} has no search module; use Redis 8, Redis Stack or Redis Cloud, or load RediSearch into this one"
_NO_INDEX = "there is no index {index!r} on {where}; FT._LIST shows those there are, and podium index makes one"
_FULL = "Redis at {where} is full (maxmemory); free some of it or raise it, and do this again: what is written stays"
_NO_WRITES = "Redis at {where} takes no writes; name the primary, with its replicas in reach: {said}"
_SYNTAX = "Redis at {where} cannot read the filter for index {index!r}: {said}; write it as a redisvl filter expression"
_OTHER_LOOP = "the AsyncSearchIndex of {index!r} belongs to another event loop ({said}); make one in each loop, or use from_url"
_NO_SCORER = "Redis at {where} does not know the scorer BM25STD; it needs RediSearch 2.8 or later: {said}"


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "that URL"
    if parts.scheme == "unix":
        return parts.path
    return f"{host or 'localhost'}:{port or 6379}"


def _address_of(client: Any) -> str:
    if client is None:
        return "its server"
    pool = getattr(client, "connection_pool", None)
    options = getattr(pool, "connection_kwargs", {}) or {}
    if "path" in options:
        return str(options["path"])
    if name := getattr(pool, "service_name", None):
        return f"sentinel {name}"
    if _is_cluster(client):
        node = client.get_default_node()
        return f"{node.host}:{node.port}"
    return f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
