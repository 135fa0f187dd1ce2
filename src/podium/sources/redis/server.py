"""Server: one Redis and an index on it. Runs commands with redis-py, blocking or awaited, each search within one deadline.

The commands themselves are in redis_queries and redis_schema, the meaning of replies in redis_wire.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, TypeVar
from urllib.parse import urlsplit

from podium.errors import InvalidInput, PodiumError, SourceError
from podium.extras import needed
from podium.forks import renew_after_fork
from podium.sources.redis.failures import TOO_SLOW, NoSuchIndex, is_lost, is_unknown_command, source_error

__all__ = ["SCHEMES", "Deadline", "NoSuchIndex", "Server"]

Result = TypeVar("Result")
Steps = Generator[Sequence[Any], Any, Result]
"""Commands out, their replies in, a result at the end: the same steps for a blocking and an async client."""
SCHEMES = ("redis", "rediss", "unix", "redis+sentinel")
UNDECODED = {"NEVER_DECODE": True}  # redis-py's option: return bytes, whatever decode_responses says
KEYLESS = ("FT.", "INFO")


class Deadline:
    """The moment at which a search must be over."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds

    def seconds_left(self) -> float:
        return max(0.0, self._ends - time.monotonic())

    def milliseconds_left(self) -> int:
        """Return what a command's TIMEOUT may be: at least 1, since 0 means no limit to the server."""
        return max(1, int(1000 * self.seconds_left()))


class Server:
    """Where an index is, and the client that gets there. A lost connection is tried once more.

    `where` names the server without a password. Commands of a client that is given go through that very client.
    """

    def __init__(self, index: str, seconds: float, connect: Callable[[], Any], *, where: str = "", given: Any = None) -> None:
        self.index, self.seconds = index, seconds
        self._connect, self._where, self._given = connect, where, given
        self._client: Any = None
        self._is_async = inspect.iscoroutinefunction(getattr(given, "exists", None))
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """Replace the lock, which a thread of the parent process may hold. redis-py replaces its connections itself."""
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

        options = {
            "socket_timeout": seconds,
            "socket_connect_timeout": seconds,
            # One more try is made here, for every kind of client alike; redis-py's own would multiply with it.
            "retry": Retry(NoBackoff(), 0),
            "protocol": 3,  # in RESP3 a search that ran out of time says so
        }
        return cls(
            index, seconds, lambda: factory.get_redis_connection(url, **(options | dict(connection))), where=_address(url)
        )

    @property
    def where(self) -> str:
        return self._where or _address_of(self._given)

    def run(self, steps: Steps[Result], deadline: Deadline | None = None) -> Result:
        """Run the steps' commands one after the other and return their result. Raises SourceError after the deadline."""
        if self._is_async:
            steps.close()
            raise InvalidInput(
                "this source has an AsyncSearchIndex, which can only be awaited; use asearch, or give a SearchIndex"
            )
        deadline = deadline or Deadline(self.seconds)
        try:
            return self._started(steps, deadline).result(deadline.seconds_left())
        except FutureTimeout:
            raise self._too_slow() from None

    async def arun(self, steps: Steps[Result], deadline: Deadline | None = None) -> Result:
        """Do what `run` does without blocking the event loop: awaited where the client is async, else on a thread."""
        deadline = deadline or Deadline(self.seconds)
        work = self._adrive(steps, deadline) if self._is_async else asyncio.wrap_future(self._started(steps, deadline))
        try:
            return await asyncio.wait_for(work, deadline.seconds_left())
        except (asyncio.TimeoutError, FutureTimeout):
            raise self._too_slow() from None

    def _started(self, steps: Steps[Result], deadline: Deadline) -> Future[Result]:
        """Run the steps on a daemon thread: a client that is given may have no socket timeout, and would wait for ever."""
        future: Future[Result] = Future()
        future.set_running_or_notify_cancel()  # so that an abandoned call cannot cancel it under the thread

        def work() -> None:
            try:
                future.set_result(self._drive(steps, deadline))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True, name="podium-redis").start()
        return future

    def _drive(self, steps: Steps[Result], deadline: Deadline) -> Result:
        try:
            command = next(steps)
            while True:
                try:
                    self._check_time(deadline)
                    reply = self._execute(command)
                except SourceError as error:
                    command = steps.throw(error)
                else:
                    command = steps.send(reply)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]

    async def _adrive(self, steps: Steps[Result], deadline: Deadline) -> Result:
        try:
            command = next(steps)
            while True:
                try:
                    self._check_time(deadline)
                    reply = await self._aexecute(command)
                except SourceError as error:
                    command = steps.throw(error)
                else:
                    command = steps.send(reply)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]

    def _check_time(self, deadline: Deadline) -> None:
        if not deadline.seconds_left():
            raise self._too_slow()

    def _too_slow(self) -> SourceError:
        return SourceError(TOO_SLOW.format(where=self.where))

    def execute_many(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Run commands in one round trip, outside of any search, and return their replies. Raises SourceError."""

        def run() -> list[Any]:
            client = self.client()
            pipeline = client.pipeline(transaction=False)  # a new one for each try: one that failed forgets its commands
            for command in commands:
                pipeline.execute_command(*command, **_options(client, command))
            return list(pipeline.execute())

        replies: list[Any] = self.attempt(run)
        return replies

    def transaction(self, commands: Sequence[Sequence[Any]], *, key: str, value: bytes) -> list[Any] | None:
        """Run commands in one transaction and return their replies, or run none and return None if `key` does not hold `value`.

        In a cluster, whose transactions cannot span shards, the key is checked before the commands are sent.
        """

        def run() -> list[Any] | None:
            with self.client().pipeline() as pipeline:
                pipeline.watch(key)
                if pipeline.execute_command("GET", key, **UNDECODED) != value:
                    return None
                pipeline.multi()
                for command in commands:
                    pipeline.execute_command(*command)
                return list(pipeline.execute())

        if _is_cluster(self.client()):
            return self.execute_many(commands) if self.execute("GET", key) == value else None
        replies: list[Any] | None = self.attempt(run)
        return replies

    def client(self) -> Any:
        """Return the blocking client, connected."""
        if (client := self._client) is not None:
            return client
        new = self.attempt(self._connected)  # without the lock: it may take the whole timeout, and other threads fork
        with self._lock:
            client = self._client = self._client or new
        if client is not new and self._given is None:
            new.close()
        return client

    def _connected(self) -> Any:
        try:
            return self._connect()
        except (ValueError, TypeError) as error:  # they may quote a password
            raise SourceError(
                f"redis-py does not take this URL or these connection options ({type(error).__name__}); check what stands "
                "after ? in the URL, and the names and values of connection="
            ) from None

    def close(self) -> None:
        """Close the connections that were made here; those of a given index belong to its owner."""
        with self._lock:
            if self._given is None and self._client is not None:
                self._client.close()
                self._client = None

    def execute(self, *command: Any) -> Any:
        """Run one command, outside of any search, and return its reply. Raises SourceError."""
        return self._execute(command)

    def _execute(self, command: Sequence[Any]) -> Any:
        client = self.client()
        return self.attempt(lambda: client.execute_command(*command, **_options(client, command)), command[0])

    async def _aexecute(self, command: Sequence[Any]) -> Any:
        try:
            return await self._awaited(command)
        except Exception as error:
            if not is_lost(error):
                return self._reply_to(error, command[0])
        try:
            return await self._awaited(command)
        except Exception as error:
            return self._reply_to(error, command[0])

    async def _awaited(self, command: Sequence[Any]) -> Any:
        if self._given.client is None:
            await self._given.exists()
        client = self._given.client
        return await client.execute_command(*command, **_options(client, command))

    def attempt(self, call: Callable[[], Any], command: str = "") -> Any:
        """Use the client: once more where the connection was lost. Every failure is a SourceError."""
        try:
            return call()
        except Exception as error:
            if not is_lost(error):
                return self._reply_to(error, command)
        try:
            return call()
        except Exception as error:
            return self._reply_to(error, command)

    def _reply_to(self, error: Exception, command: str) -> Any:
        """Raise the SourceError of a failure; return None for a command that is optional and unknown to the server."""
        if isinstance(error, PodiumError):
            raise error
        if command == "FT.HYBRID" and is_unknown_command(error):
            return None
        raise source_error(error, self.where, self.index) from error


def _is_cluster(client: Any) -> bool:
    return hasattr(client, "get_default_node")


def _options(client: Any, command: Sequence[Any]) -> dict[str, Any]:
    """Return redis-py's options for a command of ours. In a cluster, one without a key may go to any node."""
    anywhere = _is_cluster(client) and str(command[0]).startswith(KEYLESS)
    return UNDECODED | ({"target_nodes": client.get_default_node()} if anywhere else {})


def _client_of(search_index: Any) -> Any:
    """Return the client of a redisvl index, which connects at its first command."""
    if search_index.client is None:
        search_index.exists()
    return search_index.client


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "the server of that URL"
    if parts.scheme == "unix":
        return parts.path
    return f"{host or 'localhost'}:{port or 6379}"


def _address_of(search_index: Any) -> str:
    """Return where a redisvl index is; before it is connected only its URL says that."""
    client = getattr(search_index, "client", None)
    if client is None:
        url = getattr(search_index, "_redis_url", None)
        return _address(url) if isinstance(url, str) else "the server of that index"
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
